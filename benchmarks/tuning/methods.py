"""Every method on a bench: what it recommends after each trial, and the GPU minutes that it took until then."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.tuning.bench import START_S, TRIAL, Bench, name_of
from rooftune.search.black_box import best_measured, proposal
from rooftune.search.choice import chosen
from rooftune.search.explain import knobs_worth
from rooftune.search.gain import Outlook, chance_left
from rooftune.search.next_step import next_step
from rooftune.search.options import BlackBox, Outcome, Problem

AUTO_TUNE_SEQUENCES, AUTO_TUNE_BUDGETS = (128, 256), (512, 1024, 2048, 4096)
"""Default lists of vLLM's script auto_tune.sh."""
AUTO_TUNE_PROMPTS, AUTO_TUNE_FIRST_PROMPTS, AUTO_TUNE_PAUSE_S = 100, 1_000, 5.0
SHORT_RUN = 0.05
"""Standard deviation of ln(rate) at which 100 prompts seem to keep an SLO."""
ABOVE_CAPACITY = 1.2
"""Throughput of the first run, with all requests at once, over the capacity."""


@dataclass(frozen=True)
class Point:
    """What a method would recommend after a trial."""

    minutes: float
    option: str
    regret: float


@dataclass(frozen=True)
class StatedChance:
    """After a trial: the stated chance that something clearly better is left, and whether it was."""

    chance: float
    better_left: bool


@dataclass(frozen=True)
class Run:
    """A method on a bench."""

    method: str
    points: tuple[Point, ...]
    recommended: str
    """At the end; for ours after the confirmation."""
    confirmation_minutes: float = 0.0
    reason: str = ""
    knobs: str = ""
    """What each knob of the search's winner is worth, in words."""
    chances: tuple[StatedChance, ...] = ()

    @property
    def minutes(self) -> float:
        """GPU minutes of the search."""
        return self.points[-1].minutes

    @property
    def trials(self) -> int:
        """Trials of the search."""
        return len(self.points)

    def minutes_to(self, regret: float) -> float:
        """Minutes from which on what it would recommend loses at most this; infinite where that never lasts."""
        after = [i + 1 for i, point in enumerate(self.points) if point.regret > regret]
        first = after[-1] if after else 0
        return self.points[first].minutes if first < len(self.points) else math.inf


def guided(bench: Bench, problem: Problem, name: str, most: int) -> Run:
    """Our search, with its confirmation."""
    outcomes: list[Outcome] = []
    points: list[Point] = []
    chances: list[StatedChance] = []
    step = next_step(problem, outcomes)
    while step.next is not None and not (step.next.purpose == "search" and len(outcomes) >= most):
        asked = step.next
        outcomes.append(bench.trial(asked.option, outcomes, asked.purpose, asked.seed))
        step = next_step(problem, outcomes)
        if asked.purpose == "search":
            look = step.outlook
            best = problem.baseline if look.incumbent is None else problem.options[chosen(look)].id
            points.append(Point(_minutes(outcomes), best, bench.regret(best)))
            if look.incumbent is not None:
                chances.append(_stated(bench, look, look.incumbent))
    recommended = step.confirmation.recommended if step.confirmation else points[-1].option
    after = _minutes(outcomes) - points[-1].minutes
    reason = step.found.reason if step.found else step.reason
    worth = knobs_worth(step.outlook, step.found.winner) if step.found else ()
    return Run(name, tuple(points), recommended, after, reason, "; ".join(knob.words for knob in worth), tuple(chances))


def _stated(bench: Bench, look: Outlook, incumbent: int) -> StatedChance:
    options = look.problem.options
    left = max((bench.truth[options[i].id] for i in np.flatnonzero(look.open)), default=-math.inf)
    needed = bench.truth[options[incumbent].id] + math.log1p(look.problem.rules.smallest_effect)
    return StatedChance(chance_left(look), bool(left > needed))


def black_box(bench: Bench, method: BlackBox, most: int) -> Run:
    """A method that knows nothing of the model; the baseline comes first for all."""
    problem = bench.problem
    outcomes = [bench.trial(problem.baseline, [])]
    points: list[Point] = []
    while True:
        best = best_measured(problem, outcomes)
        points.append(Point(_minutes(outcomes), best, bench.regret(best)))
        option = proposal(problem, outcomes, method) if len(outcomes) < most else None
        if option is None:
            return Run(method, tuple(points), best)
        outcomes.append(bench.trial(option.id, outcomes))


def grid(bench: Bench) -> Run:
    """Every option once."""
    outcomes: list[Outcome] = []
    for option in bench.problem.options:
        outcomes.append(bench.trial(option.id, outcomes))
    best = best_measured(bench.problem, outcomes)
    return Run("grid", (Point(_minutes(outcomes), best, bench.regret(best)),), best)


def auto_tune(bench: Bench) -> Run:
    """vLLM's recipe: for each pair of limits a run with all requests at once, then lower and lower rates of 100 prompts
    until the SLO holds. Weights, KV type and graphs stay as they are."""
    base = bench.problem.option(bench.problem.baseline).knobs
    rng = np.random.default_rng([bench.seed, 77])
    seconds, best, best_rate = 0.0, bench.problem.baseline, 0.0
    points: list[Point] = []
    memory = max(float(option.knobs["gpu_memory_utilization"]) for option in bench.problem.options)
    for sequences in AUTO_TUNE_SEQUENCES:
        for budget in AUTO_TUNE_BUDGETS:
            limits = {"max_num_seqs": sequences, "max_num_batched_tokens": budget, "gpu_memory_utilization": memory}
            name = name_of({**base, **limits})
            seconds += START_S
            value = bench.truth.get(name, -math.inf)
            if np.isfinite(value):
                capacity = math.exp(value + SHORT_RUN * float(rng.standard_normal()))
                throughput = ABOVE_CAPACITY * math.exp(value + TRIAL * float(rng.standard_normal()))
                seconds += AUTO_TUNE_FIRST_PROMPTS / throughput
                rate = math.floor(throughput) + 1
                while rate > 0:
                    seconds += AUTO_TUNE_PAUSE_S + AUTO_TUNE_PROMPTS / min(rate, throughput)
                    if rate <= capacity:
                        break
                    rate -= 1
                if rate > best_rate:
                    best, best_rate = name, float(rate)
            points.append(Point(seconds / 60, best, bench.regret(best)))
    return Run("auto_tune.sh", tuple(points), best)


def all_runs(bench: Bench, most: int) -> dict[str, Run]:
    """Every method on one bench."""
    return {
        "guided": guided(bench, bench.problem, "guided", most),
        "without simulator": guided(bench, bench.without_simulator(), "without simulator", most),
        "tpe": black_box(bench, "tpe", most),
        "random": black_box(bench, "random", most),
        "staged": black_box(bench, "staged", most),
        "auto_tune.sh": auto_tune(bench),
        "grid": grid(bench),
    }


def _minutes(outcomes: Sequence[Outcome]) -> float:
    return sum(outcome.seconds for outcome in outcomes) / 60
