"""What every method did on one case, and what falls short of what is asked of the search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.tuning.bench import Bench
from benchmarks.tuning.cases import Case
from benchmarks.tuning.methods import Run

WITHIN = 0.03
SHARE_WITHIN = 15 / 16
OF_GRID, OF_TPE = 0.15, 1 / 3
CONFIRMED_LOSS = 0.01
"""A recommendation this much below the baseline is worse than the baseline; less is noise of the table."""


@dataclass(frozen=True)
class Result:
    """All runs of one case with one draw of the noise."""

    case: Case
    bench: Bench
    runs: dict[str, Run]

    @property
    def ours(self) -> Run:
        """The guided search."""
        return self.runs["guided"]

    @property
    def regret(self) -> float:
        """Of what ours recommends after its confirmation."""
        return self.bench.regret(self.ours.recommended)

    @property
    def of_grid(self) -> float:
        """Our minutes, the confirmation included, over those of the grid."""
        return (self.ours.minutes + self.ours.confirmation_minutes) / self.runs["grid"].minutes

    @property
    def target(self) -> float:
        """The regret that TPE has to reach: ours, or 3 % where ours is better."""
        return max(self.bench.regret(self.ours.points[-1].option), WITHIN)

    @property
    def our_minutes(self) -> float:
        """Minutes of ours from which on it keeps that regret."""
        return self.ours.minutes_to(self.target)

    @property
    def tpe_minutes(self) -> float:
        """The same of TPE; a run that never gets there is credited with all its minutes."""
        return min(self.runs["tpe"].minutes_to(self.target), self.runs["tpe"].minutes)


def summary(results: Sequence[Result]) -> tuple[str, list[str]]:
    """The figures that are asked for, in a sentence, and what falls short."""
    short = []
    within = float(np.mean([result.regret <= WITHIN for result in results]))
    if within < SHARE_WITHIN:
        short.append(f"{within:.1%} of the runs end within {WITHIN:.0%} of the optimum, fewer than {SHARE_WITHIN:.1%}")
    of_grid = max(result.of_grid for result in results)
    if of_grid > OF_GRID:
        short.append(f"a search takes {of_grid:.0%} of the grid's minutes, more than {OF_GRID:.0%}")
    tpe = sum(r.tpe_minutes for r in results)
    of_tpe = sum(r.our_minutes for r in results) / tpe
    until_stop = sum(r.ours.minutes for r in results) / tpe
    if of_tpe > OF_TPE:
        short.append(f"ours takes {of_tpe:.0%} of TPE's minutes to the same regret, more than {OF_TPE:.0%}")
    lost = worse(results)
    short += [f"{r.case.name}, seed {r.bench.seed}: the recommendation is worse than the baseline" for r in lost]
    words = (
        f"{within:.1%} of the runs end within {WITHIN:.0%} of the optimum. A search with its confirmation takes at "
        f"most {of_grid:.1%} of the grid's minutes. It takes {of_tpe:.0%} of TPE's minutes to the same regret, and "
        f"{until_stop:.0%} of them until it stops by itself. {len(lost)} recommendations are worse than the baseline."
    )
    return words, short


def missed(results: Sequence[Result]) -> list[str]:
    """What falls short on truths held back."""
    within = float(np.mean([result.regret <= WITHIN for result in results]))
    if within >= SHARE_WITHIN:
        return []
    return [
        f"held back: {within:.1%} of the runs end within {WITHIN:.0%} of the optimum, fewer than {SHARE_WITHIN:.1%}"
    ]


def worse(results: Sequence[Result]) -> list[Result]:
    """Where the recommendation is worse than the baseline."""
    return [
        r
        for r in results
        if r.bench.truth[r.ours.recommended] < r.bench.truth[r.bench.problem.baseline] - CONFIRMED_LOSS
    ]
