"""A figure with its words: title, description, and the value that each mark shows on hover."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, ParamSpec, TypeVar

from rooftune.report.figures.labels import MOST_LABELS, PLACES, Label, Place, Request, write_labels
from rooftune.report.figures.style import GREY, OTHER, SURFACE, WIDTH, styled

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Sharing = bool | Literal["row", "col"]
"""Which panels have the same axis: none, all, or those of one row or column."""
HOVER_AREA = 90.0
"""Square points of the invisible dots that give a line its values on hover."""
MOST_ON_A_LINE = 40
"""Values of one line that are shown on hover."""


Given = ParamSpec("Given")
Drawn = TypeVar("Drawn", bound="Chart | None")


@dataclass
class Chart:
    """One figure. Drawing functions return it; ``saving.save`` writes it as PNG and SVG."""

    figure: Figure
    title: str
    description: str = ""
    """What a reader who cannot see the figure needs: its axes, and its main values."""
    marks: dict[str, list[str]] = field(default_factory=dict)
    """Words for the marks of an artist, by the artist's id in the SVG."""

    waiting: list[Request] = field(default_factory=list)
    """Labels that are written once everything else has been drawn."""

    def label(
        self, axis: Axes, labels: Sequence[Label], places: Sequence[Place] = PLACES, most: int = MOST_LABELS
    ) -> None:
        """Ask for labels. They are written when the function that draws the chart returns."""
        self.waiting.append(Request(axis, labels, places, most))

    def head(self, axis: Axes, reading: str = "") -> None:
        """Write the title above the axes, and below it in small letters how to read them."""
        axis.set_title(self.title, pad=19 if reading else 6)
        if reading:
            line = axis.annotate(
                reading, (0, 1), xycoords="axes fraction", xytext=(0, 5), textcoords="offset points", va="bottom",
                fontsize=8, color=GREY,
            )  # fmt: skip
            line.set_in_layout(False)  # it has its room below the title, and must not make the axes narrower

    def mark(self, artist: Artist, words: Sequence[str]) -> None:
        """Show these words on hover: one text for each mark of the artist."""
        name = f"marks-{len(self.marks)}"
        artist.set_gid(name)
        self.marks[name] = list(words)

    def dots(
        self, axis: Axes, x: Sequence[float], y: Sequence[float], words: Sequence[str], *,
        colour: str = OTHER, size: float = 36.0, marker: str = "o", filled: bool = True, above: float = 3.0,
    ) -> None:  # fmt: skip
        """Dots that show their words on hover. A white edge keeps neighbours apart; open dots have a coloured one."""
        if not len(x):
            return
        found = axis.scatter(
            x, y, s=size, marker=marker, facecolors=colour if filled else SURFACE,
            edgecolors=SURFACE if filled else colour, linewidths=0.8 if filled else 1.2, zorder=above,
        )  # fmt: skip
        self.mark(found, words)

    def hover(self, axis: Axes, x: Sequence[float], y: Sequence[float], words: Sequence[str]) -> None:
        """Invisible dots on a line that show its values on hover."""
        step = max(1, -(-len(x) // MOST_ON_A_LINE))
        if len(x):
            found = axis.scatter(x[::step], y[::step], s=HOVER_AREA, color=OTHER, alpha=0.0, linewidths=0, zorder=9)
            self.mark(found, words[::step])


def drawn(draw: Callable[Given, Drawn]) -> Callable[Given, Drawn]:
    """A function that draws a chart, in the common style, with the labels that it asks for."""

    @functools.wraps(draw)
    def finished(*given: Given.args, **named: Given.kwargs) -> Drawn:
        chart = draw(*given, **named)
        if chart is not None:
            write_labels(chart.figure, chart.waiting)
        return chart

    return styled(finished)


@dataclass(frozen=True)
class Panels:
    """How the axes of a figure are arranged."""

    rows: int = 1
    columns: int = 1
    share_x: Sharing = False
    share_y: Sharing = False
    heights: tuple[float, ...] | None = None


def new_chart(title: str, height: float, panels: Panels = Panels(), width: float = WIDTH) -> tuple[Chart, list[Axes]]:
    """An empty chart of this height in inches, and its axes row by row."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    ratios = {"height_ratios": panels.heights} if panels.heights else None
    axes = figure.subplots(
        panels.rows, panels.columns, squeeze=False, gridspec_kw=ratios,
        sharex=panels.share_x, sharey=panels.share_y,
    )  # fmt: skip
    return Chart(figure, title), list(axes.flat)
