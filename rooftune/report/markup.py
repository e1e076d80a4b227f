"""Markdown building blocks of the report: tables, footnotes, sentences."""

from __future__ import annotations

from dataclasses import dataclass, field

from rooftune.formatting import MINUS, NONE, number
from rooftune.report.figures.saving import Drawing
from rooftune.report.run_data import RunData
from rooftune.tuning.plan import Interval, Verdict

LOWER_CASE_NAMES = ("vLLM", "rooftune", "max_model_len")
"""Names that keep their spelling at the start of a sentence."""


@dataclass
class Footnotes:
    """Footnotes of one table. The same text always gets the same letter."""

    texts: list[str] = field(default_factory=list)

    def mark(self, text: str) -> str:
        """The letter of a footnote."""
        if text not in self.texts:
            self.texts.append(text)
        return "abcdefghijklmnopqrstuvwxyz"[self.texts.index(text) % 26]

    def lines(self) -> list[str]:
        """The footnotes for below the table."""
        return [f"{self.mark(text)}) {sentence(text)}" for text in self.texts]


def status(verdict: Verdict) -> str:
    """The verdict for a reader."""
    if verdict.verdict == "outdone":
        return "better, not chosen"
    return "no artefact" if verdict.lacks_artifact else verdict.verdict


def metric_cell(run: RunData, candidate: str, metric: str, notes: Footnotes) -> str:
    """A candidate's value of a metric, or 'withheld' with its footnote."""
    value = run.value(candidate, metric)
    if value is not None:
        return number(value)
    reason = run.withheld(candidate, metric)
    return f"withheld {notes.mark(reason)})" if reason else NONE


def table(head: list[str], rows: list[list[str]], right: int = 0) -> list[str]:
    """A Markdown table. Columns from index ``right`` on are right-aligned if all their cells are numbers."""
    if not rows:
        return []
    marks = ["---:" if right and i >= right and _numeric([r[i] for r in rows]) else "---" for i in range(len(head))]
    lines = [head, marks, *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines]


def _numeric(cells: list[str]) -> bool:
    plain = [cell.replace("*", "").strip() for cell in cells]
    return any(plain) and all(
        not x or x == NONE or x.startswith("withheld") or x[0].isdigit() or x[0] in f"+{MINUS}-$" for x in plain
    )


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


def pictures(run: RunData, drawings: list[Drawing]) -> list[str]:
    """Each figure with its caption."""
    lines = []
    for drawing in drawings:
        name = drawing.caption.partition(":")[0]
        lines += [f"![{name}]({drawing.path.relative_to(run.folder.path)})", "", f"*{drawing.caption}.*", ""]
        if drawing.path.name == "attainment.png":
            lines += [
                "A load lasts a few minutes and the curve is the long run, so a dot may be above or below its curve, "
                "above all beyond the capacity, where the queue has not yet had the time to grow.",
                "",
            ]
    return lines
