"""Inline Markdown and the tables of the texts that commands print."""

from __future__ import annotations

from collections.abc import Mapping

from rooftune.formatting import MINUS, NONE
from rooftune.tuning.configuration import describe
from rooftune.tuning.plan import Interval, Verdict
from rooftune.vllm_rules.config import FlagValue

LOWER_CASE_NAMES = ("vLLM", "rooftune", "max_model_len")
"""Names that keep their spelling at the start of a sentence."""


def status(verdict: Verdict) -> str:
    """The verdict for a reader."""
    if verdict.verdict == "outdone":
        return "better, not chosen"
    return "no artefact" if verdict.lacks_artifact else verdict.verdict


def table(head: list[str], rows: list[list[str]], right: int = 0) -> list[str]:
    """A Markdown table. Columns from index ``right`` on are right-aligned if all their cells are numbers."""
    if not rows:
        return []
    marks = ["---:" if right and i >= right and _numeric([r[i] for r in rows]) else "---" for i in range(len(head))]
    lines = [head, marks, *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines]


def _numeric(cells: list[str]) -> bool:
    plain = [cell.replace("*", "").strip() for cell in cells]
    return any(plain) and all(not x or x == NONE or x[0].isdigit() or x[0] in f"+{MINUS}-$" for x in plain)


def interval_change(interval: Interval | None) -> str:
    """A ratio with its interval as a change; a dash without one."""
    return interval.as_change if interval is not None else NONE


def sentence(text: str) -> str:
    """Text that starts with a capital (some names keep their spelling) and ends with a full stop."""
    text = text.strip()
    if not text:
        return ""
    first = text[0] if text.startswith(LOWER_CASE_NAMES) else text[0].upper()
    return first + text[1:] + ("" if text.endswith((".", ":", "?", "!")) else ".")


def joined(items: list[str]) -> str:
    """'a, b and c'."""
    if len(items) < 2:
        return "".join(items)
    return ", ".join(items[:-1]) + " and " + items[-1]


def code(name: str) -> str:
    """In code style."""
    return f"`{name}`"


def flag_code(words: str) -> str:
    """One change of a configuration in code style: '`--max-num-seqs 8`', 'without `--enforce-eager`'."""
    removed = words.removeprefix("without ")
    return f"without {code(removed)}" if removed != words else code(words)


def change_words(change: Mapping[str, FlagValue | None]) -> str:
    """A change as command-line words in code style: '`--max-num-seqs 8`, without `--enforce-eager`'."""
    return ", ".join(flag_code(describe({flag: value})) for flag, value in change.items())
