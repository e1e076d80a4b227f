"""Progress on the terminal: a bar for one load, a line and a bar for a whole run. Silent when nobody watches."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from flows.cli import terminal
from tasks.run_listener import RunListener


@contextlib.contextmanager
def load_bar(title: str) -> Iterator[Callable[[Any], None] | None]:
    """A bar for one load; yields what to call with each ``Progress``, or None when nobody watches."""
    if not terminal.watched():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[told]}"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None, told="")

        def show(p: Any) -> None:
            bar.update(task, total=p.total_s, completed=p.elapsed_s, told=figures(p))

        yield show


def figures(p: Any) -> str:
    """What a load has come to, in a few words."""
    words = f"{p.completed:,} of {p.sent:,} done, {p.in_flight:,} in flight, {p.output_tokens_per_s:,.0f} tokens/s"
    return words + (f", {p.failed:,} failed" if p.failed else "")


class RunDisplay(RunListener):
    """A whole run on the terminal: a line for what is over, a bar for what goes on."""

    def __init__(self, *, visible: bool) -> None:
        self.visible, self.run = visible, ""
        self.bar: Any = None
        self.task: Any = None

    def __enter__(self) -> RunDisplay:
        if self.visible:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

            columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=24))
            columns += (TextColumn("{task.fields[told]}"), TimeElapsedColumn())
            self.bar = Progress(*columns, console=Console(stderr=True, highlight=False), transient=True)
            self.bar.start()
            self.task = self.bar.add_task("", total=None, told="")
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    def _line(self, head: str, text: str) -> None:
        if self.bar is not None:
            from rich.markup import escape

            self.bar.console.print(f"[bold]{escape(head):24}[/bold] {escape(text)}")

    def _now(self, text: str) -> None:
        if self.bar is not None:
            self.bar.reset(self.task, description=text, total=None, told="")

    def phase(self, name: str, sentence: str = "") -> None:
        if name == "run":
            self.run = sentence
        if sentence:
            self._line(name, sentence)
        else:
            self._now({"prefect": "starting Prefect's server"}.get(name, name))

    def trial(self, order: Any, expected_s: float) -> None:
        self._now(
            f"{order.position + 1}: {order.candidate} ({order.why or 'trial ' + str(order.n)}), about {expected_s:.0f} s"
        )

    def engine(self, line: str) -> None:
        if self.bar is not None:
            self.bar.update(self.task, told=line[:60])

    def load(self, progress: Any) -> None:
        if self.bar is not None:
            self.bar.update(self.task, total=progress.total_s, completed=progress.elapsed_s, told=figures(progress))

    def result(self, trial: Any, kept: bool) -> None:
        from tasks.aggregate import describe

        told = describe(trial) + (" (measured before)" if kept else "")
        self._line(f"{trial.position + 1:3}  {trial.candidate} {trial.n}", told)

    def waiting(self, sentence: str) -> None:
        """Said in a pipe too: otherwise the command would seem to hang."""
        if self.visible:
            self._line("waiting", sentence)
        else:
            terminal.note(f"rooftune: {sentence}")
