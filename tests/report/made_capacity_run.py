"""The folder of a made-up run whose objective is the capacity, and its report."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import capacity_world
import pytest
import synthetic_run as made

from rooftune.capacity.result import CurvePoint, ReplicaRow
from rooftune.files import read_model, write_json
from rooftune.report.curves import CURVES, ReferenceCurves
from rooftune.report.writing import write_report
from rooftune.runfolder import RunFolder
from rooftune.tuning import capacity_figures, judge
from rooftune.tuning.plan import Decision, Plan

GOLDEN = Path(__file__).parent / "golden_capacity.md"
GOLDEN_SUMMARY = Path(__file__).parent / "golden_capacity.txt"
HALF = 0.04
"""Half width of every interval, whatever the real statistics give."""


def half(*_: Any, **__: Any) -> SimpleNamespace:
    """Stands in for the estimate of a speed, so that the report does not depend on its statistics."""
    return SimpleNamespace(half=HALF)


def capacity_run(root: Path, plan: Plan | None = None, budget: float | None = None, **capacities: float) -> RunFolder:
    """A run on servers with these capacities ('_' for '-' in names), with curves and rows of servers."""
    load = made.workload(objective={"metric": "capacity"})
    world = capacity_world.CapacityWorld(
        plan or capacity_world.plan(), {k.replace("_", "-"): v for k, v in capacities.items()}, noise=0.002
    )
    folder = made.write_run(root, world, world.search(budget), load)
    decision = read_model(folder.decision_json, Decision)
    curves = {v.candidate: curve(v.capacity.estimate) for v in decision.verdicts if v.capacity and v.capacity.estimate}
    write_json(folder.path / CURVES, ReferenceCurves(curves=curves).model_dump(mode="json"))
    if decision.replicas is not None:
        n = decision.replicas.at_estimate
        rows = [row(k, decision) for k in (n - 1, n, n + 1) if k]
        more = decision.model_copy(update={"replicas": decision.replicas.model_copy(update={"rows": rows})})
        write_json(folder.decision_json, more.model_dump(mode="json"))
    return folder


def row(servers: int, decision: Decision) -> ReplicaRow:
    """One fewer than needed is overloaded."""
    needed = decision.replicas.at_estimate if decision.replicas else 1
    each = 20 / servers
    cost = servers * (decision.usd_per_hour or 0.0)
    return ReplicaRow(
        replicas=servers, rate_per_s=each, attainment=0.4 if servers < needed else 0.997,
        overloaded=servers < needed - 1, usd_per_hour=cost, usd_per_million_output_tokens=cost / 10.8,
    )  # fmt: skip


def curve(capacity: float) -> list[CurvePoint]:
    """The response of a reference with this capacity."""
    points = {0.5: (1.0, 50.0), 1.0: (0.99, 100.0), 1.3: (0.4, 180.0)}
    return [
        CurvePoint(
            rate_per_s=place * capacity, attainment=share, requests=1000,
            latencies={
                "median_tpot_ms": tpot / 2, "p99_tpot_ms": tpot, "median_ttft_ms": tpot, "p99_ttft_ms": 8 * tpot
            },
        )
        for place, (share, tpot) in points.items()
    ]  # fmt: skip


@contextmanager
def plain_statistics() -> Iterator[None]:
    """Intervals that do not depend on the statistics of other packages."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judge, "compare", made.plain_compare)
        patch.setattr(capacity_world, "estimate_speed", half)
        patch.setattr(capacity_figures, "estimate_speed", half)
        yield


def run_without_report(root: Path, **more: Any) -> RunFolder:
    """A run with such intervals."""
    with plain_statistics():
        return capacity_run(root, **more)


def write_capacity_report(root: Path, **more: Any) -> RunFolder:
    """Such a run with its report."""
    with plain_statistics():
        folder = capacity_run(root, **more)
        write_report(folder)
    return folder
