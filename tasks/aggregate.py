"""Tasks of the aggregate phase: write trial.json, result.json, metrics.parquet and the history."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from prefect import task

from rooftune.engines.target import Target
from rooftune.evidence.records.sent_load import sent_load
from rooftune.evidence.records.trial import TrialResult
from rooftune.formatting import number
from rooftune.runfolder import RunFolder, TrialFolder
from rooftune.trial_order import TrialOrder
from rooftune.workloads.spec import CAPACITY, ENERGY, Workload
from tasks.retrying import retry_unexpected
from tasks.run_files import target_of_order, workload_of
from tasks.telemetry.spans import span
from tasks.trial_loads import drawn_workload

Maker = Callable[[TrialFolder, TrialOrder, Workload, Target, Callable[[TrialResult], TrialResult]], TrialResult]
"""Makes a trial of records: ``rooftune.evidence.aggregate``."""


@task(
    name="aggregate",
    task_run_name="aggregate {order.candidate} {order.n}",
    retries=1,
    retry_delay_seconds=2,
    retry_condition_fn=retry_unexpected,
    timeout_seconds=600,
)
async def aggregate_trial(run: RunFolder, order: TrialOrder) -> TrialResult:
    """Turn the records of a trial into figures, with their audit."""
    with span("aggregate", {"candidate": order.candidate, "trial": order.n}):
        found = await asyncio.to_thread(aggregated, run, order)
        await asyncio.to_thread(_collect, run, found)
    return found


def aggregated(run: RunFolder, order: TrialOrder) -> TrialResult:
    """The figures of a trial with their audit, from its records; writes trial.json and result.json."""
    from rooftune.evidence.aggregate import aggregate

    return _from_records(aggregate, run, order)


def assessed(run: RunFolder, order: TrialOrder) -> TrialResult:
    """The figures of a trial that is not complete yet. trial.json is written once its answers are checked."""
    from rooftune.evidence.aggregate import assessed as assess

    return _from_records(assess, run, order)


def _from_records(make: Maker, run: RunFolder, order: TrialOrder) -> TrialResult:
    files, workload = run.trial(order.candidate, order.n), drawn_workload(run, order)
    target, sent = target_of_order(run, order), sent_load(files)
    if sent is None:
        return make(files, order, workload, target, lambda trial: trial)
    from rooftune.capacity.trial import with_capacity

    return make(files, order, sent.workload, target, lambda trial: with_capacity(files, trial, workload))


@task(name="record failure", task_run_name="record the failure of {order.candidate} {order.n}", persist_result=False)
async def record_failure(run: RunFolder, order: TrialOrder, error: str, kind: str, started_at: float) -> TrialResult:
    """Record that a trial failed, and why; its records so far are kept."""
    from rooftune.evidence.aggregate import failed_trial

    found = await asyncio.to_thread(
        failed_trial,
        run.trial(order.candidate, order.n),
        order,
        workload_of(run),
        target_of_order(run, order),
        error=error,
        kind=kind,
        started_at=started_at,
    )
    await asyncio.to_thread(_collect, run, found)
    return found


def _collect(run: RunFolder, trial: TrialResult) -> None:
    """Update metrics.parquet and summary.json of the run, and the history dataset."""
    from rooftune.evidence.history import append
    from rooftune.evidence.trial_table import write_metrics
    from rooftune.evidence.vllm_result import write_summary

    write_metrics(run)
    write_summary(run)
    append(run.path.parent.parent / "history", trial, run.path.name)


def describe(trial: TrialResult) -> str:
    """The result of a trial in one line."""
    if trial.status == "failed":
        return f"failed: {trial.failure}"
    failed = [c.id for c in trial.checks if c.status == "fail"]
    words = [f"capacity {number(trial.metrics[CAPACITY])} requests/s"] if CAPACITY in trial.metrics else []
    words += [
        f"{number(trial.metrics[name], 4)} {unit}"
        for name, unit in (
            ("output_throughput", "tokens/s"),
            ("median_tpot_ms", "ms TPOT"),
            ("median_ttft_ms", "ms TTFT"),
            (ENERGY, "J per token"),
        )
        if name in trial.metrics
    ]
    words += ["overloaded"] if trial.overloaded and CAPACITY not in trial.metrics else []
    words += [f"not trusted ({', '.join(failed)})"] if failed else []
    return ", ".join(words)
