"""Labels beside their marks: never on each other, not on the marks, and inside the axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from rooftune.report.figures.style import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backend_bases import RendererBase
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox

MOST_LABELS = 12
"""Marks of one figure that have a label; the others show their values on hover."""
PIXELS = npt.NDArray[np.float64]
Values = Sequence[float] | npt.NDArray[np.float64]
TOO_MUCH = 20.0
"""Cost from which a label is left out, unless it is required."""
POINTS_PER_INCH = 72
LINE_STEP = 6.0
"""Pixels between the points that stand for a line."""


@dataclass(frozen=True)
class Anchor:
    """A point of the data beside which a label may be."""

    x: float
    y: float


@dataclass(frozen=True)
class Label:
    """Words for one mark."""

    text: str
    x: float
    y: float
    colour: str = INK
    bold: bool = False
    required: bool = False
    along: tuple[Anchor, ...] = ()
    """Other points of the same line that the label may be beside."""

    @property
    def anchors(self) -> tuple[Anchor, ...]:
        """All points that the label may be beside."""
        return (Anchor(self.x, self.y), *self.along)


def along(x: Values, y: Values, most: int = 9) -> tuple[Anchor, ...]:
    """Some points of a line, for a label that may be anywhere beside it."""
    if not len(x):
        return ()
    picks = np.unique(np.linspace(0, len(x) - 1, most).astype(int))
    return tuple(Anchor(float(x[i]), float(y[i])) for i in picks)


@dataclass(frozen=True)
class Place:
    """Where a label may be, relative to its mark, in points."""

    across: float
    up: float
    align: str
    vertical: str


PLACES = (
    Place(8, 0, "left", "center"),
    Place(-8, 0, "right", "center"),
    Place(0, 8, "center", "bottom"),
    Place(0, -8, "center", "top"),
    Place(6, 6, "left", "bottom"),
    Place(-6, 6, "right", "bottom"),
    Place(6, -6, "left", "top"),
    Place(-6, -6, "right", "top"),
    Place(10, 16, "left", "bottom"),
    Place(-10, 16, "right", "bottom"),
    Place(10, -16, "left", "top"),
    Place(-10, -16, "right", "top"),
    Place(0, 26, "center", "bottom"),
    Place(0, -26, "center", "top"),
)


@dataclass(frozen=True)
class Request:
    """Labels that are to be written once the figure has its layout."""

    axis: Axes
    labels: Sequence[Label]
    places: Sequence[Place] = PLACES
    most: int = MOST_LABELS


def write_labels(figure: Figure, requests: Sequence[Request]) -> None:
    """Lay the figure out and write its labels, required ones first, each at the place where it covers least.

    The layout stays as it is from then on, because labels are no part of it.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas, engine = figure.canvas, figure.get_layout_engine()
    assert isinstance(canvas, FigureCanvasAgg)
    assert engine is not None
    engine.execute(figure)
    figure.set_layout_engine("none")
    renderer: RendererBase = canvas.get_renderer()  # type: ignore[no-untyped-call]
    grounds: dict[Axes, _Ground] = {}
    for request in requests:
        axis = request.axis
        ground = grounds.get(axis) or _Ground.of(axis, renderer, figure.dpi / POINTS_PER_INCH)
        grounds[axis] = ground
        for label in sorted(request.labels, key=lambda label: not label.required)[: request.most]:
            found = _best(axis, label, ground, renderer, request.places)
            if found is not None:
                ground.taken.append(found.get_window_extent(renderer))


def _best(
    axis: Axes, label: Label, ground: _Ground, renderer: RendererBase, places: Sequence[Place]
) -> Annotation | None:
    """The label at its best place; None where every place covers too much."""
    sample = _written(axis, label, label.anchors[0], places[0])
    size = sample.get_window_extent(renderer)
    sample.remove()
    pixels = axis.transData.transform([(a.x, a.y) for a in label.anchors])
    costs = [
        (ground.cost(_box(point, place, size, ground.scale)) + 0.1 * rank + 0.02 * number, anchor, place)
        for number, (anchor, point) in enumerate(zip(label.anchors, pixels, strict=True))
        for rank, place in enumerate(places)
    ]
    cost, anchor, place = min(costs, key=lambda found: found[0])
    if cost >= TOO_MUCH and not label.required:
        return None
    return _written(axis, label, anchor, place)


def _box(point: PIXELS, place: Place, size: Bbox, scale: float) -> Bbox:
    """Where a text of this size would be beside a point; ``scale`` is pixels per point of type."""
    from matplotlib.transforms import Bbox

    x, y = float(point[0]) + scale * place.across, float(point[1]) + scale * place.up
    x -= {"left": 0.0, "center": 0.5, "right": 1.0}[place.align] * size.width
    y -= {"bottom": 0.0, "center": 0.5, "top": 1.0}[place.vertical] * size.height
    return Bbox.from_bounds(x, y, size.width, size.height)


def _written(axis: Axes, label: Label, anchor: Anchor, place: Place) -> Annotation:
    text = axis.annotate(
        label.text, (anchor.x, anchor.y), xytext=(place.across, place.up), textcoords="offset points",
        ha=place.align, va=place.vertical, color=label.colour, fontweight="bold" if label.bold else "normal",
        linespacing=1.15, zorder=6, annotation_clip=False,
    )  # fmt: skip
    text.set_in_layout(False)
    return text


@dataclass(frozen=True)
class _Ground:
    """What labels should not cover, in pixels."""

    inside: Bbox
    taken: list[Bbox]
    dots: PIXELS
    lines: PIXELS
    scale: float
    """Pixels per point of type."""

    @classmethod
    def of(cls, axis: Axes, renderer: RendererBase, scale: float) -> _Ground:
        texts = [t for t in axis.texts if t.get_text() and t.get_visible()]
        dots = [c.get_offset_transform().transform(np.asarray(c.get_offsets())) for c in axis.collections]
        lines = [_sampled(line.get_transform().transform(line.get_xydata())) for line in axis.lines]
        return cls(
            inside=axis.get_window_extent(renderer),
            taken=[t.get_window_extent(renderer) for t in texts],
            dots=_joined([d for d in dots if d.ndim == 2]),
            lines=_joined(lines),
            scale=scale,
        )

    def cost(self, box: Bbox) -> float:
        """What a label in this box would cover."""
        padded = box.padded(2)
        out = sum((box.x0 < self.inside.x0, box.x1 > self.inside.x1, box.y0 < self.inside.y0, box.y1 > self.inside.y1))
        on_texts = sum(padded.overlaps(other) for other in self.taken)
        on_marks = 5.0 * _count(padded, self.dots) + 0.8 * _count(padded, self.lines)
        return float(1000.0 * on_texts + 400.0 * out + on_marks)


def _count(box: Bbox, points: PIXELS) -> int:
    x, y = points[:, 0], points[:, 1]
    return int(((x >= box.x0) & (x <= box.x1) & (y >= box.y0) & (y <= box.y1)).sum())


def _joined(parts: Sequence[PIXELS]) -> PIXELS:
    found = [p for p in parts if len(p)]
    return np.concatenate(found) if found else np.empty((0, 2))


def _sampled(points: PIXELS) -> PIXELS:
    """A line as points that are a few pixels apart."""
    points = points[np.isfinite(points).all(axis=1)]
    if len(points) < 2:
        return points
    lengths = np.hypot(*np.diff(points, axis=0).T)
    step = LINE_STEP if len(points) > 2 else 3 * LINE_STEP  # a straight line is a limit: a label may cross it
    counts = np.clip((lengths / step).astype(int), 1, 400)
    parts = [np.linspace(a, b, n, endpoint=False) for a, b, n in zip(points, points[1:], counts, strict=False)]
    return np.concatenate([*parts, points[-1:]])


def wrapped(name: str, width: int = 28, most: int = 3) -> str:
    """The name of a configuration over several lines, broken at its plus signs, with an ellipsis where it is cut."""
    lines: list[str] = []
    for part in name.split("+"):
        piece = part if not lines else f"+{part}"
        if lines and len(lines[-1]) + len(piece) <= width:
            lines[-1] += piece
        else:
            lines.append(piece)
    if len(lines) > most:
        lines = [*lines[:most]]
        lines[-1] += "+…"
    return "\n".join(lines)
