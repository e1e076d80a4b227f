"""From the steps of a measurement to its answer: capacity, interval, what limits it, replicas and cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from rooftune.capacity.bracket import errors_bracket, slo_bracket
from rooftune.capacity.curve import predicted_response
from rooftune.capacity.estimate import CapacityEstimate
from rooftune.capacity.measured_step import StepRecord
from rooftune.capacity.reference import FASTEST, SLOWEST
from rooftune.capacity.reference_server import ReferenceServer
from rooftune.capacity.replicas import replicas_for
from rooftune.capacity.result import LEVEL, CapacityResult, CurvePoint, LoneRequests, Replicas
from rooftune.capacity.units import UNITS, load_of, per_of, whole_users
from rooftune.engines.price import usd_per_hour, usd_per_million
from rooftune.evidence.audit.ladder import LAG_FAILS, LadderContext, LadderStep, audit_ladder, late_share
from rooftune.simulator.virtual.predict import EmulatedEngine
from rooftune.workloads.draw import draw
from rooftune.workloads.spec import Burst, Workload

CLEARLY_MET = -0.1
"""Logarithm of the SLO ratio of a step in which no limit is near, although users fill the server."""


@dataclass(frozen=True)
class Outcome:
    """What a measurement found, and why it ended."""

    found: CapacityEstimate | None
    ended: str
    precise: bool
    stopped: bool = False
    lone: LoneRequests | None = None


@dataclass(frozen=True)
class Subject:
    """What was measured."""

    workload: Workload
    url: str
    model: str
    simulated: bool
    time_scale: float
    server: ReferenceServer
    engine: EmulatedEngine
    predicted_per_s: float
    """Of a closed loop: users."""


@dataclass(frozen=True)
class Interval:
    """The capacity as the result quotes it: in requests/s, of a closed loop in users."""

    rate_per_s: float | None
    low_per_s: float | None = None
    high_per_s: float | None = None
    level: float | None = None
    half: float | None = None


def interval_of(records: Sequence[StepRecord], outcome: Outcome) -> Interval:
    """The estimate with its interval, or the bracket where errors limit the server."""
    found, lone, bracket = outcome.found, outcome.lone, errors_bracket(records)
    if lone is not None and lone.breaks:
        return Interval(0.0)
    if bracket.broken_at is not None and (found is None or found.high_per_s > bracket.broken_at):
        low = bracket.carried or 0.0
        return Interval(low, low, bracket.broken_at)
    if (found is None or found.rate_per_s <= 0) and lone is not None and records:
        between = slo_bracket(records, lone)
        return Interval(between.carried, between.carried, between.broken_at)
    if found is None or found.rate_per_s <= 0:
        return Interval(None)
    return Interval(found.rate_per_s, found.low_per_s, found.high_per_s, LEVEL, found.half)


def result_of(subject: Subject, records: Sequence[StepRecord], outcome: Outcome) -> CapacityResult:
    """The answer, with the reference's response at the speed that was measured."""
    found, workload = outcome.found, subject.workload
    quoted = interval_of(records, outcome)
    if per_of(workload) == "users":
        quoted = _whole(quoted)
    price = subject.server.price
    hourly = usd_per_hour(price, subject.server.flags)
    each = requests_per_arrival(workload)
    answer = mean_output_tokens(records)
    tokens = answer * each if answer is not None else None
    predicted = _predicted(subject, quoted, found.speed if found else None, hourly, tokens)
    sent_per_s = predicted.sent_per_s
    cost = usd_per_million(hourly, sent_per_s * tokens) if hourly and tokens and sent_per_s else None
    result = CapacityResult(
        workload=workload,
        url=subject.url,
        model=subject.model,
        simulated=subject.simulated,
        time_scale=subject.time_scale,
        reference=subject.server,
        predicted_per_s=None,
        rate_per_s=None,
        level=quoted.level,
        precise=outcome.precise,
        ended=outcome.ended,
        stopped=outcome.stopped,
        limited_by=limited_by(records, quoted, outcome.lone),
        speed=found.speed if found else None,
        lone=outcome.lone,
        replicas=predicted.replicas,
        usd_per_hour=hourly,
        price_source=price.words if price else "",
        requests_per_arrival=each,
        output_tokens=answer,
        usd_per_million_output_tokens=cost,
        load_s=sum(r.load_s for r in records),
        real_s=sum(r.real_s for r in records),
        steps=list(records),
        curve=measured_curve(records),
        predicted_curve=predicted.curve,
    )
    checks = audit_ladder(ladder_of(records), ladder_context(workload, quoted))
    return result.model_copy(update={**_figures(subject, quoted, sent_per_s), "checks": checks})


@dataclass(frozen=True)
class _Predicted:
    """What the reference adds at the speed that was measured."""

    sent_per_s: float | None
    """Requests/s at the capacity."""
    curve: list[CurvePoint] = field(default_factory=list)
    replicas: Replicas | None = None


def _predicted(
    subject: Subject, quoted: Interval, speed: float | None, usd_per_hour: float | None, tokens: float | None
) -> _Predicted:
    capacity, low, per = quoted.rate_per_s, quoted.low_per_s, per_of(subject.workload)
    if speed is None or not capacity or low is None or (per == "rate" and not low):
        return _Predicted(capacity if per == "rate" else None)
    response = predicted_response(subject.engine, subject.workload, speed)
    asked = load_of(subject.workload)
    replicas = None
    if per == "rate" or asked > 1:  # one user needs one server
        replicas = replicas_for(asked, per, capacity, max(low, 1.0) if per == "users" else low, response,
                                usd_per_hour, tokens)  # fmt: skip
    sent = response.at(capacity).rate_per_s if per == "users" else capacity
    return _Predicted(sent, response.curve(capacity), replicas)


def _figures(subject: Subject, quoted: Interval, sent_per_s: float | None) -> dict[str, float | str | None]:
    """The capacity and its interval in the fields of their unit."""
    predicted = None if subject.server.stand_in else subject.predicted_per_s
    low, high = quoted.low_per_s, quoted.high_per_s
    if per_of(subject.workload) == "rate":
        return {"rate_per_s": quoted.rate_per_s, "low_per_s": low, "high_per_s": high, "half": quoted.half,
                "predicted_per_s": predicted}  # fmt: skip
    users = quoted.rate_per_s
    half = (high - low) / (2 * users) if quoted.level and users and low is not None and high is not None else None
    return {
        "per": "users",
        "rate_per_s": sent_per_s if users else users,
        "users": None if users is None else round(users),
        "low_users": None if low is None else round(low),
        "high_users": None if high is None else round(high),
        "half": half,
        "predicted_per_s": None,
        "predicted_users": None if predicted is None else whole_users(predicted),
    }


def _whole(quoted: Interval) -> Interval:
    """The interval in whole users: all of them are served."""
    ends = (quoted.rate_per_s, quoted.low_per_s, quoted.high_per_s)
    capacity, low, high = (None if end is None else float(whole_users(end)) for end in ends)
    return replace(quoted, rate_per_s=capacity, low_per_s=low, high_per_s=high)


def ladder_of(records: Sequence[StepRecord]) -> list[LadderStep]:
    """The steps as their audit looks at them."""
    cut = [0, *(r.census.cut for r in records)]
    return [
        LadderStep(
            number=r.number,
            rate_per_s=r.load,
            seed=r.workload.seed,
            started_at=r.started_at,
            idle=r.start.idle,
            present=r.start.present,
            settle_s=r.workload.warmup_s,
            window_s=r.workload.duration_s,
            answer_s=r.latencies["median_e2el_ms"] / 1000 if "median_e2el_ms" in r.latencies else None,
            requests=r.requests,
            attainment=r.attainment,
            log_speed=math.log(r.speed) if r.speed else None,
            log_ratio=_log_ratio(r),
            send_lag_p99_s=r.send_lag_p99_ms / 1000,
            answer_tokens=r.output_tokens,
            planned_tokens=r.planned_output_tokens,
            cut_before=before,
        )
        for r, before in zip(records, cut, strict=False)
    ]


def ladder_context(workload: Workload, quoted: Interval) -> LadderContext:
    """What the audit of the steps compares them with."""
    limits, unit = _limits_s(workload), UNITS[per_of(workload)]
    return LadderContext(
        workload.slo.share, limits, quoted.low_per_s, quoted.high_per_s, SLOWEST, FASTEST, unit, workload.natural_ends
    )


def measured_curve(records: Sequence[StepRecord]) -> list[CurvePoint]:
    """The steps by load."""
    points = [
        CurvePoint(
            rate_per_s=r.rate_per_s,
            users=r.users,
            attainment=r.attainment,
            requests=r.requests,
            latencies=r.latencies,
            queue_grew=r.queue_grew,
        )
        for r in records
    ]
    return sorted(points, key=lambda p: p.load)


def requests_per_arrival(workload: Workload) -> float:
    """Requests for each arrival of the process: the turns of a conversation, and those that come in bursts."""
    if isinstance(workload.arrivals, Burst):
        burst = workload.arrivals
        return 1 + burst.burst_size / burst.burst_every_s / burst.rate_per_s
    if not workload.may_have_turns or per_of(workload) == "users":
        return 1.0
    plan = draw(workload)
    return len(plan) / max(1, int((plan.turn == 0).sum()))


def mean_output_tokens(records: Sequence[StepRecord]) -> float | None:
    """Mean output tokens of the completed answers of all steps."""
    known = [(r.output_tokens, r.census.completed) for r in records if r.output_tokens is not None]
    total = sum(count for _, count in known)
    return sum(tokens * count for tokens, count in known) / total if total else None


def limited_by(records: Sequence[StepRecord], quoted: Interval, lone: LoneRequests | None) -> str:
    """What breaks first above the capacity: the limit with the largest ratio in the step nearest to the edge.

    Steps in which the client sent late count only where no other is left: they show the client's limits.
    """
    if lone is not None and lone.breaks:
        return lone.limit
    if quoted.level is None and errors_bracket(records).broken_at is not None:
        return "errors"
    known = [r for r in records if not r.errors_break]
    if not known:
        return ""
    nearest = min([r for r in known if not _sent_late(r)] or known, key=lambda r: abs(_log_ratio(r)))
    full = nearest.users is not None and quoted.level is not None and nearest.load >= (quoted.rate_per_s or 0.0)
    if full and _log_ratio(nearest) < CLEARLY_MET:
        return "queue"
    ratios = {name: ratio for name, ratio in nearest.by_limit.items() if ratio is not None}
    return max(ratios, key=lambda name: ratios[name]) if ratios else "queue"


def _sent_late(record: StepRecord) -> bool:
    share = late_share(record.send_lag_p99_ms / 1000, _limits_s(record.workload))
    return share is not None and share > LAG_FAILS


def _limits_s(workload: Workload) -> dict[str, float]:
    return {name: limit / 1000 for name, limit in workload.slo.limits_ms().items()}


def _log_ratio(record: StepRecord) -> float:
    """Logarithm of a step's SLO ratio: 0 at the edge of the SLO, infinite where it is not determined."""
    ratio = record.quantiles.get(str(record.workload.slo.share))
    return math.log(max(ratio, 1e-9)) if ratio is not None else math.inf
