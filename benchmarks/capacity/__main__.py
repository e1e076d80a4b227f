"""How far measured capacities can be trusted, and what they cost. Exits with 1 if a goal is missed.

    python -m benchmarks.capacity [--repeats 5] [--peers 15] [--truths 4] [--processes N] [--seed N]

Eight configurations on simulated servers whose bandwidth, arithmetic and overall speed differ from the reference's, so
that its shape is wrong too, with each kind of noise of benchmarks.validity (drift of a cold card, slow blocks, stalls,
differences from start to start). The truth is a run of 100,000 requests with the same noise. Goals: 95 % intervals
cover 93 to 97 %, overall and, within two standard errors, by kind of noise; the median error is at most 3 %; and for
the same error our measurement takes less than half of the load seconds of the best of the other recipes.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from multiprocessing import get_context
from statistics import median

from benchmarks.capacity.cases import CASES
from benchmarks.capacity.experiments import PROBE_SECONDS, CaseResult, Ours, Size, Theirs, measure_case, rms
from benchmarks.capacity.peers import RECIPES

COVERED = (0.93, 0.97)
MEDIAN_ERROR = 0.03
SHARE_OF_LOAD = 0.5


def main() -> int:
    """Entry point."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--repeats", type=int, default=5, help="measurements of ours per server and kind of noise")
    p.add_argument("--peers", type=int, default=15, help="measurements per other recipe and length of its probes")
    p.add_argument("--truths", type=int, default=4, help="servers per case")
    p.add_argument("--processes", type=int, default=os.cpu_count())
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--cases", type=lambda text: [int(x) for x in text.split(",")], default=list(range(len(CASES))))
    asked = p.parse_args()
    size, began = Size(asked.truths, asked.repeats, asked.peers, asked.seed), time.perf_counter()
    with ProcessPoolExecutor(asked.processes, mp_context=get_context("spawn")) as pool:
        results = list(pool.map(partial(measure_case, size=size), asked.cases))
    ours = [row for r in results for row in r.ours]
    missed = _coverage(ours) + (_costs(ours, results) if asked.peers else [])
    print(f"\n{time.perf_counter() - began:.0f} s with {asked.processes} processes")
    for sentence in missed:
        print(f"MISSED: {sentence}")
    print("Goal met." if not missed else f"goals missed: {len(missed)}")
    return 1 if missed else 0


def _coverage(ours: Sequence[Ours]) -> list[str]:
    """Prints what our measurements gave; returns the goals missed."""
    columns = "| | measurements | covered | median error | rms error | half width | load, s | steps |"
    print(f"\n1. 95 % intervals of the capacity (simulated)\n\n{columns}\n|---|---:|---:|---:|---:|---:|---:|---:|")
    for name in dict.fromkeys(row.case for row in ours):
        _line(name, [row for row in ours if row.case == name])
    for name in dict.fromkeys(row.noise for row in ours):
        _line(f"noise: {name}", [row for row in ours if row.noise == name])
    _line("all", ours)
    missed = _outside("all", ours, 0.0)
    for name in dict.fromkeys(row.noise for row in ours):
        missed += _outside(name, [row for row in ours if row.noise == name], 2.0)
    off = median(abs(math.expm1(row.error)) for row in ours)
    if off > MEDIAN_ERROR:
        missed.append(f"the median error is {off:.1%}, the goal {MEDIAN_ERROR:.0%}")
    return missed


def _line(name: str, rows: Sequence[Ours]) -> None:
    covered = sum(row.covered for row in rows) / len(rows)
    off = median(abs(math.expm1(row.error)) for row in rows)

    def mean(value: Callable[[Ours], float]) -> float:
        return sum(map(value, rows)) / len(rows)

    print(
        f"| {name} | {len(rows)} | {covered:.1%} | {off:.1%} | {rms([r.error for r in rows]):.1%} | "
        f"{mean(lambda r: r.half):.1%} | {mean(lambda r: r.load_s):,.0f} | {mean(lambda r: r.steps):.1f} |"
    )


def _outside(name: str, rows: Sequence[Ours], errors: float) -> list[str]:
    """The goal of coverage, if these rows miss it by more than that many standard errors."""
    covered = sum(row.covered for row in rows) / len(rows)
    slack = errors * math.sqrt(0.95 * 0.05 / len(rows))
    if COVERED[0] - slack <= covered <= COVERED[1] + slack:
        return []
    return [f"{name}: intervals cover {covered:.1%}, the goal is {COVERED[0]:.0%} to {COVERED[1]:.0%}"]


def _costs(ours: Sequence[Ours], results: Sequence[CaseResult]) -> list[str]:
    """Prints the other recipes by the length of their probes, and their load at our error; returns the goal missed."""
    theirs = [row for r in results for row in r.theirs]
    error, load = rms([row.error for row in ours]), sum(row.load_s for row in ours) / len(ours)
    print("\n2. Load seconds and error, means over all cases (simulated)\n")
    print("| recipe | probe, s | rms error | load, s |\n|---|---:|---:|---:|")
    print(f"| rooftune capacity | | {error:.1%} | {load:,.0f} |")
    least = math.inf
    for recipe in RECIPES:
        points = [_point([r for r in theirs if r.recipe == recipe and r.probe_s == s]) for s in PROBE_SECONDS]
        for seconds, point in zip(PROBE_SECONDS, points, strict=True):
            print(f"| {recipe} | {seconds:.0f} | {point.error:.1%} | {point.load_s:,.0f} |")
        same = _load_at(error, points)
        least = min(least, same)
        print(f"| {recipe}, at our error | | {error:.1%} | {_seconds(same)} |")
    if math.isinf(least):
        print(f"\nNone of the others reaches our error with probes of up to {PROBE_SECONDS[-1]:,.0f} s.")
        return []
    share = load / least
    print(f"\nOurs / best of the others at the same error: {share:.0%} of the load (goal: below {SHARE_OF_LOAD:.0%}).")
    return [] if share < SHARE_OF_LOAD else [f"{share:.0%} of the others' load, the goal is {SHARE_OF_LOAD:.0%}"]


@dataclass(frozen=True)
class Point:
    """What probes of one length give."""

    error: float
    load_s: float


def _point(rows: Sequence[Theirs]) -> Point:
    return Point(rms([row.error for row in rows]), sum(row.load_s for row in rows) / len(rows))


def _load_at(error: float, points: Sequence[Point]) -> float:
    """Load seconds at which a recipe has this error, between its measured points on logarithms; infinity if never."""
    if points[0].error <= error:
        return points[0].load_s
    for short, long in pairwise(points):
        if long.error <= error:
            part = math.log(short.error / error) / math.log(short.error / long.error)
            return short.load_s * math.exp(part * math.log(long.load_s / short.load_s))
    return math.inf


def _seconds(load: float) -> str:
    return f"{load:,.0f}" if math.isfinite(load) else f"never within probes of {PROBE_SECONDS[-1]:,.0f} s"


if __name__ == "__main__":
    sys.exit(main())
