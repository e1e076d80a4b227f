"""What a person sees while a capacity is measured: a bar on a terminal, lines in a pipe."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from flows.cli import terminal
from rooftune.capacity.units import amount, per_of
from tasks.capacity_lines import CapacityLines
from tasks.run_lines import load_text

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

    from rooftune.capacity.search import NextStep
    from rooftune.loadgen.progress import Progress


class BarAndLines(CapacityLines):
    """The lines above a bar for the step in progress."""

    def __init__(self, bars: Bars, time_scale: float) -> None:
        super().__init__(self._print, time_scale)
        self.bars = bars
        self.task = bars.add_task("starting", total=None, text="")

    def _print(self, sentence: str) -> None:
        from rich.markup import escape

        self.bars.console.print(escape(sentence))

    def engine(self, line: str) -> None:
        self.bars.update(self.task, text=line[:60])

    def step(self, number: int, order: NextStep) -> None:
        title = f"step {number}: {amount(order.load, per_of(order.workload))}"
        self.bars.reset(self.task, description=title, total=None, text="")

    def load(self, progress: Progress) -> None:
        self.bars.update(self.task, total=progress.total_s, completed=progress.elapsed_s, text=load_text(progress))


@contextlib.contextmanager
def capacity_display(time_scale: float) -> Iterator[CapacityLines]:
    """The listener for this terminal or pipe."""
    if not terminal.watched():
        yield CapacityLines(terminal.note, time_scale)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True, highlight=False), transient=True) as bars:
        yield BarAndLines(bars, time_scale)
