"""The roofline: measured and catalogue ceilings, and where decode and prefill of each configuration are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import geometric_mean
from typing import TYPE_CHECKING

from rooftune.formatting import flops_per_s, gigabytes_per_s, number, percent
from rooftune.report.figures.chart import Chart, drawn, new_chart
from rooftune.report.figures.labels import Label
from rooftune.report.figures.style import BLUE, GREY, INK, OTHER, VERMILION
from rooftune.report.figures.words import BASELINE, called
from rooftune.report.run.naming import Names, names_of
from rooftune.report.run_data import RunData
from rooftune.roofline.model import Point, Roof, Roofline, Stage
from rooftune.roofline.roofs import bandwidth

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKERS: dict[Stage, str] = {"decode": "o", "prefill": "s"}
COLOURS: dict[Stage, str] = {"decode": BLUE, "prefill": VERMILION}
READING = (
    "large: baseline and recommendation; small: other configurations; per cent: share of the ceiling at that intensity"
)


@dataclass(frozen=True)
class Spot:
    """All trials of one candidate and stage as one mark: geometric means."""

    name: str
    stage: Stage
    x: float
    y: float
    share: float
    bound: str
    short: str = ""
    """Its name in the report."""

    @property
    def words(self) -> str:
        """For the hover."""
        return f"{called(self.name, self.short)}, {self.values}"

    @property
    def values(self) -> str:
        """Where it is and what bounds it."""
        at = f"{flops_per_s(self.y)} at {number(self.x)} FLOP per byte"
        return f"{self.stage}: {at}, {percent(self.share)} of the ceiling, bound by {self.bound}"


def run_roofline(run: RunData) -> Chart | None:
    """The roofline of a run; None where nothing could be placed."""
    if run.roofline is None or not run.roofline.points:
        return None
    return roofline(run.roofline, run.decision.incumbent, names_of(run))


@drawn
def roofline(chart_of: Roofline, recommended: str = "", names: Names | None = None) -> Chart:
    """The roofline; a chart without points shows its ceilings."""
    many = f" ({chart_of.count} of them)" if chart_of.count > 1 else ""
    simulated = " (simulated)" if chart_of.simulated else ""
    chart, (axis,) = new_chart(f"Roofline: {chart_of.model} on {chart_of.accelerator}{many}{simulated}", 5.2)
    spots = summarised(chart_of.points, names)
    chart.head(axis, READING if spots else "")
    left, right = _x_range(chart_of, spots)
    axis.set(xscale="log", yscale="log", xlim=(left, right), ylim=_y_range(chart_of, spots, left))
    axis.grid(True, axis="both")
    axis.set_xlabel("arithmetic intensity, FLOP per byte of weights and KV cache")
    axis.set_ylabel("achieved arithmetic, FLOP/s")
    axis.yaxis.set_major_formatter(lambda v, _: flops_per_s(v))
    axis.xaxis.set_major_formatter(lambda v, _: number(v))
    labels = _draw_roofs(chart, axis, chart_of, left, right)
    own = (BASELINE, recommended)
    for s in sorted(spots, key=lambda s: s.name in own):
        chart.dots(
            axis, [s.x], [s.y], [s.words], colour=COLOURS[s.stage] if s.name in own else OTHER, marker=MARKERS[s.stage],
            size=80 if s.name in own else 26, above=5 if s.name in own else 3,
        )  # fmt: skip
    chart.label(axis, [*_spot_labels(spots, recommended), *labels])
    chart.description = _description(chart_of, spots, recommended)
    return chart


def summarised(points: list[Point], names: Names | None = None) -> list[Spot]:
    """One spot for each candidate and stage, in the order of the points."""
    groups: dict[tuple[str, Stage], list[Point]] = {}
    for p in points:
        groups.setdefault((p.candidate, p.stage), []).append(p)
    return [
        Spot(
            name=candidate,
            stage=stage,
            x=geometric_mean([p.intensity_flop_per_byte for p in group]),
            y=geometric_mean([p.achieved_flops_per_s for p in group]),
            share=geometric_mean([p.share for p in group]),
            bound=group[-1].bound,
            short=names.plain(candidate) if names is not None else "",
        )
        for (candidate, stage), group in groups.items()
    ]


def _x_range(chart_of: Roofline, spots: list[Spot]) -> tuple[float, float]:
    xs = [s.x for s in spots] + [r.flop_per_byte for r in chart_of.ridges]
    return min(xs, default=10.0) / 8, 6 * max(xs, default=100.0)


def _y_range(chart_of: Roofline, spots: list[Spot], left: float) -> tuple[float, float]:
    rates = [r.value for r in chart_of.roofs if r.kind == "compute"]
    ys = [s.y for s in spots]
    flow = bandwidth(chart_of.roofs)
    floor = min(ys) / 5 if ys else flow.value * left / 2 if flow else 1e9
    return floor, max([*rates, *ys, 10 * floor]) * 2.5


def _draw_roofs(chart: Chart, axis: Axes, chart_of: Roofline, left: float, right: float) -> list[Label]:
    """The ceilings, from the catalogue as full lines and as measured here dashed; returns their labels."""
    labels = []
    for measured in (False, True):
        flows = [r for r in chart_of.roofs if r.kind == "bandwidth" and r.measured is measured]
        rates = sorted(
            (r for r in chart_of.roofs if r.kind == "compute" and r.measured is measured), key=lambda r: r.value
        )
        colour, style, word = (GREY, "--", " measured") if measured else (INK, "-", "")
        if flows:
            end = rates[-1].value / flows[0].value if rates else right
            axis.plot(
                [left, end], [left * flows[0].value, end * flows[0].value], color=colour, linestyle=style, linewidth=1.5
            )
            at = left * (end / left) ** (0.7 if measured else 0.45)
            labels.append(Label(f"{gigabytes_per_s(flows[0].value)}{word}", at, at * flows[0].value, colour))
        for r in rates:
            labels.append(_draw_rate(axis, r, flows, left, right))
            axis.lines[-1].set(color=colour, linestyle=style)
    return labels


def _draw_rate(axis: Axes, r: Roof, flows: list[Roof], left: float, right: float) -> Label:
    start = r.value / flows[0].value if flows else left
    axis.plot([start, right], [r.value, r.value], linewidth=1.5)
    word = " measured" if r.measured else ""
    at = (start * right) ** 0.5
    return Label(f"{r.name.upper()} {flops_per_s(r.value)}{word}", at, r.value, GREY if r.measured else INK)


def _spot_labels(spots: list[Spot], recommended: str) -> list[Label]:
    """The baseline and the recommendation, with what bounds them."""
    labels = []
    for s in spots:
        if s.name in (BASELINE, recommended):
            words = BASELINE if s.name == BASELINE else "recommended"
            text = f"{words}, {s.stage}: {percent(s.share)}\nbound by {s.bound}"
            labels.append(Label(text, s.x, s.y, COLOURS[s.stage], bold=s.name == recommended, required=True))
    return labels


def _description(chart_of: Roofline, spots: list[Spot], recommended: str) -> str:
    roofs = ", ".join(
        f"{r.name} {gigabytes_per_s(r.value) if r.kind == 'bandwidth' else flops_per_s(r.value)}"
        f"{' (measured)' if r.measured else ''}"
        for r in chart_of.roofs
    )
    own = " ".join(f"{s.short or s.name}, {s.values}." for s in spots if s.name in (BASELINE, recommended))
    return f"Achieved arithmetic against arithmetic intensity, under these ceilings: {roofs}. {own}".strip()


def draw(chart_of: Roofline, path: Path) -> None:
    """Draw the roofline as PNG and SVG."""
    from rooftune.report.figures.saving import save

    save(roofline(chart_of), path)
