"""The search compared with black boxes: GPU minutes and regret on truths that differ from its model. Exits 1 on a
shortfall.

    python -m benchmarks.tuning [--seeds N] [--only TEXT] [--make-tables] [--skip-trials]

Each case is a space of more than 500 configurations whose true optimum is known from an exhaustive virtual search with
perturbed constants (truth.py). The tables of that search are in data/; ``--make-tables`` makes those that are missing.
Trials have noise, drift and differences between starts. A trial costs a start of 90 s, and a load that judges 90 s and
400 requests at least. The same is
asked of tables of real trials (real_tables.py), and of the rule for equal configurations (beyond_t4.py). Everything
here is simulated, except the real trials.
"""

from __future__ import annotations

import argparse
import sys

from benchmarks.tuning.bench import bench_of
from benchmarks.tuning.beyond_t4 import beyond_the_capacity
from benchmarks.tuning.cases import CASES, HELD_BACK, Case
from benchmarks.tuning.methods import all_runs, guided
from benchmarks.tuning.printed import held_back, line, per_case, per_knob, per_method, stated_chances, truths
from benchmarks.tuning.real_tables import predict_trials, real_trials
from benchmarks.tuning.results import Result, missed, summary
from benchmarks.tuning.tables import make_tables, table

MOST_TRIALS = 80
"""Trials of a search that nothing else ends; a method that needs more is credited with these."""


def main(arguments: list[str] | None = None) -> int:
    """Print the tables; 1 when something falls short."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--seeds", type=int, default=3, help="draws of all noise per case")
    parser.add_argument("--only", default="", help="cases whose name has this text")
    parser.add_argument("--make-tables", action="store_true", help="judge missing spaces (two minutes each) and stop")
    parser.add_argument("--predict-trials", action="store_true", help="predict the real trials again and stop")
    parser.add_argument("--skip-trials", action="store_true", help="leave out the tables of real trials")
    given = parser.parse_args(arguments)
    if given.make_tables:
        make_tables(only=given.only)
        return 0
    if given.predict_trials:
        predict_trials()
        return 0
    chosen = [case for case in CASES if given.only in case.name]
    if not chosen:
        parser.error(f"no case has {given.only!r} in its name; the cases are: {'; '.join(c.name for c in CASES)}")
    print(truths(chosen))
    results = [result for case in chosen for result in compared(case, given.seeds)]
    for text in (per_case(results), per_knob(results), per_method(results), stated_chances(results)):
        print(text)
    words, short = summary(results)
    print(f"{words}\n")
    apart = [result for case in HELD_BACK if given.only in case.name for result in ours_alone(case, given.seeds)]
    if apart:
        print(held_back(apart))
        short += missed(apart)
    short += beyond_the_capacity()
    if not given.skip_trials:
        short += real_trials()
    for text in short:
        print(f"FALLS SHORT: {text}", file=sys.stderr)
    print("falls short, see above" if short else "all goals are met")
    return 1 if short else 0


def compared(case: Case, seeds: int) -> list[Result]:
    """Every method on a case, for several draws of the noise."""
    bench = bench_of(case, table(case), 0)
    found = []
    for seed in range(seeds):
        drawn = bench.with_seed(seed)
        found.append(Result(case, drawn, all_runs(drawn, MOST_TRIALS)))
        print(line(found[-1]), file=sys.stderr, flush=True)
    return found


def ours_alone(case: Case, seeds: int) -> list[Result]:
    """Ours on a case, for several draws of the noise."""
    bench = bench_of(case, table(case), 0)
    drawn = [bench.with_seed(seed) for seed in range(seeds)]
    return [Result(case, b, {"guided": guided(b, b.problem, "guided", MOST_TRIALS)}) for b in drawn]


if __name__ == "__main__":
    sys.exit(main())
