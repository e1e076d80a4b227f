"""The capacity of a configuration from all its trials, the servers that a rate needs, and both in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from rooftune.capacity.estimate import BETWEEN, estimate_speed
from rooftune.capacity.replicas import needed
from rooftune.capacity.result import Replicas
from rooftune.engines.price import accelerators_of, usd_per_million
from rooftune.evidence.records.capacity import RateStep, TrialCapacity
from rooftune.evidence.records.trial import TrialResult
from rooftune.formatting import number, quantity
from rooftune.tuning.plan import AtRate, CapacityFigures, Goal
from rooftune.vllm_rules.config import EngineConfig
from rooftune.workloads.spec import COST


def capacity_of(trials: Sequence[TrialResult]) -> CapacityFigures | None:
    """The capacity that the believed trials of one configuration show together; None if none of them has one."""
    known = [c for t in trials if t.believed and (c := t.capacity) is not None and c.rate_per_s is not None]
    if not known:
        return None
    carried = [c for c in known if c.rate_per_s]
    steps = sorted((s for c in known for s in c.steps), key=lambda s: s.rate_per_s)
    rates = [AtRate(rate_per_s=s.rate_per_s, attainment=s.attainment, requests=s.requests) for s in steps]
    if 2 * len(carried) < len(known) or not carried:
        lone = next((c.lone for c in known if c.lone is not None), None)
        return CapacityFigures(
            estimate=0.0,
            low=0.0,
            high=0.0,
            limited_by=lone.limit if lone else "",
            attainment=rates,
            sentence=lone.sentence if lone else "",
        )
    estimate = math.exp(sum(math.log(c.rate_per_s or 1.0) for c in carried) / len(carried))
    half = _half(carried)
    low = min((c.low_per_s or 0.0) for c in carried) if half is None else estimate * math.exp(-half)
    high = max((c.high_per_s or estimate) for c in carried) if half is None else estimate * math.exp(half)
    tokens = [c.output_tokens for c in carried if c.output_tokens is not None]
    return CapacityFigures(
        estimate=estimate,
        low=low,
        high=high,
        limited_by=carried[-1].limited_by,
        attainment=rates,
        output_tokens=sum(tokens) / len(tokens) if tokens else None,
    )


def _half(carried: Sequence[TrialCapacity]) -> float | None:
    """Half width of the 95 % interval of ln(capacity); None where a trial gave a bracket only."""
    if any(c.half is None for c in carried):
        return None
    steps: list[RateStep] = [s for c in carried for s in c.steps if s.log_speed is not None]
    if not steps:
        return None
    speeds = [s.log_speed for s in steps if s.log_speed is not None]
    pooled = estimate_speed(speeds, [s.offset for s in steps], BETWEEN / math.sqrt(len(carried))).half
    return pooled * median(_elasticity(c) for c in carried)


def _elasticity(carried: TrialCapacity) -> float:
    """By how much more ln(capacity) changes than ln(speed): a trial's interval over that of its speed."""
    steps = [s for s in carried.steps if s.log_speed is not None]
    if not steps or not carried.low_per_s or not carried.high_per_s:
        return 1.0
    alone = estimate_speed([s.log_speed or 0.0 for s in steps], [s.offset for s in steps]).half
    return math.log(carried.high_per_s / carried.low_per_s) / 2 / alone


def servers(figures: CapacityFigures, asked_per_s: float | None) -> Replicas | None:
    """Servers for the asked rate, without the rows that only a simulation gives; None where no number would do."""
    if not asked_per_s or figures.estimate <= 0 or figures.low <= 0:
        return None
    return Replicas(
        asked_rate_per_s=asked_per_s,
        at_estimate=needed(asked_per_s, figures.estimate),
        at_low=needed(asked_per_s, figures.low),
        rows=[],
    )


def share_of_price(goal: Goal, config: EngineConfig) -> float:
    """How much more a server with this configuration must carry to be as good as one with a single accelerator: its
    number of accelerators where the cost decides, else 1."""
    return float(accelerators_of(config.flags())) if goal.metric == COST else 1.0


def for_the_price(found: CapacityFigures | None, factor: float) -> CapacityFigures | None:
    """The capacity that a server at ``factor`` times the price must have, to be as good as this one."""
    if found is None or factor == 1.0:
        return found
    values = {"estimate": factor * found.estimate, "low": factor * found.low, "high": factor * found.high}
    return found.model_copy(update=values)


def per_million(figures: CapacityFigures, usd_per_hour: float | None) -> float | None:
    """Price of a million output tokens of one server at its capacity."""
    if usd_per_hour is None or not figures.output_tokens or figures.estimate <= 0:
        return None
    return usd_per_million(usd_per_hour, figures.estimate * figures.output_tokens)


def interval_words(figures: CapacityFigures) -> str:
    """'7.9 requests/s (95 % interval 7.6 to 8.2)', or why it is 0."""
    if figures.estimate <= 0:
        return f"0 requests/s ({figures.sentence})" if figures.sentence else "0 requests/s"
    low, high = number(figures.low), number(figures.high)
    return f"{number(figures.estimate)} requests/s (95 % interval {low} to {high})"


def server_words(found: Replicas, asked: str, usd_per_hour: float | None) -> str:
    """'20 requests/s need 3 servers, $1.05/h'."""
    count = found.at_estimate
    verb = "need" if asked != "1 request/s" else "needs"
    words = f"{asked} {verb} {quantity(count, 'server')}"
    if found.at_low != count:
        words += f" ({found.at_low} at the lower end of the interval)"
    return words + (f", ${count * usd_per_hour:,.2f}/h" if usd_per_hour is not None else "")
