"""Progress on standard error: bars on a terminal, lines in a pipe. Results are on standard output alone."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from flows.cli import terminal
from tasks.run_lines import (
    SLOW,
    FirstTrials,
    Interval,
    RunLines,
    elapsed_text,
    first_upper,
    load_text,
    result_text,
    title,
)
from tasks.run_listener import RunListener

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.progress import Progress as Bars
    from rich.progress import ProgressColumn, TaskID

    from rooftune.evidence.records.trial import TrialResult
    from rooftune.loadgen.progress import Progress
    from rooftune.trial_order import TrialOrder
    from rooftune.tuning.guided.standing import Standing

LINE_EVERY_S = 10.0
"""Seconds between the lines that a load prints in a pipe."""


@contextlib.contextmanager
def load_display(what: str) -> Iterator[Callable[[Progress], None]]:
    """A bar for one load, or a line now and then; yields what to call with each ``Progress``."""
    if not terminal.watched():
        yield _LoadLines(what).show
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}"), TimeRemainingColumn())
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(what, total=None, text="")
        yield lambda p: bars.update(task, total=p.total_s, completed=p.elapsed_s, text=load_text(p))


class _LoadLines:
    """Prints how far a load is, every few seconds."""

    def __init__(self, what: str) -> None:
        self.what, self.interval = what, Interval(LINE_EVERY_S)

    def show(self, progress: Progress) -> None:
        if self.interval.due():
            terminal.note(f"{self.what}: {elapsed_text(progress)}, {load_text(progress)}")


class RunDisplay(RunListener):
    """Shows a whole run. This one only remembers which run it is."""

    run = ""

    def __enter__(self) -> RunDisplay:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def phase(self, name: str, sentence: str = "") -> None:
        if name == "run":
            self.run = sentence


def run_display() -> RunDisplay:
    """The display for this process: bars on a terminal, lines in a pipe."""
    return RunBars() if terminal.watched() else RunPipe(terminal.note)


class RunPipe(RunLines, RunDisplay):
    """The lines of a run in a pipe."""


class RunBars(RunDisplay):
    """A line for each phase and trial that has ended; below them where the search is, and a bar for the current one."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn

        self.where: Standing | None = None
        self.since = time.monotonic()
        self.first = FirstTrials()
        self.bars = _headed_bars(
            self._head,
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[text]}"),
            TimeElapsedColumn(),
            console=Console(stderr=True, highlight=False),
        )
        self.task: TaskID = self.bars.add_task("", total=None, text="")

    def __enter__(self) -> RunDisplay:
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def phase(self, name: str, sentence: str = "") -> None:
        super().phase(name, sentence)
        if name == "search":
            self.where = None
        if sentence:
            self._line(name, sentence)
        else:
            self._begin(SLOW.get(name, name))

    def standing(self, found: Standing) -> None:
        self.where, self.since = found, time.monotonic()

    def _head(self) -> str:
        """Where the search is now."""
        return "" if self.where is None else first_upper(self.where.words_after(time.monotonic() - self.since))

    def trial(self, order: TrialOrder, expected_s: float, changes: str = "") -> None:
        if self.first.of(order.candidate) and changes:
            self._line(f"{order.position + 1:3}  {order.candidate}", f"changes from the baseline: {changes}")
        self._begin(title(order, expected_s))

    def engine(self, line: str) -> None:
        self.bars.update(self.task, text=line[:60])

    def load(self, progress: Progress) -> None:
        self.bars.update(self.task, total=progress.total_s, completed=progress.elapsed_s, text=load_text(progress))

    def result(self, trial: TrialResult, kept: bool) -> None:
        self._line(f"{trial.position + 1:3}  {trial.candidate} {trial.n}", result_text(trial, kept))

    def waiting(self, sentence: str) -> None:
        self._line("waiting", sentence)

    def _line(self, head: str, text: str) -> None:
        from rich.markup import escape

        self.bars.console.print(f"[bold]{escape(head):24}[/bold] {escape(text)}")

    def _begin(self, text: str) -> None:
        self.bars.reset(self.task, description=text, total=None, text="")


def _headed_bars(head: Callable[[], str], *columns: ProgressColumn, console: Console) -> Bars:
    """Bars below a line that is asked for anew whenever they are drawn."""
    from rich.progress import Progress as Bars
    from rich.text import Text

    class Headed(Bars):
        def get_renderables(self) -> Iterator[RenderableType]:
            line = head()
            if line:
                yield Text(line, style="bold", no_wrap=True, overflow="ellipsis")
            yield from super().get_renderables()

    return Headed(*columns, console=console, transient=True)
