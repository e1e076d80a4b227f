"""Makes matplotlib's SVG fit for a page: values on hover, words for screen readers, light and dark colours.

The file stays one static SVG without scripts. Its ids carry the figure's name, so that several fit into one page.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from rooftune.report.figures.style import TONES

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
CLASS = "rooftune-figure"
PIXELS_PER_POINT = 4 / 3
REFERENCE = re.compile(r"url\(#([^)]+)\)")


def theme() -> str:
    """CSS that shows the palette's dark colours on a page that prefers them.

    The rules name each colour of the file, so a viewer without CSS variables keeps the light ones. A page may set the
    variables itself: ``--figure-ink`` and so on.
    """
    light = "".join(f"--figure-{t.name}:{t.light};" for t in TONES)
    dark = "".join(f"--figure-{t.name}:{t.dark};" for t in TONES)
    rules = "".join(
        f'.{CLASS} [style*="{kind}: {t.light}"]{{{kind}:var(--figure-{t.name})!important}}'
        for t in TONES
        for kind in ("fill", "stroke")
    )
    return (
        f".{CLASS}{{{light}background:var(--figure-surface);max-width:100%;height:auto}}"
        f"@media screen and (prefers-color-scheme:dark){{.{CLASS}{{{dark}}}}}"
        f".{CLASS} *{{stroke-linejoin:round;stroke-linecap:butt}}"
        f".{CLASS} text{{pointer-events:none}}"  # a number inside a bar leaves the bar its values on hover
        f".{CLASS} .mark:hover{{opacity:.65}}{rules}"
    )


def finished(raw: str, name: str, title: str, description: str, marks: Mapping[str, Sequence[str]]) -> str:
    """matplotlib's SVG with titles on its marks.

    Args:
        name: of the figure; prefix of every id.
        marks: words for the marks of an element, by its id.
    """
    ElementTree.register_namespace("", SVG)
    root = ElementTree.fromstring(raw)
    _drop(root, "metadata")
    _drop(root, "style")
    _leave_colours_to_uses(root)
    for element in list(root.iter()):
        words = marks.get(element.get("id", ""))
        if words:
            _title_marks(element, words)
    _rename(root, name)
    _head(root, name, title, description)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _drop(root: Element, tag: str) -> None:
    """Remove all elements of a kind."""
    for parent in list(root.iter()):
        for child in [c for c in parent if c.tag == f"{{{SVG}}}{tag}"]:
            parent.remove(child)


def _leave_colours_to_uses(root: Element) -> None:
    """No style on what ``<use>`` shows: the rules of a page do not reach it there, and each use has its own."""
    for defs in root.iter(f"{{{SVG}}}defs"):
        for shape in defs.iter(f"{{{SVG}}}path"):
            shape.attrib.pop("style", None)


def shapes(group: Element) -> list[Element]:
    """What a group draws, in order: its uses, or its paths where it has none."""
    defined = {id(e) for defs in group.iter(f"{{{SVG}}}defs") for e in defs.iter()}
    uses = list(group.iter(f"{{{SVG}}}use"))
    return uses or [p for p in group.iter(f"{{{SVG}}}path") if id(p) not in defined]


def _title_marks(group: Element, words: Sequence[str]) -> None:
    """A title on each mark of a group; one text for a group of several shapes belongs to the whole group."""
    found = shapes(group)
    targets = found if len(found) == len(words) else [group] if len(words) == 1 else []
    for target, text in zip(targets, words, strict=False):
        title = Element(f"{{{SVG}}}title")
        title.text = text
        target.insert(0, title)
        target.set("class", "mark")


def _rename(root: Element, name: str) -> None:
    """The figure's name before every id and every reference to one."""
    for element in root.iter():
        for key, value in list(element.attrib.items()):
            if key == "id":
                element.set(key, f"{name}-{value}")
            elif key in ("href", f"{{{XLINK}}}href") and value.startswith("#"):
                del element.attrib[key]
                element.set("href", f"#{name}-{value[1:]}")
            elif "url(#" in value:
                element.set(key, REFERENCE.sub(rf"url(#{name}-\1)", value))


def _head(root: Element, name: str, title: str, description: str) -> None:
    """Size in pixels, role, title, description and the style."""
    for side in ("width", "height"):
        points = float(root.get(side, "0").removesuffix("pt"))
        root.set(side, f"{points * PIXELS_PER_POINT:.0f}")
    root.set("class", CLASS)
    root.set("role", "img")
    root.set("aria-label", title)
    for place, (tag, words) in enumerate({"title": title, "desc": description or title}.items()):
        element = Element(f"{{{SVG}}}{tag}", {"id": f"{name}-{tag}"})
        element.text = words
        root.insert(place, element)
    style = Element(f"{{{SVG}}}style")
    style.text = theme()
    root.insert(2, style)
