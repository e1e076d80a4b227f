"""Small search problems whose truth is known."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from rooftune.search.next_step import Step, next_step
from rooftune.search.options import Beyond, Option, Outcome, Problem, Purpose, Rules

WEIGHTS = ("none", "fp8", "awq")
KV = ("auto", "fp8")
SEQUENCES = (16, 32, 64, 128, 256)
BUDGETS = (512, 2048)
START_S, LOAD_S = 90.0, 180.0


def name_of(weights: str, kv: str, sequences: int, budget: int) -> str:
    return f"{weights}/{kv}/{sequences}/{budget}"


BASELINE = name_of("none", "auto", 256, 2048)


def predicted_log(weights: str, kv: str, sequences: int, budget: int) -> float:
    """A smooth landscape with its top at FP8 weights, FP8 KV, 128 sequences."""
    gain = {"none": 0.0, "fp8": 0.35, "awq": 0.2}[weights] + {"auto": 0.0, "fp8": 0.1}[kv]
    return gain - 0.08 * (math.log2(sequences) - 7) ** 2 - 0.02 * abs(math.log2(budget / 1024)) + 1.0


def options() -> tuple[Option, ...]:
    found = []
    for weights, kv, sequences, budget in itertools.product(WEIGHTS, KV, SEQUENCES, BUDGETS):
        found.append(
            Option(
                id=name_of(weights, kv, sequences, budget),
                knobs={
                    "quantization": weights,
                    "kv_cache_dtype": kv,
                    "max_num_seqs": sequences,
                    "max_num_batched_tokens": budget,
                },
                predicted_log=predicted_log(weights, kv, sequences, budget),
                families=(f"weights={weights}", f"kv={kv}"),
                changes_outputs=weights != "none" or kv != "auto",
                start_s=START_S,
                load_s=LOAD_S,
            )
        )
    return tuple(found)


def problem(**rules: object) -> Problem:
    return Problem(options(), BASELINE, rules=replace(Rules(), **rules), simulated=True)


def with_beyond(of: Problem, scores: Mapping[str, Beyond]) -> Problem:
    return replace(of, options=tuple(replace(o, beyond=scores.get(o.id)) for o in of.options))


@dataclass
class World:
    """What the trials of a problem would show."""

    truth: dict[str, float]
    noise: float = 0.02
    fails: frozenset[str] = frozenset()
    seed: int = 0

    def outcome(self, problem: Problem, option: str, purpose: Purpose, seed: int, position: int) -> Outcome:
        rng = np.random.default_rng([self.seed, position])
        if option in self.fails:
            return Outcome(option, None, 0.03, START_S, "out of memory", purpose, seed)
        value = self.truth[option] + self.noise * float(rng.standard_normal())
        return Outcome(
            option,
            value,
            error=max(self.noise, 1e-3),
            seconds=problem.option(option).seconds,
            purpose=purpose,
            seed=seed,
        )


def run(problem: Problem, world: World, most: int = 200) -> tuple[Step, list[Outcome]]:
    """The search from start to end."""
    outcomes: list[Outcome] = []
    for position in range(most):
        step = next_step(problem, outcomes)
        if step.next is None:
            return step, outcomes
        asked = step.next
        outcomes.append(world.outcome(problem, asked.option, asked.purpose, asked.seed, position))
    raise AssertionError("the search does not end")


def drawn_truth(of: Problem, seed: int, family: float = 0.1, residual: float = 0.01) -> dict[str, float]:
    """A truth that differs from the predictions by errors that families share."""
    rng = np.random.default_rng(seed)
    shared = {name: family * rng.standard_normal() for option in of.options for name in option.families}
    level = 0.1 * rng.standard_normal()
    return {
        o.id: o.predicted_log + level + sum(shared[f] for f in o.families) + residual * rng.standard_normal()
        for o in of.options
    }
