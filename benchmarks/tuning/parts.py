"""What each part of the search is worth: the same cases without it. About half a minute on an idle core.

python -m benchmarks.tuning.parts [--seeds N]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import mean

from benchmarks.tuning.bench import bench_of
from benchmarks.tuning.cases import CASES
from benchmarks.tuning.methods import Run, guided
from benchmarks.tuning.results import WITHIN
from benchmarks.tuning.tables import table
from rooftune.search.options import ErrorSizes, Option, Problem

MOST_TRIALS = 80
LARGER = {"slope": 0.02, "level": 0.02, "residual": 0.01}


@dataclass(frozen=True)
class Part:
    """A change of the search."""

    name: str
    changed: Callable[[Problem], Problem]


@dataclass(frozen=True)
class Ended:
    """One search, after its confirmation."""

    run: Run
    regret: float


def main(arguments: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--seeds", type=int, default=6, help="draws of all noise per case")
    seeds = range(parser.parse_args(arguments).seeds)
    benches = [bench_of(case, table(case), 0) for case in CASES]
    drawn = [bench.with_seed(seed) for bench in benches for seed in seeds]
    print(f"| search | trials | minutes | within {WITHIN:.0%} | regret: mean, worst |\n|---|---:|---:|---:|---|")
    for part in PARTS:
        found = []
        for bench in drawn:
            run = guided(bench, part.changed(bench.problem), part.name, MOST_TRIALS)
            found.append(Ended(run, bench.regret(run.recommended)))
        cells = [
            f"{mean(e.run.trials for e in found):.1f}",
            f"{mean(e.run.minutes for e in found):.0f}",
            f"{mean(e.regret <= WITHIN for e in found):.1%}",
            f"{mean(e.regret for e in found):.2%}, {max(e.regret for e in found):.1%}",
        ]
        print(f"| {part.name} | " + " | ".join(cells) + " |", flush=True)
    return 0


def _each(problem: Problem, change: Callable[[Option], Option]) -> Problem:
    return replace(problem, options=tuple(change(option) for option in problem.options))


def _larger_errors(problem: Problem) -> Problem:
    sizes: ErrorSizes = replace(problem.sizes, **LARGER)
    return replace(problem, sizes=sizes)


def _patient(problem: Problem) -> Problem:
    found = _larger_errors(problem)
    return replace(found, rules=replace(found.rules, real_chance=0.03))


def _as_found(problem: Problem) -> Problem:
    return replace(problem, rules=replace(problem.rules, negligible=0.0))


PARTS = (
    Part("as it is", lambda problem: problem),
    Part("without slopes with the speed", lambda problem: _each(problem, lambda o: replace(o, speed_slope=1.0))),
    Part("errors of knobs and of single configurations larger", _larger_errors),
    Part("and a chance of 3 % keeps it going", _patient),
    Part("no change is left out", _as_found),
    Part(
        "no rule for behaviour beyond the capacity", lambda problem: _each(problem, lambda o: replace(o, beyond=None))
    ),
)

if __name__ == "__main__":
    sys.exit(main())
