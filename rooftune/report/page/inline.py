"""Inline Markdown of a block as HTML and as plain text."""

from __future__ import annotations

import re
from functools import cache
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

LINK = re.compile(r"\[([^\]]+)\]\(([^)\s]+)\)")
MARKS = re.compile(r"`([^`]*)`|\*\*(.+?)\*\*", re.S)


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark", {"html": False})


def as_html(text: str) -> str:
    """Inline HTML; HTML in the text is shown as it is."""
    return str(_parser().renderInline(text))


def as_text(text: str) -> str:
    """Without marks: a link becomes its words."""
    words = LINK.sub(r"\1", text)
    return MARKS.sub(lambda m: m[1] if m[1] is not None else as_text(m[2]), words)


def attribute(text: str) -> str:
    """Plain text for an HTML attribute."""
    return escape(as_text(text), quote=True)
