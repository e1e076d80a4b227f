"""Markdown that GitHub and the site show in the same way: tables, code, headings of generated pages."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

NOTE = "<!-- Written by `make reference` from the code. Edit the code, not this page. -->"


def head(title: str, *paragraphs: str) -> list[str]:
    """The beginning of a generated page."""
    return [f"# {title}", "", NOTE, "", *(line for text in paragraphs for line in (text, ""))]


def text_of(lines: Iterable[str]) -> str:
    """The page as text, without runs of empty lines."""
    found: list[str] = []
    for line in lines:
        if line or (found and found[-1]):
            found.append(line.rstrip())
    return "\n".join(found).rstrip() + "\n"


def code(text: str) -> str:
    """Text in the font of code; inside a table a vertical bar would end the cell."""
    if "|" in text or "`" in text:
        return f"<code>{html.escape(text, quote=False).replace('|', '&#124;')}</code>"
    return f"`{text}`"


def cell(text: str) -> str:
    """Prose as a table cell: on one line, without bars and without what looks like a tag."""
    words = " ".join(text.split())
    parts = words.split("`")
    plain = [_escaped(part) if place % 2 == 0 else f"`{part}`" for place, part in enumerate(parts)]
    return "".join(plain) if len(parts) % 2 else _escaped(words)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table whose cells are Markdown already."""
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows), ""]


def prose(docstring: str | None) -> str:
    """A docstring's reStructuredText marks as Markdown."""
    text = " ".join((docstring or "").split())
    for role in (":class:", ":func:", ":data:"):
        text = text.replace(f"{role}`~", "`").replace(f"{role}`", "`")
    return text.replace("``", "`")


def sentence_case(text: str) -> str:
    """Descriptions begin in one way, and have no full stop at their end."""
    first = re.match(r"[a-z]+(?=[\s,;:]|$)", text)
    return (text[:1].upper() + text[1:] if first else text).rstrip(".")


def _escaped(text: str) -> str:
    return text.replace("|", "&#124;").replace("<", "&lt;").replace("*", "\\*")
