"""The figures' SVG in headless Chromium: words have contrast and keep apart in light and dark, marks show their values.

Screenshots go to ``ROOFTUNE_SCREENSHOTS`` (or to a folder that the test prints): look at them.
"""

from __future__ import annotations

import os
import re
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "report"))

import made_capacity_run
import made_figures

from rooftune.report.figures.catalogue import DETAILS, OVERVIEW
from rooftune.report.figures.saving import svg_of
from rooftune.report.figures.style import DARK_SURFACE, SURFACE

pytestmark = [pytest.mark.browser, pytest.mark.slow]
SURFACES = {"light": SURFACE, "dark": DARK_SURFACE}
TOUCH = 2.0
"""Pixels by which the boxes of two words may overlap: letters do not fill theirs, and fonts differ."""
TEXTS = """figure => [...figure.querySelectorAll("text")].map(t => {
  const r = t.getBoundingClientRect();
  return {words: t.textContent, fill: getComputedStyle(t).fill, x: r.left, y: r.top, w: r.width, h: r.height};
})"""
MARKS = """figure => [...figure.querySelectorAll(".mark")].map(mark => {
  mark.scrollIntoView({block: "center"});
  const r = mark.getBoundingClientRect();
  const found = document.elementFromPoint(r.left + r.width / 2, r.top + r.height / 2);
  const shown = found && found.closest(".mark");
  return {words: mark.querySelector("title").textContent, shown: shown && shown.querySelector("title").textContent};
})"""


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of all figures of a run, each inlined."""
    folder = made_capacity_run.write_capacity_report(tmp_path_factory.mktemp("figures"))
    run = made_figures.with_predictions(made_figures.complete(folder), "capacity")
    charts = {kind.name: kind.draw(run) for kind in (*OVERVIEW, *DETAILS)}
    figures = [f'<figure id="{n}">{svg_of(c, n)}</figure>' for n, c in charts.items() if c is not None]
    path = folder.path / "figures.html"
    head = '<!doctype html><meta charset="utf-8"><meta name="color-scheme" content="light dark">'
    path.write_text(head + "".join(figures), encoding="utf-8")
    return path


def luminance(colour: str) -> float:
    """Relative luminance of 'rgb(1, 2, 3)' or '#010203'."""
    parts = (
        [int(c) for c in re.findall(r"\d+", colour)] if colour.startswith("rgb") else list(bytes.fromhex(colour[1:]))
    )
    linear = [c / 12.92 if (c := p / 255) <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for p in parts[:3]]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def on_each_other(a: dict[str, Any], b: dict[str, Any]) -> bool:
    across = min(a["x"] + a["w"], b["x"] + b["w"]) - max(a["x"], b["x"])
    down = min(a["y"] + a["h"], b["y"] + b["h"]) - max(a["y"], b["y"])
    return bool(across > TOUCH and down > TOUCH + 0.25 * min(a["h"], b["h"]))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_have_contrast_and_keep_apart(
    browser: Any, page_file: Path, tmp_path_factory: pytest.TempPathFactory, scheme: str
) -> None:
    page = browser.new_context(color_scheme=scheme, viewport={"width": 1000, "height": 900}).new_page()
    page.goto(page_file.as_uri())
    wrong = []
    for figure in page.locator("figure").all():
        name = figure.get_attribute("id")
        found = figure.evaluate(TEXTS)
        assert found, name
        # White numbers are inside a coloured bar.
        outside = [t for t in found if contrast(t["fill"], SURFACES[scheme]) > 1.1]
        wrong += [f"{name}: {t}" for t in outside if contrast(t["fill"], SURFACES[scheme]) < 4.5]
        pairs = combinations(found, 2)
        wrong += [f"{name}: {a['words']!r} is on {b['words']!r}" for a, b in pairs if on_each_other(a, b)]
    folder = Path(os.environ.get("ROOFTUNE_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=str(folder / f"figures-{scheme}.png"), full_page=True)
    print(f"picture: {folder / f'figures-{scheme}.png'}")
    assert not wrong, wrong


def test_marks_show_their_values_under_the_pointer(browser: Any, page_file: Path) -> None:
    page = browser.new_context(viewport={"width": 1000, "height": 900}).new_page()
    page.goto(page_file.as_uri())
    for figure in page.locator("figure").all():
        marks = figure.evaluate(MARKS)
        assert marks, figure.get_attribute("id")
        reached = sum(m["shown"] is not None for m in marks)
        assert reached > 0.9 * len(marks), "the pointer reaches marks, or others on top of them"
