"""A simulated bench: trials of a case's truth with noise, drift and differences between starts, and what they cost."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from benchmarks.tuning.cases import Case
from benchmarks.tuning.truth import MODEL_SEED, Floats, Table
from rooftune.knobs.configuration import KnobValue
from rooftune.search.beyond import beyond_capacity
from rooftune.search.options import Beyond, ErrorSizes, Option, Outcome, Problem, Purpose, Rules
from rooftune.search.trial_cost import SLOWEST, LoadTime
from rooftune.simulator.virtual.capacity import sample
from rooftune.simulator.virtual.predict import engine_of
from rooftune.tuning.guided.predicted_space import BEHAVIOUR_REQUESTS, MOST_TIED, TIED
from rooftune.tuning.guided.search_plan import WITHOUT_MODEL

START_S = 90.0
"""A start of a real server on a GPU."""
LOAD = LoadTime(around_s=40.0, window_s=90.0, requests=400)
"""The load of a capacity trial: 90 s are judged, and 400 requests at least."""
TRIAL, BETWEEN_STARTS = 0.025, 0.01
"""Standard deviation of ln(capacity) within a trial, and from start to start."""
DRIFT_PER_TRIAL, WALK = 0.0005, 0.002
"""Standard deviation of the slope of a steady drift, and of the step of a random walk, from trial to trial."""
LONGEST = 1_000
STATED_WITHIN_90 = 0.17
"""The error that rooftune quotes for throughput: 90 % of the predictions held back stay within it."""
RISKY = frozenset({"quantization", "kv_cache_dtype", "gpu_memory_utilization"})
"""Flags of the cases that change the answers or take memory."""
LOST = -5.0
"""ln(capacity) that stands for a baseline which keeps the SLO at no rate."""


@dataclass(frozen=True)
class Bench:
    """A search problem whose truth is known, with one draw of all noise."""

    name: str
    problem: Problem
    truth: Mapping[str, float]
    """True ln(objective) by option; −inf = does not start. It may hold configurations that the model rules out."""
    seed: int

    @cached_property
    def best(self) -> float:
        """The true optimum."""
        return max(self.truth.values())

    def with_seed(self, seed: int) -> Bench:
        """The same with other noise, and another seed of the search."""
        problem = replace(self.problem, rules=replace(self.problem.rules, seed=seed))
        return Bench(self.name, problem, self.truth, seed)

    def without_simulator(self) -> Problem:
        """The problem as ``optimize`` poses it without predictions: families and knobs are known, what they do is not.
        Every option starts from the same value and costs the same."""
        base = self.truth[self.problem.baseline]
        level = base if np.isfinite(base) else 0.0
        load_s = LOAD.around_s + LOAD.window_s
        flat = tuple(
            replace(option, predicted_log=level, speed_slope=1.0, beyond=None, load_s=load_s)
            for option in self.problem.options
        )
        return replace(self.problem, options=flat, sizes=WITHOUT_MODEL)

    @cached_property
    def _drift(self) -> Floats:
        rng = self._rng(0)
        steps = np.cumsum(WALK * rng.standard_normal(LONGEST))
        return np.asarray(steps + DRIFT_PER_TRIAL * rng.standard_normal() * np.arange(LONGEST))

    def _rng(self, *more: int) -> np.random.Generator:
        return np.random.default_rng([zlib.crc32(self.name.encode()), self.seed, *more])

    def trial(self, option: str, before: Sequence[Outcome], purpose: Purpose = "search", seed: int = 0) -> Outcome:
        """Run a trial after those ``before``."""
        value, position = self.truth[option], len(before)
        if not np.isfinite(value):
            return Outcome(option, None, TRIAL, START_S, "the server did not start", purpose, seed)
        noise = self._rng(1, position).standard_normal(2) @ np.array([TRIAL, BETWEEN_STARTS])
        measured = value + float(noise) + float(self._drift[position % LONGEST])
        seconds = START_S + LOAD.seconds(math.exp(_loaded_at(value, before, purpose)))
        return Outcome(option, measured, TRIAL, seconds, "", purpose, seed)

    def regret(self, option: str) -> float:
        """Share of the true optimum that an option loses."""
        value = self.truth[option]
        return 1 - math.exp(value - self.best) if np.isfinite(value) else 1.0


def _loaded_at(value: float, before: Sequence[Outcome], purpose: Purpose) -> float:
    """Logarithm of the rate of a trial's load: the capacity, or near the incumbent's where that is much higher."""
    best = max((o.log_value for o in before if o.log_value is not None), default=value)
    return max(value, best + math.log(SLOWEST)) if purpose == "search" else value


def bench_of(case: Case, table: Table, seed: int) -> Bench:
    """A case as rooftune poses it: what the model rules out is not among the options."""
    truth = {name_of(k): float(v) for k, v in zip(table.configurations, table.truth, strict=True)}
    options = _options(case, table)
    sizes = ErrorSizes.of_band(STATED_WITHIN_90)
    problem = Problem(options, options[0].id, sizes=sizes, rules=Rules(seed=seed), risky=RISKY)
    return Bench(case.name, problem, truth, seed)


def name_of(knobs: Mapping[str, KnobValue]) -> str:
    """The id of an option."""
    return " ".join(str(value) for value in knobs.values())


def _options(case: Case, table: Table) -> tuple[Option, ...]:
    predicted = np.where(np.isfinite(table.predicted), table.predicted, LOST)
    kept = [i for i, value in enumerate(table.predicted) if i == 0 or np.isfinite(value)]
    beyond = _beyond(case, table)
    whole = LOAD.seconds(math.exp(table.predicted.max()))
    factors = LOAD.factors(np.exp(table.predicted[kept]).tolist())
    return tuple(
        _option(table.configurations[i], float(predicted[i]), float(table.slopes[i]), beyond.get(i), whole * factor)
        for i, factor in zip(kept, factors, strict=True)
    )


def _beyond(case: Case, table: Table) -> dict[int, Beyond]:
    """How the configurations that are predicted best behave beyond their capacity, by the model."""
    if case.objective != "capacity":
        return {}
    drawn = sample(case.task, BEHAVIOUR_REQUESTS, MODEL_SEED)
    near = np.flatnonzero(table.predicted >= table.predicted.max() + math.log(TIED))
    found = {}
    for i in sorted(near, key=lambda i: -table.predicted[i])[:MOST_TIED]:
        flags = case.flags_of(table.configurations[i])
        engine = engine_of(case.gpu, case.model, case.version, flags, longest_request=drawn.plan.longest_request)
        found[int(i)] = beyond_capacity(engine, drawn, math.exp(table.predicted[i]))
    return found


def _option(
    knobs: Mapping[str, KnobValue], predicted_log: float, speed_slope: float, beyond: Beyond | None, load_s: float
) -> Option:
    weights, kv = f"weights={knobs['quantization']}", f"kv={knobs['kv_cache_dtype']}"
    eager = f"eager={knobs['enforce_eager']}"
    return Option(
        id=name_of(knobs),
        knobs=knobs,
        predicted_log=predicted_log,
        speed_slope=speed_slope,
        beyond=beyond,
        families=(weights, kv, f"{weights} {kv}", eager),
        start_s=START_S,
        load_s=load_s,
        changes_outputs=weights != "weights=none" or kv != "kv=auto",
    )
