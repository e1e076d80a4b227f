"""A page as one HTML file that needs nothing else: no network, no framework, no script to be read."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from pathlib import Path

from rooftune.report.page.alignment import long_columns, right_columns
from rooftune.report.page.figure_files import picture_file
from rooftune.report.page.inline import as_html, as_text, attribute
from rooftune.report.page.model import Block, Bullets, Code, Facts, Page, Paragraph, Picture, Section, Table
from rooftune.report.page.style import SCRIPT, style_sheet
from rooftune.report.page.svg import inlined


def html(page: Page, folder: Path) -> str:
    """The page as HTML; figures are read from ``folder``, and those that are not there are left out."""
    written = _Writer(folder)
    opening = written.blocks(page.opening, 2)
    sections = written.blocks(page.sections, 2)
    title = escape(as_text(page.title))
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><title>{title}</title>\n<style>{style_sheet()}</style>'
    )
    body = (
        f'<a class="skip" href="#main">Skip to the content</a>\n<main id="main">\n<h1>{as_html(page.title)}</h1>\n'
        f"{opening}\n{_contents(page.sections)}\n{sections}\n</main>\n<script>{SCRIPT}</script>"
    )
    return f'<!doctype html>\n<html lang="en">\n<head>{head}</head>\n<body>\n{body}\n</body>\n</html>\n'


def anchor(heading: str) -> str:
    """The id of a heading."""
    return re.sub(r"[^a-z0-9]+", "-", as_text(heading).lower()).strip("-")


def _contents(sections: Iterable[Section]) -> str:
    items = "".join(f'<li><a href="#{anchor(s.heading)}">{as_html(s.heading)}</a></li>' for s in sections)
    return f'<nav aria-label="Sections"><ul>{items}</ul></nav>'


@dataclass(frozen=True)
class _Writer:
    """Writes blocks as HTML."""

    folder: Path

    def blocks(self, blocks: Iterable[Block], level: int) -> str:
        """Blocks under a heading of the level above."""
        return "\n".join(self.block(block, level) for block in blocks)

    def block(self, block: Block, level: int) -> str:
        """One block."""
        if isinstance(block, Paragraph):
            return _paragraph(block)
        if isinstance(block, Facts):
            rows = "".join(f"<dt>{as_html(r.label)}</dt><dd>{as_html(r.text)}</dd>" for r in block.rows)
            return f'<dl class="facts">{rows}</dl>'
        if isinstance(block, Bullets):
            return "<ul>" + "".join(f"<li>{as_html(item)}</li>" for item in block.items) + "</ul>"
        if isinstance(block, Table):
            return _table(block)
        if isinstance(block, Code):
            return _code(block)
        if isinstance(block, Picture):
            return self.picture(block)
        return self.section(block, level)

    def section(self, block: Section, level: int) -> str:
        """A section; a folded one is a ``<details>`` whose summary is its heading."""
        inner = self.blocks(block.blocks, min(level + 1, 6))
        heading = f'<h{level} id="{anchor(block.heading)}">{as_html(block.heading)}</h{level}>'
        if block.folded:
            return f"<details><summary>{heading}</summary>\n{inner}\n</details>"
        return f"<section>\n{heading}\n{inner}\n</section>"

    def picture(self, block: Picture) -> str:
        """A figure: the SVG itself, so that its titles show values under the pointer, or the embedded pixels."""
        path = picture_file(self.folder, block.stem)
        if path is None:
            return ""
        caption = f"<figcaption>{as_html(block.caption)}</figcaption>" if block.caption else ""
        if path.suffix == ".svg":
            drawn = inlined(path.read_text(encoding="utf-8"), anchor(block.stem), as_text(block.alt))
        else:
            data = base64.b64encode(path.read_bytes()).decode("ascii")
            drawn = f'<img src="data:image/png;base64,{data}" alt="{attribute(block.alt)}">'
        return f"<figure>{drawn}{caption}</figure>"


def _paragraph(block: Paragraph) -> str:
    mark = "" if block.tone == "plain" else f' class="{block.tone}"'
    role = ' role="note"' if block.tone == "warning" else ""
    return f"<p{mark}{role}>{as_html(block.text)}</p>"


def _code(block: Code) -> str:
    shown = f'<pre tabindex="0"><code>{escape(block.text)}</code></pre>'
    return f'<div class="command" data-label="{attribute(block.label)}">{shown}</div>' if block.label else shown


def _table(block: Table) -> str:
    kinds = [
        ' class="number"' if right else ' class="long"' if long else ""
        for right, long in zip(right_columns(block), long_columns(block), strict=True)
    ]
    head = "".join(f'<th scope="col"{kind}>{as_html(c)}</th>' for c, kind in zip(block.head, kinds, strict=True))
    rows = "".join(f"<tr>{_cells(row, kinds)}</tr>" for row in block.rows)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return f'<div class="scroll" role="region" aria-label="{attribute(block.label)}" tabindex="0">{table}</div>'


def _cells(row: tuple[str, ...], kinds: list[str]) -> str:
    first = f'<th scope="row">{as_html(row[0])}</th>'
    rest = zip(row[1:], kinds[1:], strict=True)
    return first + "".join(f"<td{kind}>{as_html(cell)}</td>" for cell, kind in rest)
