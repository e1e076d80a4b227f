"""How accurate the simulator is: predictions compared with measurements. Exits with 1 if a goal is missed.

    python -m benchmarks.fidelity [--quick] [--no-vllm] [--figure docs/figures/fidelity.png]

1. One experiment on a T4: the server's own windows within 8 %, and the numbers that its client published within 12 %,
  both from one simulation.
2. Public measurements of other GPUs: median error at most 10 %, none above 25 %. Points that constants were fitted to
  and points held back are shown separately, and every GPU is also predicted with constants fitted without it.
3. Real vLLM on this machine's processor, if .venv-vllm exists: calibrated on a short sweep, then three other
  configurations within 15 %.

--quick skips the fits without each GPU and real vLLM, which take minutes. All predictions are simulated; all
measurements name their source.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

import rooftune.simulator
from benchmarks.fidelity import silicon
from benchmarks.fidelity import t4_replay as t4
from benchmarks.fidelity.judged import JudgedPoint
from benchmarks.fidelity.measurements import Point, points, predicted, reason_aside
from benchmarks.fidelity.public_fit import without_each_gpu
from rooftune.hardware.named import accelerator
from rooftune.simulator.steptime.constants import generation

WINDOWS_WITHIN, PUBLISHED_WITHIN = 0.08, 0.12
MEDIAN_WITHIN, ALL_WITHIN = 0.10, 0.25
ERRORS = Path(rooftune.simulator.__file__).parent / "steptime" / "data" / "errors.yaml"
LEAST_GPUS, LEAST_FAMILIES, LEAST_POINTS = 5, 3, 40


class Claim(NamedTuple):
    """Throughput as the experiment's client published it, and as emulated."""

    published: float
    emulated: float


def main(arguments: list[str] | None = None) -> int:
    """Print the tables; return 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="skip the fits without each GPU, and real vLLM")
    parser.add_argument("--no-vllm", action="store_true", help="skip real vLLM")
    parser.add_argument(
        "--write-errors", action="store_true", help="write rooftune/simulator/steptime/data/errors.yaml"
    )
    parser.add_argument("--figure", type=Path, help="draw measured and predicted values into this PNG")
    given = parser.parse_args(arguments)
    short = [*windows(), *published()]
    every = [JudgedPoint(p, predicted(p)) for p in points()]
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
        print(f"MISSED: {line}", file=sys.stderr)
    skipped = " (real vLLM was skipped)" if given.quick or given.no_vllm else ""
    print("\n" + ("goals missed, see above" if short else f"all goals met{skipped}"))
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
    """What the experiment's client reported, emulated on the same simulation."""
    print(
        "\nThe same simulation through the experiment's client (100 connections, cut, survivors only, characters / 4)\n"
    )
    print("| max_num_seqs | metric | published | emulated | error |")
    print("|---|---|---:|---:|---:|")
    short: list[str] = []
    gains: list[Claim] = []
    for seqs, numbers in t4.PUBLISHED.items():
        run = t4.run(seqs, sent_for_s=t4.SENT_FOR_S[seqs])
        gains.append(Claim(numbers["throughput_tok_s"], run.claimed.throughput_tok_s))
        for name, value in numbers.items():
            found = run.claimed.published()[name]
            error = found / value - 1
            print(f"| {seqs or 'default (256)'} | {name} | {value:,.1f} | {found:,.1f} | {error:+.1%} |")
            if abs(error) > PUBLISHED_WITHIN:
                where = f"published {name}, max_num_seqs {seqs or 'default'}"
                short.append(f"{where}: {error:+.1%}, more than {PUBLISHED_WITHIN:.0%}")
    truth = float(t4.run(8).windows_tok_s.mean() / t4.run(None).windows_tok_s.mean()) - 1
    measured = float(np.mean(t4.WINDOWS[8][1]) / np.mean(t4.WINDOWS[None][1])) - 1
    said = gains[1].published / gains[0].published - 1
    emulated = gains[1].emulated / gains[0].emulated - 1
    print(
        f"\nGain of --max-num-seqs 8: published {said:+.1%}, emulated {emulated:+.1%}; "
        f"at the server {measured:+.1%}, simulated {truth:+.1%}."
    )
    return short


def public(judged: list[JudgedPoint]) -> list[str]:
    """The public measurements by GPU and kernel family."""
    errors = np.abs([j.error for j in judged])
    gpus, families = {j.point.gpu for j in judged}, {j.point.kernel for j in judged}
    print(f"\nPublic measurements: {len(judged)} points, {len(gpus)} GPUs, {len(families)} kernel families\n")
    print("| points | number | median error | 90 % within | largest |")
    print("|---|---:|---:|---:|---:|")
    for name, chosen in _groups(judged).items():
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


def _groups(judged: list[JudgedPoint]) -> dict[str, list[JudgedPoint]]:
    def by(key: Callable[[Point], str]) -> dict[str, list[JudgedPoint]]:
        found: dict[str, list[JudgedPoint]] = defaultdict(list)
        for j in judged:
            found[key(j.point)].append(j)
        return dict(sorted(found.items()))

    uses = by(lambda p: p.use)
    crowds = [j for j in judged if not j.point.one_at_a_time]
    return {
        "all": judged,
        "**fitted to**": uses["fit"],
        "**held back**": uses["hold"],
        "many requests through the scheduler": crowds,
        **by(lambda p: p.kernel),
        **{f"{gpu} ({generation(accelerator(gpu))})": rows for gpu, rows in by(lambda p: p.gpu).items()},
    }


def aside(rest: list[JudgedPoint]) -> None:
    """The points that are not judged, by rule, with their errors."""
    print("\nNot judged, by rules that do not depend on the error:\n")
    print("| rule | points | error: median, largest |")
    print("|---|---:|---|")
    found: dict[str, list[float]] = defaultdict(list)
    for j in rest:
        found[reason_aside(j.point) or ""].append(j.error)
    for reason, errors in sorted(found.items()):
        print(f"| {reason} | {len(errors)} | {np.median(np.abs(errors)):.1%}, {max(errors, key=abs):+.1%} |")


def second_opinion() -> None:
    """Matrix products compared with the measured tables of aiconfigurator-core, if it is installed."""
    root = silicon.folder()
    if root is None:
        print("\nSecond opinion: skipped, because aiconfigurator-core is not installed (extra `silicon`).")
        return
    print(
        "\nSecond opinion: our products and aiconfigurator-core's tables of vLLM kernels (nothing was fitted to them)\n"
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
    """Each GPU with constants fitted without it."""
    print(
        "\nEach GPU predicted with constants fitted without it (those of its generation too, if the data have another "
        "card of it)\n"
    )
    print("| GPU left out | points | median error | largest | mean |")
    print("|---|---:|---:|---:|---:|")
    pooled: list[float] = []
    for gpu, rows in without_each_gpu().items():
        errors = np.array([j.error for j in rows])
        pooled += errors.tolist()
        print(_error_row(gpu, errors))
    print(_error_row("all", np.array(pooled)))
    return pooled


def _error_row(name: str, errors: npt.NDArray[np.float64]) -> str:
    sizes = np.abs(errors)
    return f"| {name} | {len(errors)} | {np.median(sizes):.1%} | {sizes.max():.1%} | {errors.mean():+.1%} |"


def write_errors(judged: list[JudgedPoint], unseen: list[float]) -> None:
    """Write the table from which predictions quote their error."""
    found: dict[str, list[float]] = defaultdict(list)
    for j in judged:
        found[f"{j.point.gpu}/{j.point.kernel}"].append(abs(j.error))
        found[f"{generation(accelerator(j.point.gpu))}/{j.point.kernel}"].append(abs(j.error))
    missed = np.abs(unseen)
    lines = [
        "# Written by `python -m benchmarks.fidelity --write-errors`: relative errors of the public measurements,",
        "# by GPU and by generation with the kernel family (seen), and on GPUs that the constants were not fitted to",
        "# (unseen). within_90: 90 % stayed within it.",
        "seen:",
        *(f"  {k}: {{points: {len(v)}, within_90: {np.quantile(v, 0.9):.3f}}}" for k, v in sorted(found.items())),
        f"unseen: {{points: {len(unseen)}, median: {np.median(missed):.3f}, "
        f"within_90: {np.quantile(missed, 0.9):.3f}}}",
    ]
    ERRORS.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"\nwritten: {ERRORS}")


def real_vllm() -> list[str]:
    """Real vLLM on this machine's processor."""
    from benchmarks.fidelity.vllm import measure

    return measure()


def _list(values: Iterable[float]) -> str:
    return ", ".join(f"{v:.0f}" if v >= 100 else f"{v:.1f}" for v in values)


if __name__ == "__main__":
    sys.exit(main())
