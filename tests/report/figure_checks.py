"""What every figure has to keep: no text on another, none outside, and few labels."""

from __future__ import annotations

from itertools import combinations
from xml.etree import ElementTree

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from rooftune.report.figures.chart import Chart
from rooftune.report.figures.labels import MOST_LABELS

SVG = "{http://www.w3.org/2000/svg}"
TOUCH = 1.0
"""Pixels by which two boxes may overlap: letters do not fill theirs."""


def boxes(chart: Chart) -> dict[Text, Bbox]:
    """Every text that is drawn, with its box in pixels."""
    canvas = chart.figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    chart.figure.draw_without_rendering()
    renderer = canvas.get_renderer()
    found: list[Text] = []
    for axis in chart.figure.axes:
        found += [axis.title, axis._left_title, axis.xaxis.label, axis.yaxis.label, *axis.texts]
        found += [tick.label1 for one in (axis.xaxis, axis.yaxis) for tick in one._update_ticks()]
    figure = chart.figure
    found += [t for t in (figure._suptitle, figure._supxlabel) if t is not None]
    found += [t for legend in figure.legends for t in legend.get_texts()]
    return {t: t.get_window_extent(renderer) for t in found if t.get_visible() and t.get_text().strip()}


def overlaps(chart: Chart) -> list[str]:
    """Pairs of texts of which one is on the other."""
    found = []
    for (a, box_a), (b, box_b) in combinations(boxes(chart).items(), 2):
        if box_a.padded(-TOUCH).overlaps(box_b.padded(-TOUCH)):
            found.append(f"{a.get_text()!r} and {b.get_text()!r}")
    return found


def outside(chart: Chart) -> list[str]:
    """Texts that leave the figure."""
    edge = chart.figure.bbox.padded(TOUCH)
    return [
        t.get_text()
        for t, box in boxes(chart).items()
        if box.x0 < edge.x0 or box.x1 > edge.x1 or box.y0 < edge.y0 or box.y1 > edge.y1
    ]


def labels(axis: Axes) -> list[str]:
    """Texts inside the axes."""
    return [t.get_text() for t in axis.texts if t.get_text()]


def check(chart: Chart) -> None:
    """A reader can read the figure."""
    assert not overlaps(chart)
    assert not outside(chart)
    assert all(len(labels(axis)) <= MOST_LABELS + 4 for axis in chart.figure.axes), "labels, reading line and limits"
    assert chart.description.strip()


def titles(svg: str) -> list[str]:
    """What the marks of an SVG show on hover."""
    root = ElementTree.fromstring(svg)
    return [e.text or "" for e in root.iter(f"{SVG}title")][1:]


def texts(svg: str) -> list[str]:
    """The texts of an SVG."""
    return [e.text or "" for e in ElementTree.fromstring(svg).iter(f"{SVG}text")]
