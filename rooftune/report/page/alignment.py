"""Which columns of a table hold numbers, and are aligned to the right."""

from __future__ import annotations

from rooftune.formatting import MINUS, NONE
from rooftune.report.page.inline import as_text
from rooftune.report.page.model import Table

STARTS = f"+{MINUS}$±"


def right_columns(table: Table) -> list[bool]:
    """For each column, whether all its cells are numbers; the first one has names."""
    return [
        bool(place) and _numeric([row[place] for row in table.rows if place < len(row)])
        for place in range(len(table.head))
    ]


def _numeric(cells: list[str]) -> bool:
    plain = [as_text(cell).strip() for cell in cells]
    return any(plain) and all(not x or x == NONE or x[0].isdigit() or x[0] in STARTS for x in plain)
