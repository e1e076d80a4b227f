"""Bars of block characters, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

_EIGHTHS = " ▁▂▃▄▅▆▇█"


def bars(values: Sequence[float], rows: int = 4) -> list[str]:
    """Columns whose heights show the values, as lines from top to bottom. A value above 0 is never invisible."""
    top = max(values, default=0.0)
    eighths = [max(round(8 * rows * v / top), int(v > 0)) if top > 0 else 0 for v in values]
    return [
        "".join(_EIGHTHS[min(8, max(0, height - 8 * row))] for height in eighths).rstrip()
        for row in range(rows - 1, -1, -1)
    ]


def axis(left: str, right: str, width: int) -> str:
    """The labels below the first and the last column."""
    return left + right.rjust(max(width - len(left), len(right) + 1))
