"""What all figures of a report share: size, colours, axes without frames, and how they are saved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rooftune.files import replacing
from rooftune.report.run_data import RunData

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, PINK, GREY, LIGHT = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#595959", "#BDBDBD"
GRID = "#E6E6E6"
WIDTH = 9.0
"""Inches, at 110 dots per inch: about 1,000 pixels, readable in a README."""
DPI = 110


@dataclass(frozen=True)
class Drawing:
    """One figure of the report: its file and its caption."""

    path: Path
    caption: str


@dataclass(frozen=True)
class Kind:
    """One kind of figure; ``draw`` gives None where the run has no data for it."""

    file: str
    caption: str
    draw: Callable[[RunData], Figure | None]


def draw_kinds(run: RunData, kinds: tuple[Kind, ...]) -> list[Drawing]:
    """Draw every one of these figures that the records allow."""
    drawings = []
    for kind in kinds:
        figure = kind.draw(run)
        if figure is not None:
            path = run.folder.figures / kind.file
            save(figure, path)
            drawings.append(Drawing(path, kind.caption))
    return drawings


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG."""
    import matplotlib.pyplot as plt

    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=DPI, format="png", facecolor="white")
    plt.close(figure)


def new_figure(height: float, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure with axes side by side."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, columns, figsize=(WIDTH, height), layout="constrained", squeeze=False)
    for axis in axes[0]:
        for side in ("top", "right", "left"):
            axis.spines[side].set_visible(False)
        axis.tick_params(labelsize=9, length=0)
    return figure, list(axes[0])


def colour_of(run: RunData, name: str) -> str:
    """Blue for the recommended configuration, dark grey for the baseline, light grey for all others."""
    if name == run.decision.incumbent:
        return BLUE
    return GREY if name == "baseline" else LIGHT


def titled(run: RunData, text: str) -> str:
    """The title of a figure, which may be passed on without its report."""
    return text + (" (simulated)" if run.simulated else "")


def phase_lines(run: RunData, axis: Axes, names: list[str]) -> None:
    """A thin line above each phase, with its name at the right end."""
    phases = [run.plan.candidate(n).phase for n in names]
    right = axis.get_yaxis_transform()
    for place, phase in enumerate(phases):
        if place == 0 or phase != phases[place - 1]:
            axis.axhline(place - 0.5, color=LIGHT, linewidth=0.8)
            axis.text(1, place - 0.42, phase, transform=right, ha="right", va="top", fontsize=8, color=GREY)
