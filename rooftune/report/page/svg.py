"""An SVG file as a part of an HTML page: without its prologue, with ids that no other figure has, scalable, named."""

from __future__ import annotations

import re
from html import escape

OPENING = re.compile(r"<svg\b[^>]*>", re.S)
SCALE = 1.2
"""Width on a page relative to the width in the file, so that the letters of figure and text are about as large."""
REPLACED = re.compile(r'\s(width|height|role|aria-label|xmlns:cc|xmlns:dc|xmlns:rdf)="[^"]*"')
ID = re.compile(r'\bid="([^"]+)"')
METADATA = re.compile(r"<metadata\b.*?</metadata>", re.S)
SCRIPT = re.compile(r"<script\b.*?</script>", re.S)


def inlined(source: str, name: str, alt: str) -> str:
    """The ``<svg>`` element of a file.

    Args:
        name: unique in the page; ids begin with it.
        alt: what a reader sees in the figure.
    """
    start, end = source.find("<svg"), source.rfind("</svg>")
    if start < 0 or end < 0:
        return ""
    body = SCRIPT.sub("", METADATA.sub("", source[start : end + len("</svg>")]))
    body = _renamed(body, name)
    opening = OPENING.match(body)
    assert opening is not None
    head = REPLACED.sub("", opening[0]).removesuffix(">")
    if "viewBox" not in head:
        head += _view_box(opening[0])
    head += _width(opening[0])
    return f'{head} role="img" aria-label="{escape(alt, quote=True)}">{body[opening.end() :]}'


def _view_box(opening: str) -> str:
    """The view box of an element that has a size only."""
    sizes = dict(re.findall(r'\s(width|height)="([\d.]+)', opening))
    return f' viewBox="0 0 {sizes["width"]} {sizes["height"]}"' if len(sizes) == 2 else ""


def _width(opening: str) -> str:
    """The width on the page; the height follows from the view box."""
    found = re.search(r'\swidth="([\d.]+)', opening)
    return f' style="width:{SCALE * float(found[1]):.0f}px"' if found else ""


def _renamed(body: str, name: str) -> str:
    """With ``name`` before every id and every reference to one."""
    known = set(ID.findall(body))

    def new(found: re.Match[str]) -> str:
        before, old, after = found.groups()
        return f"{before}{name}-{old}{after}" if old in known else found[0]

    body = re.sub(r'(\bid=")([^"]+)(")', new, body)
    body = re.sub(r'(href="#)([^"]+)(")', new, body)
    return re.sub(r"(url\(#)([^)]+)(\))", new, body)
