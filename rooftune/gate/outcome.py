"""From trials and finding to the result of the gate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median

from rooftune.evidence.records.trial import TrialResult
from rooftune.formatting import quantity
from rooftune.gate.advice import Effort, advice
from rooftune.gate.loss import RUNS_FOR_SPREAD, Design, Finding
from rooftune.gate.reference import Case, Reference
from rooftune.gate.result import EXIT_CODES, GateResult, GateSide, sentence_of

ONE_AFTER_THE_OTHER = (
    "the reference was measured earlier, so whatever changed between the runs is part of the difference; "
    "--beside measures both configurations in turn"
)
IN_PAIRS = (
    "the values in the table are means of all trials, and the change compares trials that sent the same requests, so "
    "the two differ"
)
APART = 0.02
"""From which difference between the two, relative, this is said."""
FIRST_RUN = "Not enough evidence: the history has no earlier run of this workload, engine, model and GPU."


@dataclass(frozen=True)
class NewConfiguration:
    """The new configuration, which is known before any of its trials is trusted."""

    configuration: str
    engine_version: str
    flags: Mapping[str, object]
    simulated: bool


@dataclass(frozen=True)
class Measured:
    """What a gate has when it ends."""

    case: Case
    design: Design
    reference: Reference | None
    finding: Finding | None
    objective: str
    """The metric of the workload's objective."""
    configured: NewConfiguration
    trials: list[TrialResult]
    """Trusted ones of the new configuration."""
    run: str
    """<workload>/<run_id> of the new trials."""
    folder: str
    effort: Effort = field(default_factory=Effort)
    note: str = ""
    """Why no more trials were made."""


def result_of(measured: Measured) -> GateResult:
    """The result, with the notes that limit it."""
    finding, case = measured.finding, measured.case
    metric = finding.metric if finding is not None else measured.objective
    verdict = finding.verdict if finding is not None else "not enough evidence"
    return GateResult(
        verdict=verdict,
        exit_code=EXIT_CODES[verdict],
        sentence=sentence_of(finding) if finding is not None else FIRST_RUN,
        finding=finding,
        metric=metric,
        new=_new_side(measured, metric),
        reference=_reference_side(measured.reference, metric) if measured.reference is not None else None,
        workload=case.workload,
        workload_hash=case.workload_hash,
        engine=case.engine,
        model=case.model,
        gpu=case.gpu or "",
        simulated=measured.configured.simulated,
        design=measured.design,
        notes=_notes(measured),
        seconds=measured.effort.spent_s,
        run=measured.folder,
    )


def _new_side(measured: Measured, metric: str) -> GateSide:
    configured = measured.configured
    return GateSide(
        run=measured.run,
        configuration=configured.configuration,
        engine_version=configured.engine_version,
        flags=dict(configured.flags),
        value=level(measured.trials, metric),
        trials=len(measured.trials),
    )


def _side(trials: Sequence[TrialResult], metric: str, run: str) -> GateSide:
    first = trials[0] if trials else None
    return GateSide(
        run=run,
        configuration=first.candidate if first is not None else "",
        engine_version=first.engine_version if first is not None else "",
        flags=dict(first.flags) if first is not None else {},
        value=level(trials, metric),
        trials=len(trials),
    )


def _reference_side(reference: Reference, metric: str) -> GateSide:
    newest = _side(reference.by_run[-1], metric, reference.run)
    levels = [found for trials in reference.by_run if (found := level(trials, metric)) is not None]
    return newest.model_copy(
        update={
            "configuration": reference.configuration,
            "value": math.exp(median(map(math.log, levels))) if levels else None,
            "trials": len(reference.trials),
            "runs": reference.runs,
        }
    )


def level(trials: Sequence[TrialResult], metric: str) -> float | None:
    """Geometric mean of a metric over trials, whose ratio is the estimate of the comparison."""
    logs = [math.log(t.metrics[metric]) for t in trials if t.metrics.get(metric, 0.0) > 0]
    return math.exp(fmean(logs)) if logs else None


def _notes(measured: Measured) -> list[str]:
    reference, finding = measured.reference, measured.finding
    if reference is None:
        trials = quantity(len(measured.trials), "trial")
        return [f"{trials} of this run are in the history now, for the next gate", *_some(measured.note)]
    found = _some(measured.note)
    versions = {t.engine_version for t in reference.trials} | {measured.configured.engine_version}
    if len(versions) > 1:
        found.append(f"the engine version differs ({' and '.join(sorted(versions))})")
    found += _differing(measured, reference)
    if finding is not None and finding.between_runs is not None:
        found.append(f"the interval includes the variation between the {reference.runs} earlier runs")
    elif measured.design != "beside":
        found.append(ONE_AFTER_THE_OTHER)
        if reference.runs > 1:
            found.append(f"from {RUNS_FOR_SPREAD} earlier runs on, the interval includes the variation between runs")
    return found + (advice(finding, measured.design, measured.effort) if finding is not None else [])


def _differing(measured: Measured, reference: Reference) -> list[str]:
    """A note where the change is not that of the two values."""
    finding = measured.finding
    if finding is None or finding.ratio is None or reference.runs > 1:
        return []
    new, before = level(measured.trials, finding.metric), level(reference.trials, finding.metric)
    if new is None or before is None or abs(math.log(new / before / finding.ratio.estimate)) < APART:
        return []
    return [IN_PAIRS]


def _some(note: str) -> list[str]:
    return [note] if note else []
