"""A page as Markdown. Folded sections are ``<details>``, which GitHub folds."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rooftune.report.page.alignment import right_columns
from rooftune.report.page.figure_files import picture_file
from rooftune.report.page.model import Block, Bullets, Code, Facts, Page, Paragraph, Picture, Section, Table


def markdown(page: Page, folder: Path) -> str:
    """The page as Markdown; pictures are relative to ``folder``, and those that are not there are left out."""
    lines = [f"# {page.title}", "", *_blocks(page.opening, folder, 2), *_blocks(page.sections, folder, 2)]
    return "\n".join(_single_blank(lines)).rstrip() + "\n"


def _blocks(blocks: Iterable[Block], folder: Path, level: int) -> list[str]:
    return [line for block in blocks for line in [*_block(block, folder, level), ""]]


def _block(block: Block, folder: Path, level: int) -> list[str]:
    if isinstance(block, Paragraph):
        return [_paragraph(block)]
    if isinstance(block, Facts):
        return [f"- **{row.label}**: {row.text}" for row in block.rows]
    if isinstance(block, Bullets):
        return [f"- {item}" for item in block.items]
    if isinstance(block, Table):
        return table_lines(block)
    if isinstance(block, Code):
        return [f"```{block.language}", *block.text.splitlines(), "```"]
    if isinstance(block, Picture):
        return _picture(block, folder)
    return _section(block, folder, level)


def _paragraph(block: Paragraph) -> str:
    if block.tone == "answer":
        return f"**{block.text}**"
    return f"> {block.text}" if block.tone == "warning" else block.text


def table_lines(table: Table) -> list[str]:
    """The lines of a Markdown table."""
    marks = ["---:" if right else "---" for right in right_columns(table)]
    return [_row(table.head), _row(marks), *map(_row, table.rows)]


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _picture(block: Picture, folder: Path) -> list[str]:
    """A picture and its caption. PNG comes first, because not every viewer of Markdown draws a local SVG."""
    path = picture_file(folder, block.stem, (".png", ".svg"))
    if path is None:
        return []
    lines = [f"![{block.alt}]({path.relative_to(folder).as_posix()})"]
    return [*lines, "", f"*{block.caption}*"] if block.caption else lines


def _section(block: Section, folder: Path, level: int) -> list[str]:
    inner = _blocks(block.blocks, folder, min(level + 1, 6))
    if block.folded:
        return ["<details>", f"<summary>{block.heading}</summary>", "", *inner, "</details>"]
    return [f"{'#' * level} {block.heading}", "", *inner]


def _single_blank(lines: list[str]) -> list[str]:
    """Without repeated blank lines."""
    return [line for place, line in enumerate(lines) if line or (place and lines[place - 1])]
