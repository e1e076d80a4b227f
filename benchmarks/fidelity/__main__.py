"""How true the simulator is: measured against predicted. Exits 1 when it falls short of what is asked of it.

    python -m benchmarks.fidelity [--quick] [--no-vllm] [--figure docs/figures/fidelity.png]

1. One experiment on a T4: the server's own windows within 8 %, and the figures that its client published within 12 %, both
   from one simulation.
2. Public measurements of other GPUs: median error at most 10 %, none above 25 %; points that constants were fitted to and
   points held back apart; and every GPU predicted by constants fitted without it.
3. Real vLLM on this machine's processor, when .venv-vllm is there: calibrated on a short sweep, then three other configurations
   within 15 %.

--quick leaves out the fits without each GPU and real vLLM, which take minutes. All predictions are simulated; all measurements name their source.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np

import rooftune.simulator
from benchmarks.fidelity import silicon
from benchmarks.fidelity import t4_replay as t4
from benchmarks.fidelity.judged import Judged
from benchmarks.fidelity.measurements import Point, points, predicted, reason_aside, relative_error
from benchmarks.fidelity.public_fit import without_each_gpu
from rooftune.hardware.named import accelerator
from rooftune.simulator.steptime.constants import generation

WINDOWS_WITHIN, PUBLISHED_WITHIN = 0.08, 0.12
MEDIAN_WITHIN, ALL_WITHIN = 0.10, 0.25
ERRORS = Path(rooftune.simulator.__file__).parent / "steptime" / "data" / "errors.yaml"
LEAST_GPUS, LEAST_FAMILIES, LEAST_POINTS = 5, 3, 40


def main(arguments: list[str] | None = None) -> int:
    """Print the tables; 1 when something falls short."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="leave out the fits without each GPU, and real vLLM")
    parser.add_argument("--no-vllm", action="store_true", help="leave out real vLLM")
    parser.add_argument(
        "--write-errors", action="store_true", help="write rooftune/simulator/steptime/data/errors.yaml"
    )
    parser.add_argument("--figure", type=Path, help="draw measured against predicted into this PNG")
    given = parser.parse_args(arguments)
    short = [*windows(), *published()]
    every = [Judged(p, predicted(p)) for p in points()]
    judged = [j for j in every if reason_aside(j.point) is None]
    short += public(judged)
    aside([j for j in every if reason_aside(j.point) is not None])
    second_opinion()
    if not given.quick or given.write_errors:
        unseen = left_out()
        if given.write_errors:
            write_errors(judged, unseen)
    if not given.quick and not given.no_vllm:
        short += real_vllm()
    if given.figure:
        from benchmarks.fidelity.figure import draw

        draw(judged, given.figure)
        print(f"\nfigure: {given.figure}")
    for line in short:
        print(f"FALLS SHORT: {line}", file=sys.stderr)
    left = " (real vLLM was left out)" if given.quick or given.no_vllm else ""
    print("\n" + ("falls short, see above" if short else f"all within what is asked{left}"))
    return 1 if short else 0


def windows() -> list[str]:
    """The T4 server's own statistics."""
    print("T4, vLLM 0.15.1, Llama-2-7B-AWQ: the server's loaded 10 s windows, tokens/s (kshyp/varcas, 2026-02-11)\n")
    print("| max_num_seqs | measured | simulated | mean | error of the mean | KV cache tokens, logged / simulated |")
    print("|---|---|---|---:|---:|---|")
    short = []
    for seqs, (_, measured) in t4.WINDOWS.items():
        run = t4.run(seqs)
        error = float(run.windows_tok_s.mean()) / float(np.mean(measured)) - 1
        name = str(seqs or "default (256)")
        print(
            f"| {name} | {_list(measured)} | {_list(run.windows_tok_s)} | {run.windows_tok_s.mean():.1f} "
            f"| {error:+.1%} | {t4.KV_CACHE_TOKENS[seqs]:,} / {run.kv_cache_tokens:,} |"
        )
        if abs(error) > WINDOWS_WITHIN:
            short.append(f"T4 windows, max_num_seqs {name}: {error:+.1%}, more than {WINDOWS_WITHIN:.0%}")
        if run.kv_cache_tokens != t4.KV_CACHE_TOKENS[seqs]:
            short.append(
                f"T4 KV cache, max_num_seqs {name}: {run.kv_cache_tokens} tokens, logged {t4.KV_CACHE_TOKENS[seqs]}"
            )
    return short


def published() -> list[str]:
    """What the experiment's client said, emulated on the same simulation."""
    print(
        "\nThe same simulation through the experiment's client (100 connections, cut, survivors only, characters / 4)\n"
    )
    print("| max_num_seqs | figure | published | emulated | error |")
    print("|---|---|---:|---:|---:|")
    short, gains = [], []
    for seqs, figures in t4.PUBLISHED.items():
        run = t4.run(seqs, sent_for_s=t4.SENT_FOR_S[seqs])
        gains.append((figures["throughput_tok_s"], run.claimed.throughput_tok_s))
        for name, value in figures.items():
            found = run.claimed.figures()[name]
            error = found / value - 1
            print(f"| {seqs or 'default (256)'} | {name} | {value:,.1f} | {found:,.1f} | {error:+.1%} |")
            if abs(error) > PUBLISHED_WITHIN:
                short.append(
                    f"published {name}, max_num_seqs {seqs or 'default'}: {error:+.1%}, more than {PUBLISHED_WITHIN:.0%}"
                )
    truth = float(t4.run(8).windows_tok_s.mean() / t4.run(None).windows_tok_s.mean()) - 1
    measured = float(np.mean(t4.WINDOWS[8][1]) / np.mean(t4.WINDOWS[None][1])) - 1
    said, emulated = (gains[1][i] / gains[0][i] - 1 for i in (0, 1))
    print(
        f"\nGain of --max-num-seqs 8: published {said:+.1%}, emulated {emulated:+.1%}; at the server {measured:+.1%}, simulated {truth:+.1%}."
    )
    return short


def public(judged: list[Judged]) -> list[str]:
    """The public measurements by GPU and kernel family."""
    errors = np.abs([j.error for j in judged])
    gpus, families = {j.point.gpu for j in judged}, {j.point.kernel for j in judged}
    print(f"\nPublic measurements: {len(judged)} points, {len(gpus)} GPUs, {len(families)} kernel families\n")
    print("| points | number | median error | 90 % within | largest |")
    print("|---|---:|---:|---:|---:|")
    for name, chosen in _groups(judged):
        found = np.abs([j.error for j in chosen])
        print(f"| {name} | {len(found)} | {np.median(found):.1%} | {np.quantile(found, 0.9):.1%} | {found.max():.1%} |")
    worst = sorted(judged, key=lambda j: -abs(j.error))[:5]
    print(
        "\nLargest: "
        + "; ".join(f"{j.point.id} ({j.point.gpu}, {j.point.kernel}, {j.point.use}) {j.error:+.1%}" for j in worst)
        + "."
    )
    short = []
    if len(gpus) < LEAST_GPUS or len(families) < LEAST_FAMILIES or len(judged) < LEAST_POINTS:
        short.append(f"{len(judged)} points on {len(gpus)} GPUs of {len(families)} families are too few")
    if np.median(errors) > MEDIAN_WITHIN:
        short.append(f"public measurements: median error {np.median(errors):.1%}, more than {MEDIAN_WITHIN:.0%}")
    short += [f"{j.point.id}: {j.error:+.1%}, more than {ALL_WITHIN:.0%}" for j in judged if abs(j.error) > ALL_WITHIN]
    return short


def _groups(judged: list[Judged]) -> list[tuple[str, list[Judged]]]:
    def by(key: Callable[[Point], str]) -> list[tuple[str, list[Judged]]]:
        found: dict[str, list[Judged]] = defaultdict(list)
        for j in judged:
            found[key(j.point)].append(j)
        return sorted(found.items())

    uses = dict(by(lambda p: p.use))
    crowds = [j for j in judged if not j.point.one_at_a_time]
    return [
        ("all", judged),
        ("**fitted to**", uses["fit"]),
        ("**held back**", uses["hold"]),
        ("many requests through the scheduler", crowds),
        *((f"{kernel}", rows) for kernel, rows in by(lambda p: p.kernel)),
        *((f"{gpu} ({generation(accelerator(gpu))})", rows) for gpu, rows in by(lambda p: p.gpu)),
    ]


def aside(rest: list[Judged]) -> None:
    """What is not judged, by its rule, with the errors all the same."""
    print("\nNot judged, by rules that do not look at the error:\n")
    print("| rule | points | error: median, largest |")
    print("|---|---:|---|")
    found: dict[str, list[float]] = defaultdict(list)
    for j in rest:
        found[reason_aside(j.point) or ""].append(j.error)
    for reason, errors in sorted(found.items()):
        print(f"| {reason} | {len(errors)} | {np.median(np.abs(errors)):.1%}, {max(errors, key=abs):+.1%} |")


def second_opinion() -> None:
    """Products of matrices against the measured tables of aiconfigurator-core, where it is installed."""
    root = silicon.folder()
    if root is None:
        print("\nSecond opinion: aiconfigurator-core is not here (extra `silicon`), so nothing was held against it.")
        return
    print(
        "\nSecond opinion: our products against aiconfigurator-core's tables of vLLM kernels (nothing was fitted to them)\n"
    )
    print("| GPU | kernel | " + " | ".join(f"{low}-{high} rows" for low, high in silicon.ROWS) + " |")
    print("|---|---|" + "---|" * len(silicon.ROWS))
    for gpu in silicon.GPUS:
        found = silicon.opinions(gpu, root)
        for kernel in silicon.KERNELS:
            cells = [f"{o.median_error:+.0%} (size {o.median_size:.0%})" for o in found if o.kernel == kernel]
            if cells:
                print(f"| {gpu} | {kernel} | " + " | ".join(cells) + " |")


def left_out() -> list[float]:
    """Each GPU by constants fitted without it."""
    print(
        "\nEach GPU predicted by constants that were fitted without it (its generation's too, where another card of it is there)\n"
    )
    print("| GPU left out | points | median error | largest | mean |")
    print("|---|---:|---:|---:|---:|")
    pooled: list[float] = []
    for gpu, rows in without_each_gpu().items():
        errors = np.array([relative_error(p, v) for p, v in rows])
        pooled += errors.tolist()
        print(
            f"| {gpu} | {len(errors)} | {np.median(np.abs(errors)):.1%} | {np.abs(errors).max():.1%} | {errors.mean():+.1%} |"
        )
    print(
        f"| all | {len(pooled)} | {np.median(np.abs(pooled)):.1%} | {np.abs(pooled).max():.1%} | {np.mean(pooled):+.1%} |"
    )
    return pooled


def write_errors(judged: list[Judged], unseen: list[float]) -> None:
    """The table that predictions quote their error from."""
    found: dict[str, list[float]] = defaultdict(list)
    for j in judged:
        found[f"{j.point.gpu}/{j.point.kernel}"].append(abs(j.error))
        found[f"{generation(accelerator(j.point.gpu))}/{j.point.kernel}"].append(abs(j.error))
    missed = np.abs(unseen)
    lines = [
        "# Written by `python -m benchmarks.fidelity --write-errors`: relative errors of the public measurements, by GPU and by generation",
        "# with the kernel family (seen), and on GPUs that the constants were not fitted to (unseen). within_90: 90 % stayed within it.",
        "seen:",
        *(f"  {k}: {{points: {len(v)}, within_90: {np.quantile(v, 0.9):.3f}}}" for k, v in sorted(found.items())),
        f"unseen: {{points: {len(unseen)}, median: {np.median(missed):.3f}, within_90: {np.quantile(missed, 0.9):.3f}}}",
    ]
    ERRORS.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"\nwritten: {ERRORS}")


def real_vllm() -> list[str]:
    """Real vLLM on this machine's processor."""
    from benchmarks.fidelity.vllm import measure

    return measure()


def _list(values: object) -> str:
    return ", ".join(f"{v:.0f}" if v >= 100 else f"{v:.1f}" for v in values)  # type: ignore[attr-defined]


if __name__ == "__main__":
    sys.exit(main())
