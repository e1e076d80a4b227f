"""Reads a report as a person would: its visible lines, its sections, its tables; and its HTML as a strict parser."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "img", "br", "hr", "link", "input"}
SENTENCE = re.compile(r"(?<=[.!?])\s+")


def visible(report: str) -> list[str]:
    """The lines of a Markdown report that are seen without unfolding anything, without blank ones."""
    depth, lines = 0, []
    for line in report.splitlines():
        if line.startswith("<details>"):
            depth += 1
        if not depth and line.strip():
            lines.append(line)
        if line.startswith("<summary>") and depth == 1:
            lines.append(line)
        if line.startswith("</details>"):
            depth -= 1
    assert depth == 0, "a folded section does not end"
    return lines


def section(report: str, heading: str) -> str:
    """The text below a heading of any level, up to the next one of that level or above."""
    level = len(heading) - len(heading.lstrip("#"))
    return re.split(rf"^#{{1,{level}}} ", report.split(f"\n{heading}\n")[1], flags=re.M)[0]


def folded(report: str, summary: str) -> str:
    """The text of the folded section whose summary has these words."""
    found = re.search(rf"<summary>[^<\n]*{re.escape(summary)}[^<]*</summary>(.*?)</details>", report, flags=re.S)
    assert found, f"no folded section {summary!r}"
    return found[1]


def _table(text: str) -> list[list[str]]:
    """The cells of the first table, its head first."""
    lines = itertools.dropwhile(lambda line: not line.startswith("|"), text.splitlines())
    found = list(itertools.takewhile(lambda line: line.startswith("|"), lines))
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in (*found[:1], *found[2:])]


def rows(text: str) -> list[list[str]]:
    """The cells of the first table without its head."""
    return _table(text)[1:]


def columns(text: str) -> list[dict[str, str]]:
    """The rows of the first table as dictionaries by its head."""
    head, *found = _table(text)
    return [dict(zip(head, row, strict=True)) for row in found]


def sentences(report: str) -> list[str]:
    """Every sentence of at least six words, and every cell that is one, without marks and numbers of lists."""
    texts = []
    for line in report.splitlines():
        if line.startswith(("#", "<", "```", "  --", "python -m", "![", "*")):
            continue
        parts = line.strip("|").split(" | ") if line.startswith("|") else [line.removeprefix("- ")]
        texts += [s.strip() for part in parts for s in SENTENCE.split(part.strip())]
    return [t for t in texts if len(re.findall(r"[A-Za-z]{2,}", t)) >= 5 and not t.startswith(("`--", "without `--"))]


def repeated(report: str) -> list[str]:
    """Sentences that are seen without unfolding anything and are anywhere else too."""
    everywhere = sentences(report)
    return sorted({s for s in sentences("\n".join(visible(report))) if everywhere.count(s) > 1})


@dataclass
class Element:
    """One element of a page."""

    tag: str
    attributes: dict[str, str]
    text: str = ""
    inside: list[str] = field(default_factory=list)


class Strict(HTMLParser):
    """Collects elements, and fails where one is not closed or closes another."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[Element] = []
        self.open: list[Element] = []
        self.problems: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {k: v or "" for k, v in attrs}, inside=[e.tag for e in self.open])
        if len({k for k, _ in attrs}) != len(attrs):
            self.problems.append(f"<{tag}> has an attribute twice")
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag, {k: v or "" for k, v in attrs}, inside=[e.tag for e in self.open]))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open[-1].tag != tag:
            self.problems.append(f"</{tag}> closes {[e.tag for e in self.open[-1:]]}")
            return
        self.open.pop()

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element.text += data

    def of(self, *tags: str) -> list[Element]:
        """All elements of these kinds, in order."""
        return [e for e in self.elements if e.tag in tags]


def parsed(html: str) -> Strict:
    """The elements of a page.

    Raises:
        AssertionError: it is not well formed.
    """
    page = Strict()
    page.feed(html)
    page.close()
    assert not page.problems, page.problems
    assert not page.open, f"not closed: {[e.tag for e in page.open]}"
    return page


def check_accessible(page: Strict) -> None:
    """Headings in order with one h1, words for every figure, unique ids, labels for regions, nothing from elsewhere."""
    levels = [int(e.tag[1]) for e in page.of("h1", "h2", "h3", "h4", "h5", "h6")]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(b <= a + 1 for a, b in itertools.pairwise(levels)), levels
    for image in page.of("img"):
        assert image.attributes.get("alt"), "an image without words"
        assert image.attributes["src"].startswith("data:image/")
    for figure in [e for e in page.of("svg") if "svg" not in e.inside]:
        assert figure.attributes.get("aria-label"), "a figure without words"
        assert figure.attributes.get("role") == "img"
    ids = [e.attributes["id"] for e in page.elements if "id" in e.attributes]
    assert len(ids) == len(set(ids)), sorted({i for i in ids if ids.count(i) > 1})
    links = [e.attributes["href"] for e in page.of("a")]
    assert all(link[1:] in ids for link in links if link.startswith("#"))
    assert not page.of("link", "iframe", "object"), "one file needs no other"
    assert all(not e.attributes.get("src") for e in page.of("script"))
    for region in [e for e in page.elements if e.attributes.get("role") == "region"]:
        assert region.attributes.get("aria-label")
        assert region.attributes.get("tabindex") == "0", "a keyboard scrolls it"
    for cell in page.of("th"):
        assert cell.attributes.get("scope") in ("col", "row")
    assert all("summary" not in e.inside or e.tag in ("h2", "h3", "h4", "code", "strong") for e in page.elements)
