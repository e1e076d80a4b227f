"""How figures, tables and footnotes are written."""

from __future__ import annotations

from dataclasses import dataclass, field

from rooftune.report.contents import Contents
from rooftune.tuning.judge import percent, span
from rooftune.tuning.plan import Interval, Verdict

MINUS = "−"
NAMES = ("vLLM", "rooftune")
"""Names that are written small also at the start of a sentence."""


@dataclass
class Notes:
    """Footnotes of one table: the same reason has one letter."""

    reasons: list[str] = field(default_factory=list)

    def mark(self, reason: str) -> str:
        """The letter of a reason."""
        if reason not in self.reasons:
            self.reasons.append(reason)
        return "abcdefghijklmnopqrstuvwxyz"[self.reasons.index(reason) % 26]

    def lines(self) -> list[str]:
        """The notes as they stand below the table."""
        return [f"{self.mark(r)}) {r[0].upper()}{r[1:].rstrip('.')}." for r in self.reasons]


def status(verdict: Verdict) -> str:
    """The verdict as a reader sees it."""
    if verdict.verdict == "outdone":
        return "better, but outdone"
    if verdict.verdict == "not supported" and verdict.reason.startswith("no artefact"):
        return "no artefact"
    return verdict.verdict


def number(value: float | None) -> str:
    """A figure with three significant digits, thousands separated; '–' for none."""
    if value is None:
        return "–"
    size = abs(value)
    if size >= 100 or value == round(value):
        return f"{value:,.0f}".replace("-", MINUS)
    if size >= 10:
        return f"{value:.1f}".replace("-", MINUS)
    return f"{value:.3g}".replace("-", MINUS) if size < 1 else f"{value:.2f}".replace("-", MINUS)


def figure(contents: Contents, candidate: str, metric: str, notes: Notes) -> str:
    """A candidate's figure, or 'withheld' with its footnote."""
    value = contents.value(candidate, metric)
    if value is not None:
        return number(value)
    reason = contents.withheld(candidate, metric)
    return f"withheld {notes.mark(reason)})" if reason else "–"


def table(head: list[str], rows: list[list[str]], right: int = 0) -> list[str]:
    """A Markdown table. Columns from ``right`` on are aligned right where all their cells are figures."""
    if not rows:
        return []
    marks = ["---:" if right and _figures([r[i] for r in rows]) else "---" for i in range(len(head))]
    lines = [head, marks, *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines]


def _figures(cells: list[str]) -> bool:
    plain = [c.replace("*", "").strip() for c in cells]
    return all(
        not c or c in ("–", "withheld") or c[0].isdigit() or c[0] in f"+{MINUS}-$" or c.startswith("withheld")
        for c in plain
    )


def change(interval: Interval | None) -> str:
    """A ratio with interval as a change, or '–'."""
    return span(interval) if interval is not None else "–"


def plain_change(ratio: float | None) -> str:
    """A ratio without interval as a change, or '–'."""
    return percent(ratio) if ratio is not None else "–"


def sentence(text: str) -> str:
    """Text with a capital at its start (names keep their spelling) and a full stop at its end."""
    text = text.strip()
    if not text:
        return ""
    first = text[0] if text.startswith(NAMES) else text[0].upper()
    return first + text[1:] + ("" if text.endswith((".", ":", "?", "!")) else ".")


def joined(items: list[str]) -> str:
    """'a, b and c'."""
    if len(items) < 2:
        return "".join(items)
    return ", ".join(items[:-1]) + " and " + items[-1]


def code(name: str) -> str:
    """In code style."""
    return f"`{name}`"
