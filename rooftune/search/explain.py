"""Why the winner wins: what each of its knobs is worth, every option compared with the baseline, and the fronts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from rooftune.formatting import change, change_range
from rooftune.knobs.configuration import KnobValue
from rooftune.search.gain import Outlook
from rooftune.search.options import Option
from rooftune.workloads.spec import lower_is_better

Source = Literal["measured", "predicted"]
TWO_SIDED = 1.96
"""Half width of a 95 % interval in standard deviations."""


@dataclass(frozen=True)
class Ratio:
    """How much better one option is than another, with a 95 % interval; above 1 is better, whatever the objective."""

    estimate: float
    low: float
    high: float
    source: Source
    """measured = both have trials of the search. Predicted values are corrected by the trials of others."""

    def of_metric(self, metric: str) -> Ratio:
        """The ratio of the metric's own values: below 1 is better where lower values are."""
        if not lower_is_better(metric):
            return self
        return Ratio(1 / self.estimate, 1 / self.high, 1 / self.low, self.source)

    @property
    def words(self) -> str:
        """For a table's cell: 'predicted −47 % (−55 to −38 %), not measured'."""
        text = change_range(self.estimate, self.low, self.high)
        return text if self.source == "measured" else f"predicted {text}, not measured"


@dataclass(frozen=True)
class KnobWorth:
    """What one knob of the winner is worth."""

    knob: str
    value: KnobValue | None
    undone: KnobValue | None
    """The baseline's value, to which the knob is set back; None = not set."""
    option: str | None
    """The winner with that knob set back; None where the search has no such option."""
    ratio: Ratio | None
    """The winner over that option."""

    @property
    def words(self) -> str:
        """One sentence."""
        if self.ratio is None:
            return f"{self.knob}={self.value} instead of {self.undone}: the search had no option without it alone"
        what = f"{self.knob}={self.value} instead of {self.undone}: {change(self.ratio.estimate)}"
        return f"{what} ({self.ratio.source})"


@dataclass(frozen=True)
class FrontPoint:
    """One option on a front."""

    option: str
    benefit: float
    """Higher is better."""
    burden: float
    """Lower is better."""


def compared(look: Outlook, option: str, against: str) -> Ratio:
    """The ratio of two options by the posterior."""
    a, b = look.problem.at(option), look.problem.at(against)
    ahead = float(look.posterior.mean[a] - look.posterior.mean[b])
    half = TWO_SIDED * float(look.posterior.difference_sd(b)[a])
    source: Source = "measured" if look.measured[a] and look.measured[b] else "predicted"
    return Ratio(math.exp(ahead), math.exp(ahead - half), math.exp(ahead + half), source)


def knobs_worth(look: Outlook, winner: str) -> tuple[KnobWorth, ...]:
    """What each knob in which the winner differs from the baseline is worth, the largest first."""
    problem = look.problem
    best, base = problem.option(winner), problem.option(problem.baseline)
    by_knobs = {_key(option): option.id for option in reversed(problem.options)}
    found = []
    for knob in sorted({*best.knobs, *base.knobs}):
        if best.knobs.get(knob) == base.knobs.get(knob):
            continue
        other = by_knobs.get(_key(best, knob, base))
        ratio = compared(look, winner, other) if other else None
        found.append(KnobWorth(knob, best.knobs.get(knob), base.knobs.get(knob), other, ratio))
    return tuple(sorted(found, key=lambda worth: -worth.ratio.estimate if worth.ratio else 0.0))


def _key(option: Option, knob: str = "", base: Option | None = None) -> tuple[tuple[str, KnobValue], ...]:
    """The knobs of an option, with one taken from ``base``, in a form that can be looked up."""
    knobs = dict(option.knobs)
    if base is not None:
        knobs.pop(knob, None)
        if knob in base.knobs:
            knobs[knob] = base.knobs[knob]
    return tuple(sorted(knobs.items()))


def best_with_same_outputs(look: Outlook) -> str:
    """The best measured option that leaves the answers as the baseline gives them."""
    same = np.array([not option.changes_outputs for option in look.problem.options])
    mean = np.where(look.measured & same, look.posterior.mean, -np.inf)
    return look.problem.options[int(np.argmax(mean))].id if np.isfinite(mean).any() else look.problem.baseline


def objective_against_tpot(look: Outlook) -> tuple[FrontPoint, ...]:
    """The front of the objective, corrected by the trials, against the predicted TPOT at the capacity."""
    points = [
        FrontPoint(option.id, math.exp(look.posterior.mean[i]), option.tpot_ms)
        for i, option in enumerate(look.problem.options)
        if option.tpot_ms is not None and look.starts[i] > 0.5
    ]
    return front(points)


def objective_against_cost(look: Outlook) -> tuple[FrontPoint, ...]:
    """The front of the objective against the price of the server."""
    points = [
        FrontPoint(option.id, math.exp(look.posterior.mean[i]), option.usd_per_hour)
        for i, option in enumerate(look.problem.options)
        if option.usd_per_hour is not None and look.starts[i] > 0.5
    ]
    return front(points)


def front(points: Sequence[FrontPoint]) -> tuple[FrontPoint, ...]:
    """The points that no other beats in both, by rising burden. Of equal points the first stays."""
    found: list[FrontPoint] = []
    for point in sorted(points, key=lambda p: (p.burden, -p.benefit)):
        if not found or point.benefit > found[-1].benefit:
            found.append(point)
    return tuple(found)
