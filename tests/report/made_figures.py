"""Runs for the figures: with samples of the server, predictions, parts of a step, and any number of configurations."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import synthetic_run as made

from rooftune.files import write_json
from rooftune.loadgen.schema import TICKS
from rooftune.report.run_data import RunData, read_run
from rooftune.report.step_parts import STEPS, StepBreakdown, StepParts
from rooftune.runfolder import RunFolder
from rooftune.tuning.plan import FrontRow, Interval, PhaseBest, SearchSummary

PARTS = {
    "baseline": StepParts(
        weights=32, kv_cache=1.2, all_reduce=0, host=4, prefill=3, batch=11, context=134, measured_ms=45
    ),
    "fp8-kv": StepParts(
        weights=11, kv_cache=4, all_reduce=0.4, host=5.5, prefill=9, batch=51, context=140, measured_ms=34
    ),
}


def write_ticks(path: Path, seconds: float = 100.0) -> None:
    """A queue that grows, and a KV cache that fills."""
    at = np.arange(0, seconds, 2.0)
    rows = []
    for t in at:
        row = dict.fromkeys(TICKS.names, 0)
        row |= {"t_s": t, "up": True, "running": min(40.0, t), "waiting": max(0.0, t - 40), "kv_usage": min(1, t / 80)}
        rows.append(row)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=TICKS), path)


def complete(folder: RunFolder) -> RunData:
    """The run with everything that a figure may show."""
    for trial in folder.trials():
        if trial.requests.is_file():
            write_ticks(trial.ticks)
    write_json(folder.path / STEPS, StepBreakdown(steps=PARTS).model_dump(mode="json"))
    return read_run(folder)


def with_predictions(data: RunData, metric: str, factor: float = 1.1) -> RunData:
    """The run with a prediction for each measured configuration, off by a factor."""
    found = {}
    for p in data.measured:
        verdict = data.verdict(p.id).capacity
        value = verdict.estimate if verdict is not None else data.value(p.id, metric)
        if value:
            found[p.id] = {metric: factor * value, "median_tpot_ms": 50.0}
    return changed(data, plan=data.plan.model_copy(update={"predicted": found, "predicted_error": 0.2}))


def searched(data: RunData, own: str) -> RunData:
    """The run as a search over the whole space leaves it: the ladder of its phases and a front."""
    ratio = Interval(estimate=5.6, low=5.0, high=6.2)
    rows = [
        FrontRow(option=f"x+seqs{n}", capacity=2.0 + n / 10, tpot_ms=20.0 + n, measured=False, changes_outputs=False)
        for n in (4, 16, 40)
    ]
    phases = [
        PhaseBest(phase="baseline", option="baseline", ratio=Interval(estimate=1, low=1, high=1), measured=True),
        PhaseBest(phase="easy-wins", option="awq-marlin", ratio=ratio, measured=False),
        PhaseBest(phase="medium-term", option=own, ratio=ratio, measured=True),
    ]
    search = SearchSummary(
        method="guided", space=100, predicted=100, measured=5, reason="it is enough", phases=phases, front=rows
    )
    return changed(data, decision=data.decision.model_copy(update={"search": search}))


def changed(data: RunData, **more: object) -> RunData:
    """The run with other parts."""
    return replace(data, **more)  # type: ignore[arg-type]


def many(data: RunData, count: int) -> RunData:
    """The run with this many configurations: copies of the recommended one, each a little slower."""
    own = data.decision.incumbent
    candidate, verdict = data.plan.candidate(own), data.verdict(own)
    point = data.roofline.of("decode")[-1] if data.roofline else None
    candidates, verdicts, trials, points = [], [], [], []
    for i in range(count):
        name, factor = f"awq_marlin+fp8-kv+seqs{i}+tokens{512 + i}", 1 - 0.02 * i
        candidates.append(candidate.model_copy(update={"id": name}))
        capacity = verdict.capacity
        if capacity is not None:
            ends = {k: factor * getattr(capacity, k) for k in ("estimate", "low", "high")}
            capacity = capacity.model_copy(update=ends)
        verdicts.append(verdict.model_copy(update={"candidate": name, "capacity": capacity}))
        for trial in data.of(own):
            metrics = {k: v * factor for k, v in trial.metrics.items()}
            trials.append(trial.model_copy(update={"candidate": name, "metrics": metrics}))
        if point is not None:
            points.append(
                point.model_copy(
                    update={"candidate": name, "achieved_flops_per_s": point.achieved_flops_per_s * factor}
                )
            )
    chart = data.roofline.model_copy(update={"points": [*data.roofline.points, *points]}) if data.roofline else None
    return changed(
        data,
        plan=data.plan.model_copy(update={"candidates": [*data.plan.candidates, *candidates]}),
        decision=data.decision.model_copy(update={"verdicts": [*data.decision.verdicts, *verdicts]}),
        trials=[*data.trials, *trials],
        roofline=chart,
    )


def throughput_run(root: Path) -> RunFolder:
    """A run whose objective is a throughput, with a baseline that is overloaded."""
    load = made.workload()
    world = made.World(made.plan_of(load))
    return made.write_run(root, world, world.search(), load)
