"""What a configuration changes: for a table, and which of it may change the answers."""

from __future__ import annotations

import json

from rooftune.formatting import NONE
from rooftune.report.markup import code
from rooftune.report.run_data import RunData
from rooftune.tuning.configuration import describe, difference
from rooftune.vllm_rules.config import FlagValue


def changes(run: RunData, id: str, against: str = "baseline") -> str:
    """All that a configuration changes from another one, as command-line words."""
    if id == against:
        return NONE
    found = difference(run.config_of(id), run.config_of(against))
    return ", ".join(code(describe({flag: value})) for flag, value in found.items()) or "nothing"


def value_words(value: FlagValue | None) -> str:
    """The value of a flag in a cell."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, dict):
        return code(json.dumps(value))
    return code(str(value))


def changes_of_answers(run: RunData, id: str) -> list[str]:
    """The changes of a configuration that may change the generated text, each as small as the plan has it."""
    changed = [run.plan.candidate(name).change.items() for name in run.output_changes(id)]
    small = [c for c in changed if not any(set(map(str, o)) < set(map(str, c)) for o in changed)]
    return list(dict.fromkeys(code(describe(dict(c))) for c in small))
