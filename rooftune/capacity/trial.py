"""The capacity of one server from one trial: a load at the expected capacity, and one more where that was far off.

A server that is compared with a stand-in gets a few more. All loads stay in the trial's folder: the last one in its
root, where every trial has its records, and those before it under ``steps/1``, ``steps/2`` …
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass

from rooftune.capacity.answer import (
    Interval,
    Outcome,
    interval_of,
    ladder_context,
    ladder_of,
    limited_by,
    mean_output_tokens,
    requests_per_arrival,
)
from rooftune.capacity.bracket import errors_bracket, slo_bracket
from rooftune.capacity.estimate import CapacityEstimate, estimate, offset
from rooftune.capacity.lone import lone_requests, lone_workload
from rooftune.capacity.measured_step import MeasuredStep, StepRecord, StepStart, read_step, step_folder
from rooftune.capacity.reference import ANSWERS, LEAST_WINDOW_S, Reference
from rooftune.capacity.reference_server import BATCH_LIMIT, ReferenceServer
from rooftune.capacity.result import LoneRequests
from rooftune.capacity.sentences import lone_text
from rooftune.capacity.steps import StepShape, judged_requests, workload_at
from rooftune.evidence.audit.ladder import audit_ladder
from rooftune.evidence.metrics.token_price import cost
from rooftune.evidence.records.capacity import LoneStep, RateStep, TrialCapacity
from rooftune.evidence.records.sent_load import SentLoad
from rooftune.evidence.records.trial import Check, TrialResult
from rooftune.files import read_model, write_json
from rooftune.formatting import number
from rooftune.metrics.summary import Summary
from rooftune.runfolder import TrialFolder
from rooftune.trial_order import TrialLoad
from rooftune.workloads.identity import workload_hash
from rooftune.workloads.spec import CAPACITY, COST, Closed, Workload

REFERENCE = "reference.json"
FAR, RATE_FAR = 0.6, 0.3
"""Logarithm of the SLO ratio, and of the rate over the capacity that it shows, beyond which a load says too little of
the capacity, so that another one follows."""
RATE_NEAR = 0.08
"""A load this close to the capacity is enough whatever its SLO ratio: a queue makes that large just above it."""
FIRST_RATE = 0.85
"""Rate of the first load relative to the reference's capacity, where no search expected another one."""
SECOND_SEED = 1_000
"""Added to the seed of the second load, so that its prompts are fresh; both sides of a pair have the same."""
NOTHING_CARRIED = "even one request at a time breaks the SLO, so no load has a cost within it"
MOST_LOADS, MOST_WITH_STAND_IN = 2, 4
"""Loads of a trial: with the server's twin as reference, and with one that only resembles the server."""


@dataclass(frozen=True)
class NextLoad:
    """The workload of the next load, and why it has this rate."""

    workload: Workload
    reason: str


@dataclass(frozen=True)
class TrialLoads:
    """The loads of a trial as its reference sees them."""

    steps: list[MeasuredStep]
    lone: LoneRequests | None
    found: CapacityEstimate | None

    @property
    def records(self) -> list[StepRecord]:
        return [s.record for s in self.steps]


def load_of(workload: Workload, shape: StepShape, rate_per_s: float) -> TrialLoad:
    """A load at a rate, with the window that this rate needs."""
    window_s = max(LEAST_WINDOW_S, ANSWERS * shape.settle_s)
    return TrialLoad(
        rate_per_s=rate_per_s,
        settle_s=shape.settle_s,
        requests=max(judged_requests(workload.slo.share), round(window_s * rate_per_s)),
        drain_s=shape.drain_s,
    )


def first_load(workload: Workload, reference: Reference, load: TrialLoad | None, seed: int) -> NextLoad:
    """The first load of a trial: the one that was ordered, or one that the reference suggests."""
    if load is None:
        load = load_of(workload, reference.shape(1.0), FIRST_RATE * reference.capacity(1.0))
    if load.rate_per_s <= 0:
        return NextLoad(lone_workload(workload, load.settle_s, seed), "the SLO is expected to break without load")
    shape = StepShape(load.settle_s, load.requests, load.drain_s)
    return NextLoad(workload_at(workload, load.rate_per_s, shape, seed), "the capacity is expected here")


def next_load(
    workload: Workload, reference: Reference, so_far: TrialLoads, settled_below: float, most: int = MOST_LOADS
) -> NextLoad | None:
    """The load that those so far ask for; None where they say enough.

    Args:
        settled_below: a capacity shown to be below this needs no other load.
        most: loads of the trial.
    """
    made = len(so_far.steps) + (so_far.lone is not None)
    if made >= most:
        return None
    if so_far.lone is not None and (so_far.lone.breaks or not so_far.steps):
        if so_far.lone.breaks:
            return None
        rate = slo_bracket([], so_far.lone).middle()
        return _at(workload, reference.shape(1.0), rate, "the server keeps the SLO without load")
    last = so_far.steps[-1]
    record, seed = last.record, workload.seed + SECOND_SEED * made
    if record.errors_break:
        reason = "errors alone broke the SLO"
        return _at(workload, reference.shape(1.0), errors_bracket(so_far.records).middle(), reason, seed)
    found = so_far.found
    if found is None or found.high_per_s < settled_below:
        return None
    if found.rate_per_s <= 0 and so_far.lone is not None:
        return None
    if found.rate_per_s <= 0:
        settle_s = reference.shape(found.speed).settle_s
        return NextLoad(lone_workload(workload, settle_s, seed), "the SLO seems to break without load")
    off = abs(math.log(record.rate_per_s / found.rate_per_s))
    if off <= RATE_NEAR or (off <= RATE_FAR and abs(offset(last.step)) <= FAR):
        return None
    reason = f"the load at {record.rate_per_s:.3g} requests/s was far from the capacity"
    return _at(workload, reference.shape(found.speed), found.rate_per_s, reason, seed)


def _at(workload: Workload, shape: StepShape, rate_per_s: float, reason: str, seed: int | None = None) -> NextLoad:
    load = load_of(workload, shape, rate_per_s)
    chosen = workload.seed + SECOND_SEED if seed is None else seed
    sized = StepShape(shape.settle_s, load.requests, shape.drain_s)
    return NextLoad(workload_at(workload, rate_per_s, sized, chosen), reason)


def read_loads(files: TrialFolder, reference: Reference) -> TrialLoads:
    """The loads in a trial's folder, compared with the reference.

    Raises:
        RooftuneError: a file is missing, empty or cut.
    """
    folders = [*_earlier(files), files]
    steps: list[MeasuredStep] = []
    lone, found = None, None
    for place, folder in enumerate(folders, start=1):
        sent = read_model(folder.sent_json, SentLoad)
        if isinstance(sent.workload.arrivals, Closed):
            lone = lone_requests(folder, sent.workload)
            continue
        start = StepStart(idle=sent.idle, present=sent.present, waited_s=sent.waited_s)
        step = read_step(folder, sent.workload, place, sent.reason, start)
        if not step.record.errors_break:
            speed = reference.speed_of(step.step, found.speed if found is not None else 1.0)
            step = step.model_copy(update={"record": step.record.model_copy(update={"speed": speed})})
            found = estimate(reference, [*(s.step for s in steps if not s.record.errors_break), step.step])
        steps.append(step)
    return TrialLoads(steps, lone, found)


def keep_records(files: TrialFolder) -> None:
    """Move the records of the last load under ``steps``, so that the next one finds an empty place."""
    kept = step_folder(files.path, len(_earlier(files)) + 1).path
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True)
    for path in (files.sent_json, files.requests, files.ticks, files.load_json):
        if path.is_file():
            shutil.move(path, kept / path.name)


def _earlier(files: TrialFolder) -> list[TrialFolder]:
    """Folders of the loads before the last one, in order."""
    found: list[TrialFolder] = []
    while (folder := step_folder(files.path, len(found) + 1)).load_json.is_file():
        found.append(folder)
    return found


def learned(server: ReferenceServer, loads: TrialLoads) -> ReferenceServer | None:
    """The reference with the batch limit that a load shows, where its flags are only assumed; None without news."""
    limits = [r.batch_limit for r in loads.records if r.batch_limit is not None]
    if not limits or server.flags_known or server.flags.get(BATCH_LIMIT) == limits[-1]:
        return None
    return server.with_batch_limit(limits[-1])


def reference_of(files: TrialFolder) -> ReferenceServer:
    """The reference that the trial was compared with.

    Raises:
        RooftuneError: reference.json is missing or cut.
    """
    return read_model(files.path / REFERENCE, ReferenceServer)


def keep_reference(files: TrialFolder, server: ReferenceServer) -> None:
    """Write reference.json."""
    write_json(files.path / REFERENCE, server.model_dump(mode="json"))


def with_capacity(files: TrialFolder, trial: TrialResult, workload: Workload) -> TrialResult:
    """The trial with the capacity that its loads show, and the checks of a ladder.

    Args:
        workload: of the run, with the seed of the order. The trial gets its hash and seed: its loads differ from it in
            rate and duration, and the second one has fresh prompts.

    Raises:
        RooftuneError: a file of the trial is missing, empty or cut.
    """
    server = reference_of(files)
    loads = read_loads(files, server.reference(workload))
    quoted = interval_of(loads.records, Outcome(loads.found, "", precise=True, lone=loads.lone))
    found = _capacity(loads, quoted, server, workload)
    metrics, withheld = dict(trial.metrics), dict(trial.withheld)
    if found.rate_per_s is not None:
        metrics[CAPACITY] = found.rate_per_s
    else:
        withheld[CAPACITY] = _unknown(loads)
    at_capacity = _cost(trial, found)
    metrics.pop(COST, None)
    metrics, withheld = metrics | at_capacity.metrics, withheld | at_capacity.withheld
    blocks = {name: values for name, values in trial.jackknife.items() if name != COST}
    within = {name: error for name, error in trial.within.items() if name != COST}
    checks = _merged(trial.checks, audit_ladder(ladder_of(loads.records), ladder_context(workload, quoted)))
    update = {"metrics": metrics, "withheld": withheld, "capacity": found, "checks": checks,
              "workload_hash": workload_hash(workload), "seed": workload.seed, "jackknife": blocks,
              "within": within}  # fmt: skip
    return trial.model_copy(update=update)


def _cost(trial: TrialResult, found: TrialCapacity) -> Summary:
    """Cost of a token of a server at its capacity; the throughput of its last load does not matter."""
    if not found.rate_per_s or found.output_tokens is None:
        return Summary(withheld={COST: NOTHING_CARRIED if found.rate_per_s == 0 else "its capacity is not known"})
    return cost(trial, found.rate_per_s * found.output_tokens)


def _unknown(loads: TrialLoads) -> str:
    """Why no load shows a capacity."""
    failed = [r for r in loads.records if r.errors_break]
    if not failed:
        return "no load showed how much the server carries"
    rates = " and ".join(number(r.rate_per_s) for r in failed)
    return f"requests failed or were refused at {rates} requests/s ({failed[-1].first_error or 'no message'})"


def _capacity(loads: TrialLoads, quoted: Interval, server: ReferenceServer, workload: Workload) -> TrialCapacity:
    tokens, lone = mean_output_tokens(loads.records), loads.lone
    unknown = not quoted.rate_per_s and lone is None
    return TrialCapacity(
        rate_per_s=None if unknown else quoted.rate_per_s,
        low_per_s=quoted.low_per_s,
        high_per_s=quoted.high_per_s,
        half=quoted.half,
        limited_by=limited_by(loads.records, quoted, lone),
        reference=server.words,
        steps=[_rate_step(s) for s in loads.steps],
        lone=None
        if lone is None
        else LoneStep(
            requests=lone.requests,
            attainment=lone.attainment,
            limit=lone.limit,
            ratio=lone.ratio,
            median_ratio=lone.median_ratio,
            sentence=lone_text(lone) if lone.breaks else "",
        ),
        output_tokens=tokens * requests_per_arrival(workload) if tokens is not None else None,
    )


def _rate_step(step: MeasuredStep) -> RateStep:
    r = step.record
    return RateStep(
        rate_per_s=r.rate_per_s,
        seed=r.workload.seed,
        requests=r.requests,
        attainment=r.attainment,
        by_limit=r.by_limit,
        latencies=r.latencies,
        queue_grew=r.queue_grew,
        load_s=r.load_s,
        log_speed=math.log(r.speed) if r.speed else None,
        offset=offset(step.step),
    )


SEVERITY = ("no data", "pass", "warn", "fail")


def _merged(checks: Sequence[Check], ladder: Sequence[Check]) -> list[Check]:
    """The checks of the trial and of its ladder; where both have one, the more serious finding."""
    found = {c.id: c for c in checks}
    for check in ladder:
        other = found.get(check.id)
        if other is None or SEVERITY.index(check.status) > SEVERITY.index(other.status):
            found[check.id] = check
    return list(found.values())
