"""Writes a chart as PNG and SVG, and draws the figures of a run."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rooftune.files import replacing, write_text
from rooftune.report.figures.chart import Chart
from rooftune.report.figures.style import SURFACE, styled
from rooftune.report.figures.svg import finished
from rooftune.report.run_data import RunData


@dataclass(frozen=True)
class Drawing:
    """One figure of the report: its files and its words."""

    path: Path
    """The PNG; the SVG has the same name."""
    caption: str
    """How to read it."""
    title: str = ""
    alt: str = ""
    """For a reader who cannot see it: its axes and its main values."""

    @property
    def name(self) -> str:
        """Name by which a page places it: 'front', 'roofline' ..."""
        return self.path.stem

    @property
    def svg(self) -> Path:
        """The SVG, which may be put into a page as it is."""
        return self.path.with_suffix(".svg")


@dataclass(frozen=True)
class Kind:
    """One kind of figure; ``draw`` gives None where the run has no data for it."""

    name: str
    caption: str
    draw: Callable[[RunData], Chart | None]


def draw_kinds(run: RunData, kinds: Sequence[Kind]) -> list[Drawing]:
    """Draw every one of these figures that the records allow."""
    return [drawing for kind in kinds if (drawing := draw_kind(run, kind)) is not None]


def draw_kind(run: RunData, kind: Kind) -> Drawing | None:
    """Draw one figure; None without data, and then files of an earlier report are removed too."""
    path = run.folder.figures / f"{kind.name}.png"
    chart = kind.draw(run)
    if chart is None:
        path.unlink(missing_ok=True)
        path.with_suffix(".svg").unlink(missing_ok=True)
        return None
    save(chart, path)
    return Drawing(path, kind.caption, chart.title, chart.description)


@styled
def save(chart: Chart, path: Path) -> None:
    """Write a chart as PNG, and as SVG beside it. The same chart always gives the same bytes."""
    save_png(chart, path.with_suffix(".png"))
    write_text(path.with_suffix(".svg"), svg_of(chart, path.stem))


def save_one(chart: Chart, path: Path) -> None:
    """Write a chart as what its file name says, SVG or PNG."""
    if path.suffix == ".svg":
        write_text(path, svg_of(chart, path.stem))
    else:
        save_png(chart, path)


@styled
def save_png(chart: Chart, path: Path) -> None:
    """Write a chart as PNG alone, where its SVG would have thousands of marks."""
    with replacing(path) as temporary:
        chart.figure.savefig(temporary, format="png", facecolor=SURFACE, metadata={"Software": None})


@styled
def svg_of(chart: Chart, name: str) -> str:
    """The chart as SVG with a transparent background."""
    raw = io.StringIO()
    chart.figure.savefig(raw, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return finished(raw.getvalue(), name, chart.title, chart.description, chart.marks)
