"""Tables of real trials as the truth: trials to within 3 % of the best of a group that one would choose between.

The groups are those of benchmarks/trials: the same GPU, model, workload, concurrency and engine version. The measured
throughput is the truth, and noise is added to it. The predictions are the simulator's with constants that were fitted
without that GPU (``data/trial_predictions.json``, written by ``--predict-trials``).
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

import numpy as np

from benchmarks.trials.records import Trial, measured
from benchmarks.tuning.bench import START_S, STATED_WITHIN_90, Bench
from benchmarks.tuning.methods import Run, black_box, guided
from rooftune.search.options import ErrorSizes, Option, Problem, Rules

PREDICTIONS = Path(__file__).parent / "data" / "trial_predictions.json"
WITHIN = 0.03
LEAST = 4
"""Configurations of a group."""
SEEDS = range(4)


def real_trials() -> list[str]:
    """Print the trials that each method takes; what falls short."""
    taken: dict[str, list[float]] = {}
    benches = [group.with_seed(seed) for group in groups() for seed in SEEDS]
    for bench in benches:
        whole = len(bench.problem.options)
        runs = {
            "ours": guided(bench, bench.problem, "ours", whole),
            "random": black_box(bench, "random", whole),
            "TPE (Optuna)": black_box(bench, "tpe", whole),
            "staged": black_box(bench, "staged", whole),
        }
        for name, run in runs.items():
            taken.setdefault(name, []).append(trials_to(run, whole))
    sizes = [len(bench.problem.options) for bench in benches]
    print(
        f"{len(groups())} groups of real trials, {min(sizes)} to {max(sizes)} configurations each; the throughput is "
        "measured\n"
    )
    print(
        f"| method | trials until it stays within {WITHIN:.0%} of the group's best: mean | after the baseline alone |"
    )
    print("|---|---:|---:|")
    for name, found in taken.items():
        print(f"| {name} | {mean(found):.2f} | {np.mean([f <= 1 for f in found]):.0%} |")
    print()
    best = min(mean(found) for name, found in taken.items() if name != "ours")
    ours = mean(taken["ours"])
    return [f"real trials: ours takes {ours:.2f} trials, another {best:.2f}"] if ours > best else []


def trials_to(run: Run, whole: int) -> float:
    """Trials from which on what the method would recommend stays within 3 % of the best; all of them and one more where
    it never does."""
    outside = [i for i, point in enumerate(run.points) if point.regret > WITHIN]
    last = outside[-1] if outside else -1
    return float(last + 2) if last + 1 < len(run.points) else float(whole + 1)


def groups() -> list[Bench]:
    """The groups with enough different configurations."""
    predicted = json.loads(PREDICTIONS.read_text(encoding="utf-8"))
    by_group: dict[str, dict[str, Trial]] = {}
    for trial in measured():
        by_group.setdefault(trial.group, {}).setdefault(key(trial), trial)
    found = []
    for name, trials in sorted(by_group.items()):
        if len(trials) < LEAST:
            continue
        options = tuple(_option(t, math.log(predicted[f"{name} {key(t)}"])) for t in trials.values())
        baseline = next((o.id for o in options if o.knobs["weights"] == "bf16"), options[0].id)
        truth = {key(t): math.log(t.tok_s or 1.0) for t in trials.values()}
        sizes = ErrorSizes.of_band(STATED_WITHIN_90)
        problem = Problem(options, baseline, "output_throughput", sizes=sizes, rules=Rules(seed=0))
        found.append(Bench(name, problem, truth, 0))
    return found


def key(trial: Trial) -> str:
    """The configuration of a trial."""
    return f"{trial.quant} {json.dumps(trial.flags, sort_keys=True)}"


def _option(trial: Trial, predicted_log: float) -> Option:
    return Option(
        id=key(trial),
        knobs={
            "weights": trial.quant,
            "kv_cache_dtype": trial.kv_dtype,
            "max_num_seqs": trial.max_num_seqs,
            "max_num_batched_tokens": trial.max_num_batched_tokens or "default",
            "max_model_len": trial.max_model_len,
            "attention_backend": trial.attention_backend or "default",
            "enable_prefix_caching": trial.prefix_cache,
        },
        predicted_log=predicted_log,
        families=(f"weights={trial.quant}", f"kv={trial.kv_dtype}", f"attention={trial.attention_backend}"),
        start_s=START_S,
    )


def predict_trials(trials: Sequence[Trial] | None = None) -> None:
    """Write the predictions: the constants are fitted again without each GPU, which takes minutes."""
    from benchmarks.trials.fitting import held_back_predictions

    found: dict[str, float] = {}
    for rows in held_back_predictions(list(trials or measured()), lambda trial: trial.gpu).values():
        for trial, figures in rows:
            found[f"{trial.group} {key(trial)}"] = round(figures.tok_s, 2)
    PREDICTIONS.write_text(json.dumps(found, indent=0, sort_keys=True) + "\n", encoding="utf-8")
