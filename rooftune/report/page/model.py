"""What a report consists of. Texts are inline Markdown: ``code``, **strong** and links; every renderer reads them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Tone = Literal["plain", "answer", "warning"]
"""``answer``: the sentence that everything else explains. ``warning``: what changes how the page is to be read."""


@dataclass(frozen=True)
class Paragraph:
    """One paragraph."""

    text: str
    tone: Tone = "plain"


@dataclass(frozen=True)
class Fact:
    """A statement under its label."""

    label: str
    text: str


@dataclass(frozen=True)
class Facts:
    """Labelled statements, one below the other."""

    rows: tuple[Fact, ...]


@dataclass(frozen=True)
class Bullets:
    """A list."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """A table. Columns whose cells are all numbers are aligned to the right."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    label: str
    """What the table shows, for a reader who cannot see it."""


@dataclass(frozen=True)
class Code:
    """A text to copy or to read as it is."""

    text: str
    label: str = ""
    """What it is, for the button that copies it; nothing = it is only shown."""
    language: str = "bash"


@dataclass(frozen=True)
class Picture:
    """A figure in the folder of the report: ``stem.svg`` where there is one, else ``stem.png``."""

    stem: str
    """Path below the folder, without its ending."""
    alt: str
    """What a reader sees in it."""
    caption: str = ""


@dataclass(frozen=True)
class Section:
    """Blocks under a heading."""

    heading: str
    blocks: tuple[Block, ...]
    folded: bool = False
    """Details: one line until a reader opens them."""
    summary: bool = False
    """Part of the summary for a terminal."""


Block = Paragraph | Facts | Bullets | Table | Code | Picture | Section


@dataclass(frozen=True)
class Page:
    """A whole report: its title, what is read first, and the sections after it."""

    title: str
    opening: tuple[Block, ...]
    sections: tuple[Section, ...]

    def blocks(self) -> Iterator[Block]:
        """Every block, outer ones first, in the order of the page."""
        yield from _walk((*self.opening, *self.sections))

    def section(self, heading: str) -> Section:
        """The section with this heading.

        Raises:
            KeyError: there is none.
        """
        for block in self.blocks():
            if isinstance(block, Section) and block.heading == heading:
                return block
        raise KeyError(heading)


def _walk(blocks: tuple[Block, ...]) -> Iterator[Block]:
    for block in blocks:
        yield block
        if isinstance(block, Section):
            yield from _walk(block.blocks)


def section(heading: str, *blocks: Block | None, folded: bool = False, summary: bool = False) -> Section | None:
    """A section of the blocks that are there and not empty; None where nothing is left."""
    kept = tuple(b for b in blocks if b is not None and not _empty(b))
    return Section(heading, kept, folded, summary) if kept else None


def _empty(block: Block) -> bool:
    if isinstance(block, Paragraph):
        return not block.text
    if isinstance(block, Facts | Table):
        return not block.rows
    return isinstance(block, Bullets) and not block.items


def table(label: str, head: list[str], rows: list[list[str]]) -> Table:
    """A table without the columns that say nothing: no cell, or a dash in each."""
    kept = [i for i in range(len(head)) if i == 0 or any(row[i] not in ("", "–") for row in rows)]
    return Table(tuple(head[i] for i in kept), tuple(tuple(row[i] for i in kept) for row in rows), label)


def text(*sentences: str, tone: Tone = "plain") -> Paragraph:
    """A paragraph of the sentences that are there."""
    return Paragraph(" ".join(s for s in sentences if s), tone)


def bullets(items: list[str]) -> Bullets:
    """A list of the items that are there."""
    return Bullets(tuple(item for item in items if item))
