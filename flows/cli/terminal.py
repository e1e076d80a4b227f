"""What a command shows: results on standard output, progress and errors on standard error."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

DEBUG = "ROOFTUNE_DEBUG"
"""Set to 1 to show the traceback of an error."""


def print_json(value: Any) -> None:
    """One JSON value on standard output (NaN and infinity as null)."""
    from rooftune.files import finite

    sys.stdout.write(json.dumps(finite(value), indent=2, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def note(sentence: str) -> None:
    """A sentence on standard error."""
    print(sentence, file=sys.stderr, flush=True)


def silent(sentence: str) -> None:
    """Takes the place of :func:`note` where nothing is to be printed."""


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


def _plain(cell: str) -> str:
    from rich.markup import escape

    return escape(cell)
