"""What a command shows: results on standard output, progress and mistakes on standard error."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flows.inputs.home import home as home

Say = Callable[[str], None]
"""Told in a few words what is being done now."""
DEBUG = "ROOFTUNE_DEBUG"
"""Set to 1, a traceback is shown with an error that nobody foresaw."""


def log_file() -> Path:
    """The log of the commands."""
    return home() / "logs" / "rooftune.log"


def keep_log() -> None:
    """Send the records of all loggers to :func:`log_file` (and nowhere else, until something else is set up)."""
    root = logging.getLogger()
    root.addHandler(_handler())
    root.setLevel(logging.INFO)
    logging.getLogger("httpx").setLevel(logging.WARNING)


def to_log(sentence: str, error: BaseException) -> None:
    """An error with its traceback to :func:`log_file` and nowhere else, whatever logging has been set up by then."""
    record = logging.LogRecord(
        "rooftune", logging.ERROR, "", 0, sentence, None, (type(error), error, error.__traceback__)
    )
    handler = _handler()
    handler.emit(record)
    handler.close()


def _handler() -> logging.Handler:
    path = log_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"))
    return handler


def print_json(value: Any) -> None:
    """One JSON value on standard output (NaN and infinity as null)."""
    from rooftune.files import finite

    sys.stdout.write(json.dumps(finite(value), indent=2, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def note(sentence: str) -> None:
    """A sentence on standard error."""
    print(sentence, file=sys.stderr, flush=True)


def fail(sentence: str) -> None:
    """A mistake, as one line on standard error."""
    line = " ".join(str(sentence).split())
    note(f"rooftune: {line}")


def watched() -> bool:
    """Whether a person looks at the progress: standard error is a terminal."""
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
    """Markdown, set for a terminal; as it is in a pipe."""
    if not sys.stdout.isatty():
        sys.stdout.write(text.rstrip() + "\n")
        return
    from rich.console import Console
    from rich.markdown import Markdown

    Console().print(Markdown(text))


def _plain(cell: str) -> str:
    from rich.markup import escape

    return escape(cell)
