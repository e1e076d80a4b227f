"""The simulator against 254 real trials of vLLM on rented GPUs. Exits 1 when it falls short of what is asked of it.

    python -m benchmarks.trials [--hold-back] [--lines] [--write-errors]

Throughput, time per token, time to the first token and KV cache of each trial; the order of configurations; what
taking the first-ranked one loses; what speculative decoding gains. ``--hold-back`` fits the constants again without
each GPU and each model (minutes) and judges what was left out. All predictions are simulated; benchmarks/trials/data
names the source of the trials.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from benchmarks.trials.prediction import Simulator, server_of
from benchmarks.trials.ranking import Judged, losses, order
from benchmarks.trials.records import Trial, measured, trials
from benchmarks.trials.speculation import Gain, gains

QUANTITIES = {"tok_s": "throughput", "tpot_ms": "TPOT", "ttft_p50_ms": "TTFT p50"}
MEDIAN_WITHIN = {"tok_s": 0.05, "tpot_ms": 0.04, "ttft_p50_ms": 0.20}
MOST_WITHIN = {"tok_s": 0.15, "tpot_ms": 0.12}
KV_MEDIAN, KV_WORST = 0.015, 0.08
LARGE_RIGHT, SMALL_RIGHT = 0.98, 0.75
MEAN_LOSS, WORST_LOSS = 0.01, 0.05
SIGN_RIGHT, GAIN_WITHIN = 0.90, 0.10


def main(arguments: list[str] | None = None) -> int:
    """Print the tables; 1 when something falls short."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--hold-back", action="store_true", help="fit again without each GPU and each model")
    parser.add_argument("--lines", action="store_true", help="print every trial")
    parser.add_argument("--write-errors", action="store_true", help="write the errors that predict quotes")
    given = parser.parse_args(arguments)
    simulator = Simulator()
    judged = [Judged(t, simulator.predict(t)) for t in measured()]
    if given.lines:
        lines(judged)
    print(f"{len(judged)} trials without speculation, predicted by the constants that were fitted to them\n")
    short = [*errors(judged), *kv_tokens(), *ranks(judged), *speculation(simulator)]
    if given.hold_back or given.write_errors:
        from benchmarks.trials.held_back import hold_back

        hold_back(write=given.write_errors)
    for line in short:
        print(f"FALLS SHORT: {line}", file=sys.stderr)
    print("\n" + ("falls short, see above" if short else "all within what is asked"))
    return 1 if short else 0


def errors(judged: Sequence[Judged]) -> list[str]:
    """Errors by quantity, for all trials and by GPU, version, weights and model."""
    head = "| trials | number | " + " | ".join(f"{name}: median, 90 %, mean" for name in QUANTITIES.values()) + " |"
    print(head + "\n|---|---:|---|---|---|")
    for name, chosen in parts(judged):
        cells = [_spread([j.error(q) for j in chosen]) for q in QUANTITIES]
        print(f"| {name} | {len(chosen)} | " + " | ".join(cells) + " |")
    short = []
    for quantity, name in QUANTITIES.items():
        found = np.abs([j.error(quantity) for j in judged])
        if np.median(found) > MEDIAN_WITHIN[quantity]:
            short.append(f"{name}: median error {np.median(found):.1%}, more than {MEDIAN_WITHIN[quantity]:.0%}")
        if quantity in MOST_WITHIN and np.quantile(found, 0.9) > MOST_WITHIN[quantity]:
            short.append(f"{name}: 90 % within {np.quantile(found, 0.9):.1%}, more than {MOST_WITHIN[quantity]:.0%}")
    return short


def _spread(found: Sequence[float]) -> str:
    size = np.abs(found)
    return f"{np.median(size):.1%}, {np.quantile(size, 0.9):.1%}, {np.mean(found):+.1%}"


def parts(judged: Sequence[Judged]) -> list[tuple[str, list[Judged]]]:
    """All trials, then those of each GPU, version, kind of weights and model."""

    def by(key: Callable[[Trial], str]) -> list[tuple[str, list[Judged]]]:
        names = sorted({key(j.trial) for j in judged})
        return [(name, [j for j in judged if key(j.trial) == name]) for name in names]

    keys: tuple[Callable[[Trial], str], ...] = (
        lambda t: t.gpu,
        lambda t: f"vLLM {t.vllm_version}",
        lambda t: f"weights {t.quant}",
        lambda t: t.model,
        lambda t: f"KV cache {t.kv_dtype}",
    )
    return [("all", list(judged)), *(row for key in keys for row in by(key))]


def kv_tokens() -> list[str]:
    """Tokens of the KV cache against the logs, once for each configuration."""
    print("\n| KV cache tokens | logged | simulated | error |\n|---|---:|---:|---:|")
    found: dict[str, float] = {}
    for trial in trials():
        if trial.kv_tokens_logged is None or trial.failed:
            continue
        server = server_of(trial)
        budget = f"budget {trial.max_num_batched_tokens}" if trial.max_num_batched_tokens else ""
        what = f"{trial.gpu} vLLM {trial.vllm_version} {trial.model} {trial.quant} KV {trial.kv_dtype}"
        key = f"{what} len {trial.max_model_len} seqs {trial.max_num_seqs} {trial.spec or ''} {budget}".rstrip()
        if key not in found:
            found[key] = server.kv_tokens / trial.kv_tokens_logged - 1
            print(f"| {key} | {trial.kv_tokens_logged:,} | {server.kv_tokens:,} | {found[key]:+.1%} |")
    size = np.abs(list(found.values()))
    print(f"\nKV cache of {len(size)} configurations: median error {np.median(size):.1%}, worst {size.max():.1%}.")
    short = []
    if np.median(size) > KV_MEDIAN:
        short.append(f"KV tokens: median error {np.median(size):.1%}, more than {KV_MEDIAN:.1%}")
    if size.max() > KV_WORST:
        short.append(f"KV tokens: worst error {size.max():.1%}, more than {KV_WORST:.0%}")
    return short


def ranks(judged: Sequence[Judged]) -> list[str]:
    """The order of pairs in a group, and what the first-ranked one loses."""
    large, medium, small = order(judged, 0.3, 1e9), order(judged, 0.1, 0.3), order(judged, 0.03, 0.1)
    lost = losses(judged)
    print("\n| pairs of a group that differ by | number | in the right order |\n|---|---:|---:|")
    for name, found in (("more than 30 %", large), ("10 to 30 %", medium), ("3 to 10 %", small)):
        print(f"| {name} | {found.pairs} | {found.share:.1%} |")
    taken = f"{np.mean(lost):.1%} in the mean, {max(lost):.1%} at worst"
    print(f"\nThroughput lost by taking the first-ranked of {len(lost)} groups: {taken}.")
    short = []
    if medium.share < LARGE_RIGHT:
        short.append(f"pairs that differ by 10 to 30 %: {medium.share:.1%} in order, less than {LARGE_RIGHT:.0%}")
    if small.share < SMALL_RIGHT:
        short.append(f"pairs that differ by 3 to 10 %: {small.share:.1%} in order, less than {SMALL_RIGHT:.0%}")
    if np.mean(lost) > MEAN_LOSS:
        short.append(f"loss of the first-ranked: {np.mean(lost):.1%} in the mean, more than {MEAN_LOSS:.0%}")
    if max(lost) > WORST_LOSS:
        short.append(f"loss of the first-ranked: {max(lost):.1%} at worst, more than {WORST_LOSS:.0%}")
    return short


def speculation(simulator: Simulator) -> list[str]:
    """Gains of speculative decoding, given the acceptance that the times per token show."""
    own, pooled = gains(simulator), gains(simulator, pooled=True)
    print(
        "\n| speculation, acceptance | trials | right sign, where above 2 % | error of the gain: median, mean, 90 % |"
    )
    print("|---|---:|---:|---|")
    for name, found in (("of each trial", own), ("one for all concurrencies of a configuration", pooled)):
        size = np.abs([g.predicted - g.measured for g in found])
        sign, signed = _signs(found)
        cells = ", ".join(_points(float(v)) for v in (np.median(size), size.mean(), np.quantile(size, 0.9)))
        print(f"| {name} | {len(found)} | {sign:.0%} of {signed} | {cells} points |")
    size, sign = np.abs([g.predicted - g.measured for g in own]), _signs(own).share
    short = []
    if sign < SIGN_RIGHT:
        short.append(f"speculation: {sign:.0%} have the right sign, less than {SIGN_RIGHT:.0%}")
    if size.mean() > GAIN_WITHIN:
        short.append(f"speculation: the gain is {_points(size.mean())} points off, more than {_points(GAIN_WITHIN)}")
    return short


class Signs(NamedTuple):
    """Gains and losses above what repeated trials differ by, and the share that was predicted with the right sign."""

    share: float
    number: int


def _signs(found: Sequence[Gain]) -> Signs:
    signed = [g for g in found if g.has_sign]
    return Signs(float(np.mean([g.right_sign for g in signed])), len(signed))


def _points(share: float) -> str:
    return f"{100 * share:.1f}"


def lines(judged: Sequence[Judged]) -> None:
    """Every trial with its prediction."""
    print("| trial | tok/s | TPOT ms | TTFT ms |\n|---|---|---|---|")
    for j in judged:
        cells = [
            f"{getattr(j.trial, q):,.1f} {getattr(j.predicted, q):,.1f} {j.error(q):+.1%}"
            for q in ("tok_s", "tpot_ms", "ttft_p50_ms")
        ]
        print(f"| {j.trial.words} | " + " | ".join(cells) + " |")
    print()


if __name__ == "__main__":
    sys.exit(main())
