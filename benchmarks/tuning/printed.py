"""The tables of the benchmark, as docs/benchmarks.md has them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import mean, median

import numpy as np

from benchmarks.tuning.bench import STATED_WITHIN_90
from benchmarks.tuning.cases import Case
from benchmarks.tuning.results import WITHIN, Result
from benchmarks.tuning.tables import table

METHODS = ("guided", "without simulator", "tpe", "random", "staged", "auto_tune.sh", "grid")
LABELS = {"guided": "ours", "without simulator": "ours without the simulator", "tpe": "TPE (Optuna)"}
CHANCES = (0.0, 0.05, 0.10, 0.20, 0.40, 0.70, 1.0)


def truths(cases: Sequence[Case]) -> str:
    """How far each truth is from the model that the search uses."""
    rows = [
        "| case | options | error of ln(prediction): mean, sd | sd near the best | loss of the first-ranked |",
        "|---|---:|---|---:|---:|",
    ]
    absolute = []
    for case in cases:
        found = table(case)
        both = np.isfinite(found.predicted) & np.isfinite(found.truth)
        off = found.truth[both] - found.predicted[both]
        near = off[found.truth[both] > found.best + math.log(0.6)]
        first = 1 - math.exp(found.truth[int(np.argmax(found.predicted))] - found.best)
        absolute.append(np.abs(off))
        cells = f"{off.mean():+.3f}, {off.std():.3f} | {near.std():.3f} | {first:.1%}"
        rows.append(f"| {case.name} | {len(found.usable)} | {cells} |")
    within = float(np.quantile(np.concatenate(absolute), 0.9))
    stated = f"90 % of the predictions are within {within:.1%} of the truth (rooftune states {STATED_WITHIN_90:.0%})."
    return "\n".join([*rows, "", stated, ""])


def line(result: Result) -> str:
    """Progress."""
    ours = result.ours
    return (
        f"{result.case.name}, seed {result.bench.seed}: {ours.trials} trials, {ours.minutes:.0f} min, regret "
        f"{result.regret:.1%}; to the same regret {result.our_minutes:.0f} min, TPE {result.tpe_minutes:.0f} min"
    )


def per_case(results: Sequence[Result]) -> str:
    """Ours by case, mean of the draws."""
    rows = [
        "| case | gain of the optimum over the baseline | trials | minutes | of the grid's | regret: mean, worst "
        "| confirmation, min | to the same regret, min: ours, TPE |",
        "|---|---:|---:|---:|---:|---|---:|---|",
    ]
    for name in dict.fromkeys(result.case.name for result in results):
        of = [result for result in results if result.case.name == name]
        bench = of[0].bench
        base = bench.truth[bench.problem.baseline]
        minutes = mean(r.ours.minutes for r in of)
        cells = [
            f"{math.expm1(bench.best - base):+.0%}" if math.isfinite(base) else "no rate keeps its SLO",
            f"{mean(r.ours.trials for r in of):.0f}",
            f"{minutes:.0f}",
            f"{mean(r.of_grid for r in of):.1%}",
            f"{mean(r.regret for r in of):.1%}, {max(r.regret for r in of):.1%}",
            f"{mean(r.ours.confirmation_minutes for r in of):.0f}",
            f"{mean(r.our_minutes for r in of):.0f}, {mean(r.tpe_minutes for r in of):.0f}",
        ]
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"


def per_knob(results: Sequence[Result]) -> str:
    """What each knob of the winner is worth, for the first draw of each case."""
    rows = ["| case | what each knob of the winner is worth by the trials and the model |", "|---|---|"]
    rows += [f"| {r.case.name} | {r.ours.knobs or 'the baseline wins'} |" for r in results if r.bench.seed == 0]
    return "\n".join(rows) + "\n"


def per_method(results: Sequence[Result]) -> str:
    """Every method over all cases and draws."""
    rows = [
        f"| method | within {WITHIN:.0%} of the optimum | regret: mean, worst | minutes: median "
        f"| minutes to {WITHIN:.0%}: median | never got there |",
        "|---|---:|---|---:|---:|---:|",
    ]
    for method in METHODS:
        runs = [(result.bench, result.runs[method]) for result in results]
        regrets = [bench.regret(run.recommended) for bench, run in runs]
        reached = [run.minutes_to(WITHIN) for _, run in runs]
        middle = median(reached)
        cells = [
            f"{np.mean([r <= WITHIN for r in regrets]):.0%}",
            f"{mean(regrets):.1%}, {max(regrets):.1%}",
            f"{median(run.minutes for _, run in runs):,.0f}",
            f"{middle:,.0f}" if math.isfinite(middle) else "not reached",
            f"{np.mean(np.isinf(reached)):.0%}",
        ]
        rows.append(f"| {LABELS.get(method, method)} | " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"


def stated_chances(results: Sequence[Result]) -> str:
    """After each trial of ours: the stated chance that something clearly better is left, and how often it was."""
    found = [stated for result in results for stated in result.ours.chances]
    rows = [
        f"| stated chance that something {WITHIN:.0%} better is left | trials | stated, mean | it was left |",
        "|---|---:|---:|---:|",
    ]
    for low, high in pairwise(CHANCES):
        of = [s for s in found if low <= s.chance < high or s.chance == high == 1]
        if of:
            stated, was = mean(s.chance for s in of), mean(s.better_left for s in of)
            rows.append(f"| {low:.0%} to {high:.0%} | {len(of)} | {stated:.0%} | {was:.0%} |")
    return "\n".join(rows) + "\n"


def held_back(results: Sequence[Result]) -> str:
    """Ours on truths that were not looked at when its settings were chosen."""
    rows = ["| case | loss of the first-ranked | trials | minutes | regret: mean, worst |", "|---|---:|---:|---:|---|"]
    for name in dict.fromkeys(result.case.name for result in results):
        of = [result for result in results if result.case.name == name]
        first = max(of[0].bench.problem.options, key=lambda option: option.predicted_log).id
        cells = [
            f"{of[0].bench.regret(first):.1%}",
            f"{mean(r.ours.trials for r in of):.0f}",
            f"{mean(r.ours.minutes for r in of):.0f}",
            f"{mean(r.regret for r in of):.1%}, {max(r.regret for r in of):.1%}",
        ]
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"
