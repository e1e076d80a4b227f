"""Two runs side by side: the result of ``rooftune compare RUN RUN``."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from rooftune.evidence.records.trial import TrialResult
from rooftune.report.run_data import RunData, read_run
from rooftune.runfolder import RunFolder
from rooftune.tuning.configuration import describe, difference
from rooftune.tuning.judge import judge, ratio_of
from rooftune.tuning.metrics import COMPARED
from rooftune.tuning.plan import Interval
from rooftune.workloads.spec import CAPACITY, COST

ANSWERS = {"applied": "better", "no gain": "worse"}
"""Verdicts under the names that suit two runs, of which neither is a candidate."""


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RunSide(_Frozen):
    """One of the two runs."""

    run: str
    workload: str
    gpu: str
    engine: str
    engine_version: str
    model: str
    simulated: bool
    incumbent: str
    changes: list[str] = Field(default_factory=list, description="what the recommended one changes from the baseline")
    first_sentence: str


class MetricPair(_Frozen):
    """One metric of both sides; ``ratio`` is b / a."""

    a: float | None = None
    b: float | None = None
    ratio: Interval | None = None


class PairComparison(_Frozen):
    """One configuration of each run, compared."""

    a: str
    b: str
    changes: list[str] = Field(default_factory=list, description="what the one of a changes from its baseline")
    trials: list[int]
    metrics: dict[str, MetricPair]
    verdict: str
    reason: str


class RunComparison(_Frozen):
    """Two runs compared. ``caveats`` names all differences that the configurations do not explain."""

    a: RunSide
    b: RunSide
    caveats: list[str]
    pairs: list[PairComparison]


def compare_runs(a: RunFolder, b: RunFolder) -> RunComparison:
    """Compare the recommended configurations of two runs, and every configuration that both measured.

    Raises:
        RooftuneError: a run has no decision yet, or its files cannot be read.
    """
    first, second = read_run(a), read_run(b)
    shared = [p.id for p in first.measured if second.of(p.id)] if _same_plan(first, second) else []
    pairs = [(first.decision.incumbent, second.decision.incumbent), *((name, name) for name in shared)]
    return RunComparison(
        a=_side(first),
        b=_side(second),
        caveats=caveats(first, second),
        pairs=[_pair(first, second, x, y) for x, y in dict.fromkeys(pairs)],
    )


def _same_plan(a: RunData, b: RunData) -> bool:
    return a.plan.target.engine_version == b.plan.target.engine_version and a.plan.target.model == b.plan.target.model


def _side(run: RunData) -> RunSide:
    target = run.plan.target
    return RunSide(
        run=str(run.folder.path),
        workload=run.plan.workload,
        gpu=run.hardware.accelerator.name,
        engine=target.engine,
        engine_version=target.engine_version,
        model=target.model,
        simulated=run.simulated,
        incumbent=run.decision.incumbent,
        changes=_changes(run, run.decision.incumbent),
        first_sentence=run.decision.first_sentence,
    )


def _changes(run: RunData, name: str) -> list[str]:
    """What a configuration changes from the baseline of its run, flag by flag."""
    changed = difference(run.config(name), run.config("baseline"))
    return [describe({flag: value}) for flag, value in changed.items()]


def caveats(a: RunData, b: RunData) -> list[str]:
    """What differs between two runs apart from their flags."""
    sides = {
        "engine": (a.plan.target.engine, b.plan.target.engine),
        "engine version": (a.plan.target.engine_version, b.plan.target.engine_version),
        "GPU": (a.hardware.accelerator.name, b.hardware.accelerator.name),
        "model": (a.plan.target.model, b.plan.target.model),
        "workload": (_hashes(a.trials), _hashes(b.trials)),
    }
    found = [f"the {what} differs ({x} and {y})" for what, (x, y) in sides.items() if x != y]
    return [*found, "the runs were made one after the other, so any drift between them is part of the difference"]


def _hashes(trials: list[TrialResult]) -> str:
    return ", ".join(sorted({f"{t.workload} {t.workload_hash[:8]}" for t in trials}))


def _pair(a: RunData, b: RunData, x: str, y: str) -> PairComparison:
    ours, theirs = b.of(y), a.of(x)
    found = judge(ours, theirs, b.plan.objective, x, candidates=1) if min(len(ours), len(theirs)) >= 2 else None
    ratios: dict[str, Interval | None] = {**found.ratios} if found else {}
    by_capacity = a.by_capacity and b.by_capacity
    names = dict.fromkeys([CAPACITY, COST] if by_capacity else [*COMPARED, *ratios, COST])
    if found is not None and COST not in ratios:
        ratios = {**ratios, COST: ratio_of(ours, theirs, COST)}
    metrics = {m: MetricPair(a=a.value(x, m), b=b.value(y, m), ratio=ratios.get(m)) for m in names}
    return PairComparison(
        a=x,
        b=y,
        changes=_changes(a, x),
        trials=[len(theirs), len(ours)],
        metrics={m: pair for m, pair in metrics.items() if pair.a is not None or pair.b is not None},
        verdict=ANSWERS.get(found.verdict, found.verdict) if found else "not run",
        reason=found.reason if found else "each side needs two trusted trials",
    )
