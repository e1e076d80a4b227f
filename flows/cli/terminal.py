"""What a command shows: results on standard output, progress and errors on standard error."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rooftune.report.page.model import Page

DEBUG = "ROOFTUNE_DEBUG"
"""Set to 1 to show the traceback of an error."""
BUSY_AFTER_S, BUSY_AFTER_WATCHED_S, BUSY_EVERY_S = 5.0, 1.0, 30.0
"""Seconds until work that shows nothing else says that it goes on: in a pipe, on a terminal, and between such lines."""


def print_json(value: Any) -> None:
    """One JSON value on standard output (NaN and infinity as null)."""
    from rooftune.files import finite

    sys.stdout.write(json.dumps(finite(value), indent=2, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def note(sentence: str) -> None:
    """A sentence on standard error. If nobody reads it any more, the command goes on without a word."""
    try:
        print(sentence, file=sys.stderr, flush=True)
    except OSError:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


@contextlib.contextmanager
def busy(what: str) -> Iterator[None]:
    """Say what a block does if it takes longer than some seconds, and then now and then that it goes on."""
    ended = threading.Event()

    def speak() -> None:
        wait_s, passed_s = BUSY_AFTER_WATCHED_S if watched() else BUSY_AFTER_S, 0.0
        while not ended.wait(wait_s):
            passed_s += wait_s
            note(f"{what}, {passed_s:.0f} s so far ...")
            wait_s = BUSY_EVERY_S

    thread = threading.Thread(target=speak, name="busy", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def fail(sentence: str) -> None:
    """An error, as one line on standard error."""
    line = " ".join(str(sentence).split())
    note(f"rooftune: {line}")


def watched() -> bool:
    """Whether standard error is a terminal, so that progress can be drawn."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def table(heads: list[str], rows: list[list[str]], *, right: tuple[int, ...] = (), title: str | None = None) -> None:
    """A table on standard output, as wide as the terminal; in a pipe the columns keep their full width."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    shown = Table(box=SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False, show_edge=False)
    for place, head in enumerate(heads):
        shown.add_column(head, justify="right" if place in right else "left", overflow="fold")
    for row in rows:
        shown.add_row(*[_plain(cell) for cell in row])
    console = Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=200)
    console.print(shown)


def markdown(text: str) -> None:
    """Markdown, rendered on a terminal and unchanged in a pipe."""
    if not sys.stdout.isatty():
        sys.stdout.write(text.rstrip() + "\n")
        return
    from rich.console import Console
    from rich.markdown import Markdown

    Console().print(Markdown(text))


def summary(page: Page) -> None:
    """The summary of a report, in colours on a terminal and as plain text in a pipe."""
    from rich.console import Console

    from rooftune.report.page.to_terminal import summary as written

    on_terminal = sys.stdout.isatty()
    width = Console().width if on_terminal else None
    sys.stdout.write(written(page, width, colours=on_terminal and "NO_COLOR" not in os.environ))
    sys.stdout.flush()


def _plain(cell: str) -> str:
    from rich.markup import escape

    return escape(cell)
