"""At which rate the next trial of a configuration loads its server: where its capacity is expected.

The forecast is corrected by what the trials so far showed. Everything here follows from the results alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median

from rooftune.evidence.records.trial import TrialResult
from rooftune.formatting import change_range, number
from rooftune.search.trial_cost import SLOWEST
from rooftune.trial_order import TrialLoad
from rooftune.tuning.capacity_figures import capacity_of
from rooftune.tuning.forecast import Forecast
from rooftune.tuning.plan import CapacityFigures
from rooftune.vllm_rules.config import EngineConfig
from rooftune.workloads.spec import CAPACITY

LOST = 0.8
"""A configuration that is shown to carry less than this share of the incumbent needs no other trial."""
DIGITS = 3
BY_CHANCE = frozenset({"send-lag", "client-cpu", "simulated-clock", "token-arrival"})
"""Checks that fail when other work takes the cores away."""


def trial_load(
    forecast: Forecast,
    candidate: str,
    configs: Mapping[str, EngineConfig],
    results: Sequence[TrialResult],
    incumbent: CapacityFigures | None,
) -> TrialLoad | None:
    """The load of the candidate's next trial; None if nothing is expected of it.

    Args:
        configs: of the candidates so far.
        results: all trials so far.
        incumbent: capacity of what it is compared with; None for the incumbent itself.
    """
    rate = expected_rate(forecast, candidate, configs, results)
    if rate is None:
        return None
    carried = incumbent.estimate if incumbent is not None else 0.0
    if rate > 0:
        rate = float(f"{max(rate, SLOWEST * carried):.{DIGITS}g}")
    load = forecast.load(configs[candidate], rate)
    late = any(by_chance(r) for r in results if r.candidate == candidate)
    scale = None if load.time_scale is None else max(1.0, load.time_scale / (2 if late else 1))
    below = LOST * incumbent.low if incumbent is not None else 0.0
    return load.model_copy(update={"settled_below_per_s": below, "time_scale": scale})


def by_chance(trial: TrialResult) -> bool:
    """Whether only checks failed that other work on the machine can fail. Another trial, with a slower clock where
    the engine is simulated, may well pass them."""
    failed = {c.id for c in trial.checks if c.status == "fail"}
    return bool(failed) and failed <= BY_CHANCE


def expected_rate(
    forecast: Forecast, candidate: str, configs: Mapping[str, EngineConfig], results: Sequence[TrialResult]
) -> float | None:
    """Requests/s that the candidate is expected to carry: its own trials, else the forecast times a correction."""
    own = capacity_of([r for r in results if r.candidate == candidate])
    if own is not None:
        return own.estimate
    predicted = forecast.capacity(configs[candidate])
    if predicted is None or predicted <= 0:
        return predicted
    return predicted * math.exp(correction(forecast, configs, results))


def correction(forecast: Forecast, configs: Mapping[str, EngineConfig], results: Sequence[TrialResult]) -> float:
    """Logarithm of measured over predicted capacity, median of the configurations that have both."""
    found = []
    for name in dict.fromkeys(r.candidate for r in results):
        measured = capacity_of([r for r in results if r.candidate == name])
        predicted = forecast.capacity(configs[name]) if name in configs else None
        if measured is not None and measured.estimate > 0 and predicted:
            found.append(math.log(measured.estimate / predicted))
    return median(found) if found else 0.0


def lost(
    candidate: CapacityFigures | None, incumbent: CapacityFigures | None, against: str, what: str = CAPACITY
) -> str | None:
    """Why one trial settles that the candidate does not win; None where it does not.

    Args:
        incumbent: what the candidate must carry to be as good.
        what: is compared, in words.
    """
    if candidate is None or incumbent is None:
        return None
    if candidate.estimate <= 0:
        return f"its capacity is 0: {candidate.sentence}" if candidate.sentence else "its capacity is 0"
    if candidate.high >= LOST * incumbent.low:
        return None
    ratio = candidate.estimate / incumbent.estimate
    low, high = candidate.low / incumbent.high, candidate.high / incumbent.low
    words = f"{what} {change_range(ratio, low, high)} compared with {against}"
    return f"{words} ({number(candidate.estimate)} requests/s); one trial settles that"
