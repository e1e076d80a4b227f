"""The summary of a page for a terminal: what is read first, and the sections that belong to the summary."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterable

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from rooftune.formatting import NONE
from rooftune.report.page.alignment import long_columns, right_columns
from rooftune.report.page.inline import as_text
from rooftune.report.page.model import Block, Bullets, Code, Fact, Facts, Page, Paragraph, Picture, Section, Table

STYLES = {"plain": "", "answer": "bold", "warning": "yellow"}
PIPE_WIDTH = 160
HEAD_WIDTH = 12
"""The least width of a head that is wrapped, in a table that is wider than the terminal."""
LONGEST_WORD = 24
"""Words of a cell up to this length are not broken there."""
ANY_WIDTH = 10_000
"""More than any table needs."""


def summary(page: Page, width: int | None = None, *, colours: bool = False) -> str:
    """The summary as text.

    Args:
        width: columns of the terminal; None = a pipe.
        colours: with the terminal's control sequences.
    """
    written = io.StringIO()
    console = Console(
        file=written,
        width=width or PIPE_WIDTH,
        force_terminal=colours,
        no_color=not colours,
        highlight=False,
        soft_wrap=False,
        legacy_windows=False,
    )
    console.print(Text(as_text(page.title), style="bold"))
    _print(console, page.opening)
    _print(console, [s for s in page.sections if s.summary])
    return "\n".join(line.rstrip() for line in written.getvalue().splitlines()).strip("\n") + "\n"


def _print(console: Console, blocks: Iterable[Block]) -> None:
    for block in blocks:
        if not isinstance(block, Picture) and not (isinstance(block, Section) and not block.summary):
            console.print()
            _block(console, block)


def _block(console: Console, block: Block) -> None:
    if isinstance(block, Paragraph):
        console.print(Text(as_text(block.text), style=STYLES[block.tone]))
    elif isinstance(block, Facts):
        console.print(_facts(block))
    elif isinstance(block, Bullets):
        for item in block.items:
            console.print(Padding(Text("- " + as_text(item)), (0, 0, 0, 2)))
    elif isinstance(block, Table):
        _print_table(console, block)
    elif isinstance(block, Code):
        console.print(Text(block.text), soft_wrap=True)
    elif isinstance(block, Section):
        console.print(Text(as_text(block.heading), style="bold underline"))
        _print(console, block.blocks)


def _facts(block: Facts) -> Grid:
    grid = Grid.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, style="bold")
    grid.add_column(overflow="fold")
    for row in block.rows:
        grid.add_row(Text(as_text(row.label)), Text(as_text(row.text)))
    return grid


def _print_table(console: Console, block: Table) -> None:
    """The table, and below it the columns with long texts, row by row."""
    found = long_columns(block)
    long = [i for i, is_long in enumerate(found) if is_long]
    kept = [i for i, is_long in enumerate(found) if not is_long]
    grid = _grid(_columns(block, kept))
    width = console.measure(grid, options=console.options.update(width=ANY_WIDTH)).maximum
    console.print(grid if width <= console.width else _grid(_columns(block, kept), wrapped=True))
    for i in long:
        console.print()
        console.print(Text(f"{as_text(block.head[i])}:"))
        rows = tuple(Fact(row[0], row[i]) for row in block.rows if as_text(row[i]) not in ("", NONE))
        console.print(Padding(_facts(Facts(rows)), (0, 0, 0, 2)))


def _columns(block: Table, kept: list[int]) -> Table:
    rows = tuple(tuple(row[i] for i in kept) for row in block.rows)
    return Table(tuple(block.head[i] for i in kept), rows, block.label)


def _grid(block: Table, *, wrapped: bool = False) -> Grid:
    """The table; ``wrapped`` breaks heads, and cells between words only."""
    grid = Grid(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for i, (head, right) in enumerate(zip(block.head, right_columns(block), strict=True)):
        cells, words = [as_text(row[i]) for row in block.rows], as_text(head)
        longest = max((len(word) for cell in (words, *cells) for word in cell.split()), default=0)
        if wrapped:
            width = max(HEAD_WIDTH, *map(len, cells)) if right else HEAD_WIDTH
            words = textwrap.fill(words, width, break_long_words=False)
        grid.add_column(
            Text(words),
            justify="right" if right else "left",
            overflow="fold",
            no_wrap=right,
            min_width=min(longest, LONGEST_WORD) if wrapped and not right else None,
        )
    for row in block.rows:
        grid.add_row(*[Text(as_text(cell)) for cell in row])
    return grid
