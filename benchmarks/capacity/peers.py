"""How others search for the highest load within an SLO, on the same simulated servers.

The two styles of aiperf's recipe ``max-concurrency-under-sla`` (0.13.0, ``orchestrator/search_planner``) and a plain
bisection. Each gets the rate of the arrival process to vary, as ours does, and begins near the capacity that the
simulator predicts, which in practice they do not know. Their probes last a fixed time, which decides their precision.
None of them quotes an interval for the load.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

PRECISION = 0.05
"""Relative width of the bracket at which a search ends; aiperf's default."""
MOST_PROBES = 30
BELOW = 0.25
"""Rate of aiperf's first probe relative to the predicted capacity: it climbs from below."""


@dataclass(frozen=True)
class Probe:
    """One load at one rate."""

    rate_per_s: float
    met: bool
    log_ratio: float
    """Logarithm of the SLO ratio: how far the quantile that the SLO names is from its limit."""
    load_s: float


class Prober(Protocol):
    """Loads the server at a rate."""

    def __call__(self, rate_per_s: float) -> Probe: ...


@dataclass
class Bracket:
    """The highest rate that met the SLO and the lowest that broke it."""

    low: float = 0.0
    high: float = math.inf
    probes: list[Probe] = field(default_factory=list)

    def add(self, probe: Probe) -> bool:
        """Take a probe into account; returns whether it met the SLO. Contradictions keep the older end."""
        self.probes.append(probe)
        if probe.met and probe.rate_per_s < self.high:
            self.low = max(self.low, probe.rate_per_s)
        if not probe.met and probe.rate_per_s > self.low:
            self.high = min(self.high, probe.rate_per_s)
        return probe.met

    @property
    def narrow(self) -> bool:
        """Whether the search may end."""
        return self.high - self.low < PRECISION * self.high

    @property
    def spent(self) -> bool:
        """Whether the search must end."""
        return len(self.probes) >= MOST_PROBES

    @property
    def middle(self) -> float:
        """The answer of a bracket."""
        return math.sqrt(self.low * self.high) if self.low > 0 and math.isfinite(self.high) else self.low


@dataclass(frozen=True)
class Answer:
    """What a search found and what it cost."""

    rate_per_s: float
    load_s: float


def bisection(probe: Prober, predicted_per_s: float) -> Answer:
    """Begin at the predicted capacity, widen by a quarter until both ends are known, then halve."""
    found = Bracket()
    rate = predicted_per_s
    met = found.add(probe(rate))
    while not found.spent and (found.low == 0 or math.isinf(found.high)):
        rate = rate * 1.25 if met else rate / 1.25
        found.add(probe(rate))
    while not (found.narrow or found.spent):
        found.add(probe((found.low + found.high) / 2))
    return _answer(found, found.middle)


def monotonic(probe: Prober, predicted_per_s: float) -> Answer:
    """aiperf's style ``monotonic``: double until the SLO breaks, then halve the bracket to 5 %."""
    found = _climbed(probe, predicted_per_s)
    while not (found.narrow or found.spent):
        found.add(probe((found.low + found.high) / 2))
    return _answer(found, found.middle)


def smooth_isotonic(probe: Prober, predicted_per_s: float) -> Answer:
    """aiperf's style ``smooth_isotonic``: double until the SLO breaks, three probes inside, then a monotone fit whose
    root is probed until the bracket is narrow. Straight lines join the pooled points where aiperf has cubic ones.
    """
    found = _climbed(probe, predicted_per_s)
    low, high = found.low, found.high
    for share in (0.25, 0.5, 0.75):
        found.add(probe(low + share * (high - low)))
    root = _root(found)
    while not (found.narrow or found.spent):
        found.add(probe(root))
        last, root = root, _root(found)
        if abs(root / last - 1) < PRECISION / 5:
            break
    return _answer(found, root)


RECIPES: dict[str, Callable[[Prober, float], Answer]] = {
    "bisection": bisection,
    "aiperf, monotonic": monotonic,
    "aiperf, smooth_isotonic": smooth_isotonic,
}


def _climbed(probe: Prober, predicted_per_s: float) -> Bracket:
    """Double the rate until the SLO breaks; if it breaks at once, begin lower."""
    found, rate = Bracket(), BELOW * predicted_per_s
    while not found.spent and not found.add(probe(rate)) and found.low == 0:
        rate /= 2
    while not found.spent and math.isinf(found.high):
        rate *= 2
        found.add(probe(rate))
    return found


def _root(found: Bracket) -> float:
    """Where the monotone fit of all probes crosses the limit; the middle of the bracket if it does not."""
    probes = sorted(found.probes, key=lambda p: p.rate_per_s)
    rates = np.array([p.rate_per_s for p in probes])
    fitted = pooled([p.log_ratio for p in probes])
    above = np.flatnonzero(fitted > 0)
    if not len(above) or above[0] == 0:
        return found.middle
    i = int(above[0])
    a, b = fitted[i - 1], fitted[i]
    return float(rates[i - 1] + (rates[i] - rates[i - 1]) * (0 - a) / (b - a))


def pooled(values: Sequence[float]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """The rising sequence nearest to the values in least squares (pool adjacent violators)."""
    levels: list[float] = []
    sizes: list[int] = []
    for value in values:
        levels.append(value)
        sizes.append(1)
        while len(levels) > 1 and levels[-2] > levels[-1]:
            size = sizes[-2] + sizes[-1]
            levels[-2] = (levels[-2] * sizes[-2] + levels[-1] * sizes[-1]) / size
            sizes[-2] = size
            levels.pop()
            sizes.pop()
    return np.repeat(np.array(levels), sizes)


def _answer(found: Bracket, rate_per_s: float) -> Answer:
    return Answer(rate_per_s, sum(p.load_s for p in found.probes))
