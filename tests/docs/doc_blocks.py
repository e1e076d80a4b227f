"""The code blocks of the documentation: what each shows, and whether it is run, and the commands inside."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
RUN_LANGUAGES = ("bash", "python")
SHOWN_LANGUAGES = ("yaml", "text", "json", "toml", "ini")
"""Blocks that are read and not run; with a title they are files that later blocks use."""
FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<body>.*?)^ *```\s*$", re.M | re.S)
MARKS = re.compile(r"((?:<!-- [a-z ]+: [^>]+? -->\s*)+)$")
MARK = re.compile(r"<!-- (not run|run with|exits with): ([^>]+?) -->")


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    page: str
    """Path of the page, from the top of the repository."""
    line: int
    language: str
    body: str
    title: str = ""
    """The file that the block shows."""
    not_run: str = ""
    """Why it is not run here."""
    run_with: str = ""
    """Options that the test adds, so that it ends soon."""
    exits_with: tuple[int, ...] = ()
    """Exit codes that each of its commands may have, where that is not only 0."""

    @property
    def place(self) -> str:
        """For messages: docs/tutorial.md:12."""
        return f"{self.page}:{self.line}"

    @cached_property
    def commands(self) -> list[list[str]]:
        """The words of every command of a bash block, without comments; `a && b` and `a | b` are two."""
        joined = re.sub(r"\\\n\s*", " ", self.body)
        found = []
        for line in joined.splitlines():
            lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;")
            lexer.commenters, lexer.whitespace_split = "#", True
            words: list[str] = []
            for word in [*lexer, ";"]:
                if word and not word.strip("&|;"):
                    found += [words] if words else []
                    words = []
                else:
                    words.append(word)
        return found


def pages() -> list[Path]:
    """Every page of the documentation, README and CONTRIBUTING."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, from top to bottom."""
    return blocks_of(page.read_text(encoding="utf-8"), str(page.relative_to(ROOT)))


def blocks_of(text: str, page: str) -> list[Block]:
    """The fenced blocks of a text."""
    found = []
    for fence in FENCE.finditer(text):
        language, _, more = fence["info"].strip().partition(" ")
        title = re.search(r'title="([^"]+)"', more)
        marks = MARKS.search(text[: fence.start()])
        words: dict[str, str] = dict(MARK.findall(marks[1])) if marks else {}
        body = re.sub(rf"^{fence['indent']}", "", fence["body"], flags=re.M)
        found.append(
            Block(
                page=page,
                line=text.count("\n", 0, fence.start()) + 1,
                language=language,
                body=body,
                title=title[1] if title else "",
                not_run=words.get("not run", ""),
                run_with=words.get("run with", ""),
                exits_with=tuple(map(int, re.findall(r"\d+", words.get("exits with", "")))),
            )
        )
    return found


def without_environment(words: list[str]) -> list[str]:
    """A command without the variables that are set for it."""
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words = words[1:]
    return words


def program(words: list[str]) -> str:
    """The program that a command starts, without its folder and variables."""
    words = without_environment(words)
    return words[0].rpartition("/")[2] if words else ""
