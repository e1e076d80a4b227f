"""The one comparison: the ratio of a metric between two sets of trials, with an interval and an answer.

The unit is the trial, never the request: requests of one trial share batch, queue and server, so they are
not independent. A trial gives one logarithm of the metric. These are fitted with a level for each side, an effect
of each seed that both sides drew (a paired analysis), and a linear drift over the order when there are enough trials.
With two trials per side the spread of the residuals alone says little, so it is moderated: drawn towards what blocks
within the trials, other configurations of the run, and replicates made elsewhere lead one to expect (Smyth 2004, Stat.
Appl. Genet. Mol. Biol. 3:3). Error spending corrects for looks after 2, 4, 6 … trials, Bonferroni for many candidates.
``benchmarks/validity/__main__.py`` measures the resulting error rates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from rooftune.errors import RooftuneError
from rooftune.evidence.comparison.least_squares import Arm, LeastSquaresFit, fit
from rooftune.evidence.comparison.t_distribution import look_levels, t_quantile
from rooftune.evidence.records.columns import Floats
from rooftune.evidence.records.trial import TrialResult
from rooftune.formatting import number
from rooftune.workloads.spec import CAPACITY, COST, lower_is_better

Answer = Literal["better", "worse", "no measurable difference", "more trials needed"]
SMALLEST_EFFECT = 0.02
MOST_TRIALS = 12
"""Most trials per side: enough to find 5 % among ten candidates where a trial varies by 2 %."""


@dataclass(frozen=True)
class Prior:
    """What is expected of the spread from trial to trial before any is seen."""

    rates: float
    """Standard deviation of ln(metric) of throughput and goodput, beyond what blocks within a trial show."""
    times: float
    """The same of TTFT and E2EL, which queueing spreads wider."""
    capacity: float
    """The same of the capacity, all of a trial's noise: no blocks within its window show a part of it."""
    freedom: float
    """Weight of this expectation in degrees of freedom; a few trials outweigh it."""

    def of(self, metric: str) -> float:
        """Standard deviation of ln(metric)."""
        if metric in (CAPACITY, COST):  # a server's cost per token is its price over its capacity
            return self.capacity
        return self.times if metric.endswith(("ttft_ms", "e2el_ms")) else self.rates


REAL = Prior(rates=0.010, times=0.02, capacity=0.022, freedom=3.0)
"""Two runs of the published T4 experiment with ``--max-num-seqs 8`` (kshyp/varcas, MIT, 2026-02-11) printed 206.8 and
202.6 tok/s: a standard deviation of 1.4 % per run; 1.0 % is what 10 s blocks within a run show, so 1.0 % is left. A
capacity varies by 2.2 % from load to load, the noise of the server included (``rooftune.capacity.estimate``)."""
SIMULATED = Prior(rates=0.010, times=0.02, capacity=0.015, freedom=8.0)
"""A/A trials of the simulated engine on two busy cores vary by 1.1 %
(tests/evidence/data/simulated_aa_trials.csv): the jitter of a machine that runs it faster than real time. There is no
heat and no neighbour on a card, so this expectation has more weight."""
LEAST_TRUST = 0.1
"""What is left of that weight when other configurations of the run say more."""
OTHERS_FREEDOM = 12.0
"""Most weight of other configurations of the run, in degrees of freedom."""
EQUIVALENCE = 0.05
"""Error rate of each of the two one-sided tests behind "no measurable difference" (Schuirmann 1987)."""


FIRST_LOOK = 2
SHOWN, SHOWN_LATER = 0.065, 0.042
"""Two-sided error of the t quantile behind the 95 % interval that is shown.

Chosen so that the interval covers 93 to 97 % of the simulated experiments of each kind of noise in
``benchmarks/validity/__main__.py``, within the error of the simulation. At the first look the expectation above has
most weight, and it is wide for a quiet card. Later looks need a wider interval, because a comparison that continued was
near a boundary, and one that then stops has chosen its moment.
"""


class Comparison(BaseModel):
    """The ratio a / b of one metric, what it means, and why the comparison stopped."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    metric: str
    direction: Literal["higher", "lower"] = Field(description="which is better")
    estimate: float
    low: float
    high: float
    level: float = 0.95
    answer: Answer
    reason: str = Field(description="why the comparison stopped, or why it continues")
    trials_a: int
    trials_b: int
    more_trials: int = Field(default=0, description="about how many more trials per side are needed; 0 = none")
    decision_low: float | None = Field(default=None, description="interval at the level that decides at this look")
    decision_high: float | None = None
    decision_level: float | None = None
    spread: float | None = Field(default=None, description="standard deviation of one trial, relative")
    paired: bool = Field(default=False, description="both sides drew the same requests")


@dataclass(frozen=True)
class TrialVariance:
    """Variance of the logarithm of one trial, and the degrees of freedom of that estimate."""

    variance: float
    freedom: float


@dataclass(frozen=True)
class Conclusion:
    """The answer of a comparison with its reason."""

    answer: Answer
    reason: str


ONE_TRIAL = Conclusion("more trials needed", "with one trial per side a difference cannot be distinguished from chance")


def compare(
    a: Sequence[TrialResult],
    b: Sequence[TrialResult],
    metric: str,
    *,
    candidates: int = 1,
    smallest_effect: float = SMALLEST_EFFECT,
    error_rate: float = 0.05,
    most_trials: int = MOST_TRIALS,
    others: Sequence[Sequence[TrialResult]] = (),
) -> Comparison:
    """Compare a with b by one metric.

    Args:
        a: trials of the candidate.
        b: trials of what it is compared with, run in balanced order beside it (``balanced_order``).
        metric: by vLLM's name, or capacity, cost or energy; times, cost and energy are better when lower.
        candidates: how many candidates are compared in the run, for the correction for many.
        smallest_effect: the smallest relative difference that matters.
        error_rate: chance of any false win or loss over all looks and all candidates.
        most_trials: trials per side at which it stops at the latest; looks are after 2, 4 … of them.
        others: trials of other configurations of the same run, each measured twice or more; their spread helps to
            estimate how much a trial varies here.

    Raises:
        RooftuneError: a side has no trial with this metric.
    """
    one, two = arm(a, metric), arm(b, metric)
    if len(one) == 0 or len(two) == 0:
        raise RooftuneError(f"{metric} was not measured on both sides, so it cannot be compared.")
    spare = [arm(side, metric) for side in others]
    return compare_arms(
        one, two, metric, candidates=candidates, smallest_effect=smallest_effect, error_rate=error_rate,
        most_trials=most_trials, others=[s for s in spare if len(s) > 1],
    )  # fmt: skip


def arm(trials: Sequence[TrialResult], metric: str) -> Arm:
    """One side of a comparison: its trials that have the metric."""
    kept = [t for t in trials if t.metrics.get(metric, 0.0) > 0]
    blocks = [t.jackknife.get(metric) for t in kept]
    return Arm(
        logs=np.log([t.metrics[metric] for t in kept]) if kept else np.empty(0),
        seeds=tuple(t.seed for t in kept),
        positions=np.array([t.position for t in kept], dtype=np.float64),
        jackknife=tuple(np.asarray(x, dtype=np.float64) if x else None for x in blocks),
        simulated=bool(kept) and all(t.simulated for t in kept),
    )


def compare_arms(
    a: Arm,
    b: Arm,
    metric: str,
    *,
    candidates: int = 1,
    smallest_effect: float = SMALLEST_EFFECT,
    error_rate: float = 0.05,
    most_trials: int = MOST_TRIALS,
    others: Sequence[Arm] = (),
) -> Comparison:
    """The comparison of :func:`compare`, on plain numbers."""
    found = fit(a, b)
    together = fit(a, b, others) if others else None
    prior = SIMULATED if a.simulated and b.simulated else REAL
    expected = prior.of(metric) ** 2 + within_variance(a, b, found.paired)
    trial = moderated(found, expected, prior.freedom, together)
    error = math.sqrt(found.scale * trial.variance)
    look = decision_level(min(len(a), len(b)), error_rate / max(candidates, 1), most_trials)
    sign = -1.0 if lower_is_better(metric) else 1.0
    shown = SHOWN if min(len(a), len(b)) <= FIRST_LOOK else SHOWN_LATER
    half, decides = (t_quantile(p / 2, round(trial.freedom, 1)) * error for p in (shown, look))
    narrow = t_quantile(EQUIVALENCE, round(trial.freedom, 1)) * error
    bound = math.log1p(smallest_effect)
    enough = min(len(a), len(b)) >= 2
    conclusion = _conclusion(sign * found.difference, decides, narrow, bound) if enough else ONE_TRIAL
    more = 0
    if conclusion.answer == "more trials needed":
        final = t_quantile(decision_level(most_trials, error_rate / max(candidates, 1), most_trials) / 2, 10.0)
        more = _more(found.difference, trial.variance, bound, final, min(len(a), len(b)))
    return Comparison(
        metric=metric,
        direction="lower" if sign < 0 else "higher",
        estimate=math.exp(found.difference),
        low=math.exp(found.difference - half),
        high=math.exp(found.difference + half),
        answer=conclusion.answer,
        reason=conclusion.reason,
        trials_a=len(a),
        trials_b=len(b),
        more_trials=more,
        decision_low=math.exp(found.difference - decides),
        decision_high=math.exp(found.difference + decides),
        decision_level=1 - look,
        spread=math.sqrt(trial.variance),
        paired=found.paired,
    )


def decision_level(trials: int, error_rate: float, most_trials: int = MOST_TRIALS) -> float:
    """Two-sided significance level of the look after this many trials per side; of the next look for an odd number."""
    looks = tuple(n for n in range(2, most_trials + 1, 2)) or (most_trials,)
    if looks[-1] != most_trials:
        looks = (*looks, most_trials)
    levels = look_levels(looks, error_rate)
    return next((level for n, level in zip(looks, levels, strict=True) if trials <= n), levels[-1])


def within_variance(a: Arm, b: Arm, paired: bool) -> float:
    """Variance of one trial's logarithm by the jackknife over blocks; for paired sides, of their difference only."""
    if paired:
        match = dict(zip(b.seeds, b.jackknife, strict=False))
        pairs = [(x, match.get(s)) for s, x in zip(a.seeds, a.jackknife, strict=False)]
        found = [_jackknife(x - z) / 2 for x, z in pairs if x is not None and z is not None and len(x) == len(z)]
    else:
        found = [_jackknife(x) for x in (*a.jackknife, *b.jackknife) if x is not None]
    return float(np.mean(found)) if found else 0.0


def _jackknife(values: Floats) -> float:
    m = len(values)
    return (m - 1) / m * float(((values - values.mean()) ** 2).sum()) if m > 1 else 0.0


def moderated(
    found: LeastSquaresFit, expected: float, trust: float, together: LeastSquaresFit | None = None
) -> TrialVariance:
    """Variance of a trial, from residuals, expectation and other configurations.

    ``trust`` is the weight of the expectation in degrees of freedom.
    ``together`` is the fit with the other configurations of the run; what it has more than ``found`` is theirs. The
    more they contribute, the less weight the expectation from elsewhere has.
    """
    squares, freedom = found.squares, float(found.freedom)
    if together is not None and together.freedom > found.freedom:
        own = max(together.squares - found.squares, 0.0)
        more = together.freedom - found.freedom
        weight = min(1.0, OTHERS_FREEDOM / more)
        squares, freedom = squares + weight * own, freedom + weight * more
        trust = max(trust - more, LEAST_TRUST)
    return TrialVariance((squares + trust * expected) / (freedom + trust), freedom + trust)


def _conclusion(gain: float, decides: float, narrow: float, bound: float) -> Conclusion:
    """The conclusion from the gain (positive = better) and the half widths of the intervals."""
    if gain - decides > 0 and gain >= bound:
        return Conclusion("better", "the whole deciding interval is above no change")
    if gain + decides < 0 and gain <= -bound:
        return Conclusion("worse", "the whole deciding interval is below no change")
    share = number(100 * math.expm1(bound))
    if gain + narrow < bound and gain - narrow > -bound:
        return Conclusion(
            "no measurable difference",
            f"the difference is smaller than {share} %, the smallest effect that matters",
        )
    return Conclusion(
        "more trials needed", f"the interval still includes both no change and differences above {share} %"
    )


def _more(difference: float, variance: float, bound: float, final: float, done: int) -> int:
    """About how many more trials per side are needed if the difference and the spread stay as they are now."""
    size = abs(difference)
    if size >= bound:
        needed = 2 * variance * (final / size) ** 2
    else:
        needed = 2 * variance * (t_quantile(EQUIVALENCE, 10.0) / max(bound - size, bound / 4)) ** 2
    return max(math.ceil(needed) - done, 1)
