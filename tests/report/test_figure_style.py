"""The look of the figures: contrast in light and dark, colours apart for colour-blind readers, SVG that fits a page."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from figure_checks import SVG, check, labels, overlaps, texts, titles

from rooftune.report.figures import style
from rooftune.report.figures.chart import Chart, drawn, new_chart
from rooftune.report.figures.labels import MOST_LABELS, Label, wrapped
from rooftune.report.figures.saving import save, svg_of
from rooftune.report.figures.style import DARK_SURFACE, SERIES, SURFACE, TONES

LETTERS = {"ink", "baseline", "blue", "vermilion", "green", "purple", "amber"}
"""Colours in which words are written."""
DEUTERANOPIA = np.array(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
)
PROTANOPIA = np.array(
    [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
)
"""Machado, Oliveira and Fernandes, 2009, at full severity, for linear RGB."""


def linear(colour: str) -> np.ndarray:
    """Linear RGB of a hexadecimal colour."""
    c = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def contrast(a: str, b: str) -> float:
    """Contrast ratio of WCAG."""
    weights = np.array([0.2126, 0.7152, 0.0722])
    low, high = sorted(float(weights @ linear(c)) for c in (a, b))
    return (high + 0.05) / (low + 0.05)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB of linear RGB, white D65."""
    matrix = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = matrix @ np.clip(rgb, 0, 1) / np.array([0.9505, 1.0, 1.089])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@drawn
def points(n: int, *, required: int = 0) -> Chart:
    """A chart of n marks in a small cloud, each with a long name."""
    chart, (axis,) = new_chart("Many marks", 4.0)
    chart.head(axis, "how to read it")
    random = np.random.default_rng(1)
    x, y = random.normal(5, 0.7, n), random.normal(5, 0.7, n)
    names = [f"awq_marlin+fp8-kv+seqs{i}" for i in range(n)]
    chart.dots(axis, list(x), list(y), names)
    axis.set(xlim=(0, 10), ylim=(0, 10))
    found = [Label(name, a, b, required=i < required) for i, (name, a, b) in enumerate(zip(names, x, y, strict=True))]
    chart.label(axis, found)
    chart.description = "made up"
    return chart


@pytest.mark.parametrize("tone", [t for t in TONES if t.name in LETTERS], ids=lambda t: t.name)
def test_words_have_contrast_on_light_and_dark_pages(tone: style.Tone) -> None:
    assert contrast(tone.light, SURFACE) >= 4.5
    assert contrast(tone.dark, DARK_SURFACE) >= 4.5


def test_marks_that_are_not_highlighted_can_still_be_seen() -> None:
    other = next(t for t in TONES if t.name == "other")
    assert contrast(other.light, SURFACE) >= 3
    assert contrast(other.dark, DARK_SURFACE) >= 3


@pytest.mark.parametrize("sight", [np.eye(3), DEUTERANOPIA, PROTANOPIA], ids=["full", "deuteranopia", "protanopia"])
def test_the_first_three_series_are_apart_for_colour_blind_readers(sight: np.ndarray) -> None:
    for a, b in combinations(SERIES[:3], 2):
        assert np.linalg.norm(lab(sight @ linear(a)) - lab(sight @ linear(b))) > 20, (a, b)


def test_at_most_six_series_are_highlighted() -> None:
    assert len(SERIES) == len(set(SERIES)) == 6


def test_the_style_sheet_is_part_of_the_wheel() -> None:
    assert style.STYLE_SHEET.is_file()
    shipped = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    assert f'"*{style.STYLE_SHEET.suffix}"' in shipped


def test_thirty_marks_have_a_dozen_labels_and_none_is_on_another() -> None:
    chart = points(30)
    assert 2 <= len(labels(chart.figure.axes[0])) - 1 <= MOST_LABELS
    check(chart)


def test_required_labels_are_written_first() -> None:
    chart = points(30, required=2)
    assert {"awq_marlin+fp8-kv+seqs0", "awq_marlin+fp8-kv+seqs1"} <= set(labels(chart.figure.axes[0]))
    assert not overlaps(chart)


def test_the_check_of_overlaps_finds_one() -> None:
    chart, (axis,) = new_chart("x", 3.0)
    axis.text(0.5, 0.5, "one")
    axis.text(0.5, 0.5, "two")
    assert overlaps(chart) == ["'one' and 'two'"]


def test_long_names_are_broken_at_their_plus_signs() -> None:
    name = "awq_marlin+fp8-kv+seqs96+tokens512+prefix-cache-off"
    assert wrapped(name).replace("\n", "") == name
    assert all(len(line) <= 28 for line in wrapped(name).split("\n"))
    assert wrapped(name, most=1).endswith("+…")


def test_every_mark_has_its_words_and_the_figure_its_own() -> None:
    svg = svg_of(points(30), "cloud")
    assert titles(svg) == [f"awq_marlin+fp8-kv+seqs{i}" for i in range(30)]
    root = ElementTree.fromstring(svg)
    assert root.get("role") == "img"
    assert [e.text for e in root[:2]] == ["Many marks", "made up"]
    assert "Many marks" in texts(svg), "texts stay texts, which can be searched and read aloud"
    assert "<script" not in svg


def test_a_line_shows_values_on_hover_without_many_dots() -> None:
    chart, (axis,) = new_chart("x", 3.0)
    x = list(np.linspace(0, 1, 500))
    axis.plot(x, x)
    chart.hover(axis, x, x, [f"value {v:.2f}" for v in x])
    found = titles(svg_of(chart, "line"))
    assert 20 < len(found) <= 40
    assert found[0] == "value 0.00"


def test_ids_of_two_figures_on_one_page_do_not_clash() -> None:
    a, b = (set(re.findall(r' id="([^"]+)"', svg_of(points(3), name))) for name in ("first", "second"))
    assert a
    assert not a & b
    svg = svg_of(points(3), "first")
    used = set(re.findall(r'href="#([^"]+)"', svg)) | set(re.findall(r"url\(#([^)]+)\)", svg))
    assert used <= a


def test_dark_pages_have_a_rule_for_every_colour_that_is_drawn() -> None:
    svg = svg_of(points(3), "x")
    drawn = set(re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", re.sub(r"<style>.*?</style>", "", svg, flags=re.S)))
    assert drawn <= {t.light for t in TONES} | {style.EDGE}
    assert all(f"--figure-{t.name}:{t.dark};" in svg for t in TONES)
    assert not re.search(r"<defs>(?:(?!</defs>).)*style=", svg, re.S), "rules for dark pages do not reach into a use"
    assert "prefers-color-scheme:dark" in svg
    assert "background:var(--figure-surface)" in svg


def test_the_same_chart_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(points(5), tmp_path / name / "cloud.png")
    for ending in ("png", "svg"):
        assert (tmp_path / "a" / f"cloud.{ending}").read_bytes() == (tmp_path / "b" / f"cloud.{ending}").read_bytes()
    assert b"Matplotlib" not in (tmp_path / "a" / "cloud.svg").read_bytes()


def test_root_is_an_svg_with_a_size_and_a_view_box() -> None:
    root = ElementTree.fromstring(svg_of(points(3), "x"))
    assert root.tag == f"{SVG}svg"
    assert root.get("width") == "864"
    assert root.get("viewBox")


def test_every_figure_is_drawn_in_one_package() -> None:
    root = Path(__file__).parents[2]
    files = [p for room in ("rooftune", "flows", "tasks", "benchmarks") for p in (root / room).rglob("*.py")]
    imports = re.compile(r"^\s*(import matplotlib|from matplotlib\.(figure|pyplot|backends|style))", re.M)
    drawing = {p for p in files if imports.search(p.read_text(encoding="utf-8"))}
    assert {p.parent for p in drawing} == {root / "rooftune" / "report" / "figures"}
