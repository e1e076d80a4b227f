"""Progress on standard error: bars on a terminal, lines in a pipe."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from flows.cli import terminal
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
def load_display(title: str, *, quiet: bool) -> Iterator[Callable[[Progress], None] | None]:
    """A bar for one load, or a line now and then; yields what to call with each ``Progress``."""
    if quiet:
        yield None
        return
    if not terminal.watched():
        yield _LoadLines(title).show
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}"), TimeRemainingColumn())
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(title, total=None, text="")
        yield lambda p: bars.update(task, total=p.total_s, completed=p.elapsed_s, text=load_text(p))


class _LoadLines:
    """Prints how far a load is, every few seconds."""

    def __init__(self, title: str) -> None:
        self.title, self.last = title, time.monotonic()

    def show(self, progress: Progress) -> None:
        if time.monotonic() - self.last >= LINE_EVERY_S:
            self.last = time.monotonic()
            terminal.note(f"{self.title}: {progress.elapsed_s:.0f} of {progress.total_s:.0f} s, {load_text(progress)}")


def load_text(p: Progress) -> str:
    """How far a load is, in a few words."""
    words = f"{p.completed:,} of {p.sent:,} done, {p.in_flight:,} in flight, {p.output_tokens_per_s:,.0f} tokens/s"
    return words + (f", {p.failed:,} failed" if p.failed else "")


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


def run_display(*, quiet: bool) -> RunDisplay:
    """The display for this process: bars on a terminal, lines in a pipe, nothing when quiet."""
    if quiet:
        return RunDisplay()
    return RunBars() if terminal.watched() else RunLines()


SLOW = {
    "prefect": "starting Prefect's server",
    "plan": "predicting the configurations of the space",
    "report": "predicting other GPUs, drawing the figures",
}
"""Phases that take a while, in words."""


class RunLines(RunDisplay):
    """A line for each phase, one when a trial begins that says where the search is, and one with its result."""

    def __init__(self) -> None:
        self.where: Standing | None = None

    def phase(self, name: str, sentence: str = "") -> None:
        super().phase(name, sentence)
        if sentence:
            terminal.note(f"{name}: {sentence}")
        elif name in SLOW:
            terminal.note(f"{name}: {SLOW[name]} ...")

    def standing(self, found: Standing) -> None:
        self.where = found

    def trial(self, order: TrialOrder, expected_s: float) -> None:
        where = f". {_sentence(self.where.words)}" if self.where is not None else ""
        terminal.note(f"trial {_title(order, expected_s)}{where}")

    def result(self, trial: TrialResult, kept: bool) -> None:
        terminal.note(f"trial {trial.position + 1}: {trial.candidate} {trial.n}: {_result_text(trial, kept)}")

    def waiting(self, sentence: str) -> None:
        terminal.note(sentence)


class RunBars(RunDisplay):
    """A line for each phase and trial that has ended; below them where the search is, and a bar for the current one."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn

        self.where: Standing | None = None
        self.since = time.monotonic()
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
        return "" if self.where is None else _sentence(self.where.words_after(time.monotonic() - self.since))

    def trial(self, order: TrialOrder, expected_s: float) -> None:
        self._begin(_title(order, expected_s))

    def engine(self, line: str) -> None:
        self.bars.update(self.task, text=line[:60])

    def load(self, progress: Progress) -> None:
        self.bars.update(self.task, total=progress.total_s, completed=progress.elapsed_s, text=load_text(progress))

    def result(self, trial: TrialResult, kept: bool) -> None:
        self._line(f"{trial.position + 1:3}  {trial.candidate} {trial.n}", _result_text(trial, kept))

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


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]


def _title(order: TrialOrder, expected_s: float) -> str:
    why = order.why or f"trial {order.n}"
    return f"{order.position + 1}: {order.candidate} ({why}), about {expected_s:.0f} s"


def _result_text(trial: TrialResult, kept: bool) -> str:
    from tasks.aggregate import describe

    return describe(trial) + (" (measured before)" if kept else "")
