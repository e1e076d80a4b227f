"""The pages of the files that users write: workloads and playbooks."""

from __future__ import annotations

import re

from docpages.markdown import head, text_of
from docpages.schema_tables import SchemaTables
from rooftune.shipped import WORKLOADS, shipped
from rooftune.tuning.entries import DEFAULT, Extension
from rooftune.workloads.spec import Workload

EXAMPLE = "rag-medium.yaml"


def workload_page() -> str:
    """The page of workload files."""
    lines = head(
        "Workload file",
        "A workload is one YAML file that says what users send: arrivals, lengths, shared prefixes, conversations, "
        "SLO and objective. Times are in seconds, lengths in tokens. An unknown key is an error, reported with its "
        "line and the nearest known key.",
        "The first line of a file can name the JSON Schema `workloads/workload.schema.json`, which gives completion in "
        "editors. How to write a workload: [Describe your workload](../how-to/workload.md).",
    )
    lines += ["```yaml", shipped(f"{WORKLOADS}/{EXAMPLE}").read_text(encoding="utf-8").rstrip(), "```", ""]
    lines += ["## Keys", "", *SchemaTables().of(Workload)]
    return text_of(lines)


def playbook_page() -> str:
    """The page of playbook files."""
    lines = head(
        "Playbook file",
        "A playbook adds candidates and checkpoints to the search, narrows knobs or pins them. Every part is optional. "
        "How to use one: [Playbooks](../playbook.md).",
    )
    lines += ["## Keys", "", *SchemaTables().of(Extension, {"Entry": playbook_comments()})]
    return text_of(lines)


def playbook_comments() -> dict[str, str]:
    """What the head of the default playbook says about each key of a candidate."""
    comment = DEFAULT.read_text(encoding="utf-8").split("\nname:")[0]
    words = re.sub(r"\n#\s{5,}", " ", comment)
    return {key: text.strip() for key, text in re.findall(r"^# (\w+):\s+(.*)$", words, re.M)}
