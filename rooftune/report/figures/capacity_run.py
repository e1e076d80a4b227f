"""The response to the load of a run's baseline and recommendation, and of a capacity measurement."""

from __future__ import annotations

from pathlib import Path

from rooftune.capacity.result import CapacityResult, CurvePoint
from rooftune.capacity.sentences import INTERVAL
from rooftune.capacity.units import amount, bare
from rooftune.evidence.records.capacity import RateStep
from rooftune.report.figures.chart import Chart
from rooftune.report.figures.load_curve import Loads, Response, attainment, latencies
from rooftune.report.figures.saving import save
from rooftune.report.figures.style import BLUE
from rooftune.report.figures.words import Amount, amount_of, called, colour_of, highlighted, role, titled
from rooftune.report.run.naming import names_of
from rooftune.report.run_data import RunData
from rooftune.workloads.spec import CAPACITY

ATTAINMENT, LATENCIES = "attainment", "latencies"
WITHIN, AGAINST = "Requests within the SLO against the load", "Latency against the load"


def run_attainment(run: RunData) -> Chart | None:
    """Share of the requests within the SLO against the rate; None where the run measured no capacity."""
    return attainment(_loads(run, WITHIN)) if run.by_capacity else None


def run_latencies(run: RunData) -> Chart | None:
    """TTFT and TPOT against the rate; None where the run measured no capacity."""
    return latencies(_loads(run, AGAINST)) if run.by_capacity else None


def _loads(run: RunData, title: str) -> Loads:
    names = [n for n in highlighted(run) if run.rate_steps(n)]
    short = names_of(run)
    others = [
        (called(p.id, short.plain(p.id)), s) for p in run.measured if p.id not in names for s in run.rate_steps(p.id)
    ]
    return Loads(
        title=titled(run, title),
        responses=[_response(run, n) for n in names],
        share=run.plan.objective.slo_share,
        limits=run.plan.objective.slo,
        others=[_point(s) for _, s in others],
        other_names=[name for name, _ in others],
    )


def _response(run: RunData, name: str) -> Response:
    found = amount_of(run, name, CAPACITY)
    words = f"{role(run, name)}\n{found.words}" if found is not None else role(run, name)
    steps = [_point(s) for s in run.rate_steps(name)]
    return Response(role(run, name), colour_of(run, name), steps, run.curves.get(name, []), found, words)


def _point(step: RateStep) -> CurvePoint:
    return CurvePoint(
        rate_per_s=step.rate_per_s, attainment=step.attainment, requests=step.requests, latencies=step.latencies,
        queue_grew=step.queue_grew,
    )  # fmt: skip


def draw_capacity(result: CapacityResult, folder: Path) -> list[Path]:
    """Draw both figures of a capacity measurement into ``folder``; returns the PNGs."""
    drawn = []
    for name, draw, title in ((ATTAINMENT, attainment, WITHIN), (LATENCIES, latencies, AGAINST)):
        chart = draw(loads_of(result, title))
        if chart is not None:
            save(chart, folder / f"{name}.png")
            drawn.append(folder / f"{name}.png")
    return drawn


def loads_of(result: CapacityResult, title: str) -> Loads:
    """What the figures of a capacity measurement show."""
    users = result.per == "users"
    found, words = None, "this server"
    if result.capacity and result.low is not None and result.high is not None:
        found = Amount(result.capacity, result.low, result.high)
        kind = INTERVAL if result.level is not None else "bracket"
        ends = f"{bare(result.low, result.per)} to {bare(result.high, result.per)}"
        words = f"capacity {amount(result.capacity, result.per)}\n{kind} {ends}"
    return Loads(
        title=f"{title}: {result.workload.name}" + (" (simulated server)" if result.simulated else ""),
        responses=[Response("this server", BLUE, result.curve, result.predicted_curve, found, words)],
        share=result.workload.slo.share,
        limits=result.workload.slo.limits_ms(),
        axis="users in a closed loop" if users else "rate, requests/s",
        unit="users" if users else "requests/s",
    )
