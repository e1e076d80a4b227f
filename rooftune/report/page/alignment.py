"""Which columns of a table hold numbers, and are aligned to the right; which hold long texts, and need room."""

from __future__ import annotations

from rooftune.formatting import MINUS, NONE
from rooftune.report.page.inline import as_text
from rooftune.report.page.model import Table

STARTS = f"+{MINUS}$±"
LONGEST_NUMBER = 32
"""Characters of a number with its interval; a longer cell is a text."""
LONG = 48
"""Characters of a cell from which its column needs more room."""


def right_columns(table: Table) -> list[bool]:
    """For each column, whether all its cells are numbers; the first one has names."""
    return [
        bool(place) and _numeric([row[place] for row in table.rows if place < len(row)])
        for place in range(len(table.head))
    ]


def _numeric(cells: list[str]) -> bool:
    plain = [as_text(cell).strip() for cell in cells]
    return any(plain) and all(not x or x == NONE or _number(x) for x in plain)


def _number(text: str) -> bool:
    return len(text) <= LONGEST_NUMBER and (text[0].isdigit() or text[0] in STARTS)


def long_columns(table: Table) -> list[bool]:
    """For each column but the first, whether it has a long text."""
    return [
        bool(place) and max((len(as_text(row[place])) for row in table.rows), default=0) > LONG
        for place in range(len(table.head))
    ]
