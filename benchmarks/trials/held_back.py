"""Errors on what was held back: trials without their GPU or model, and serving figures of others; and what they
cover."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import rooftune.simulator
from benchmarks.trials.fitting import held_back_predictions
from benchmarks.trials.prediction import Simulator, server_of
from benchmarks.trials.ranking import Judged
from benchmarks.trials.records import Trial, measured
from benchmarks.trials.serving import Figure, facts_of, predicted, serving_figures
from rooftune.hardware.named import accelerator
from rooftune.simulator.steptime.accuracy import QUANTITIES, cases, error_bands, kernel_case
from rooftune.simulator.steptime.model import PCIE_AT_MOST
from rooftune.vllm_rules.config import EngineConfig
from rooftune.vllm_rules.resolve import resolve

HELD_BACK = Path(rooftune.simulator.__file__).parent / "steptime" / "data" / "held_back.yaml"
OF_TRIALS = {"throughput": "tok_s", "tpot": "tpot_ms", "ttft": "ttft_p50_ms"}
OF_FIGURES = {"throughput": "output_throughput", "tpot": "tpot_ms", "ttft": "ttft_ms"}
COVERED = 0.9
FEW_TOKENS = 8
"""Shorter answers show the pace of front and client, not of the engine; they are left out."""


@dataclass(frozen=True)
class Evidence:
    """One error on something held back."""

    source: str
    """What was held back together: the trials of a GPU or a model, or the figures of one source."""
    gpu: str
    kernel: str
    quantity: str
    error: float


def hold_back(*, write: bool) -> list[Evidence]:
    """Print the errors on what was held back and the coverage of the bands; write the bands."""
    found = [*_trials(), *_serving()]
    print("\n| held back | figures | throughput: median, 90 %, mean | TPOT | TTFT |\n|---|---:|---|---|---|")
    by_source: dict[str, list[Evidence]] = defaultdict(list)
    for e in found:
        by_source[e.source].append(e)
    for source, rows in [*by_source.items(), ("all", found)]:
        cells = [_cell([e.error for e in rows if e.quantity == q]) for q in QUANTITIES]
        count = max(sum(e.quantity == q for e in rows) for q in QUANTITIES)
        print(f"| {source} | {count} | " + " | ".join(cells) + " |")
    factors = coverage(found)
    if write:
        _write(bands(found), factors)
    return found


def bands(of: Iterable[Evidence]) -> dict[str, Any]:
    """By case and quantity: the figures, and the error that 90 % of them stayed within."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for e in of:
        for case in cases(accelerator(e.gpu), e.kernel):
            found[case][e.quantity].append(abs(e.error))
    return {
        case: {q: {"figures": len(v), "within_90": round(_within(v), 3)} for q, v in sorted(rows.items())}
        for case, rows in sorted(found.items())
    }


def _within(errors: Sequence[float]) -> float:
    """The error that 90 % of further figures stay within: the order statistic that holds for one more of the same
    kind."""
    ordered = sorted(errors)
    return ordered[min(len(ordered), math.ceil(COVERED * (len(ordered) + 1))) - 1]


def coverage(found: Sequence[Evidence]) -> dict[str, float]:
    """Print the share of figures within the bands that all other sources would have quoted; return, by quantity, the
    factor with which those bands cover ``COVERED``.

    A figure of a case that no other source has is left out: nothing is quoted for such a case.
    """
    head = ("quantity", "figures", "within the bands of the other sources", "factor", "with the factor", "as quoted")
    print("\n| " + " | ".join(head) + " |")
    print("|---|---:|---:|---:|---:|---:|")
    apart = {s: bands([e for e in found if _card(e.source) != _card(s)]) for s in {e.source for e in found}}
    factors: dict[str, float] = {}
    for quantity in QUANTITIES:
        rows = [e for e in found if e.quantity == quantity]
        needed = [n for e in rows if (n := _of_band(apart[e.source], e)) is not None]
        last = sorted(needed)[math.ceil(COVERED * len(needed)) - 1]
        factors[quantity] = max(1.0, math.ceil(100 * last) / 100)
        quoted = {**bands(found), "factors": factors}
        inside = np.mean([(n := _of_band(quoted, e)) is not None and n <= 1 for e in rows])
        raw, wider = (np.mean([n <= limit for n in needed]) for limit in (1.0, factors[quantity]))
        print(f"| {quantity} | {len(needed)} | {raw:.0%} | {factors[quantity]:.2f} | {wider:.0%} | {inside:.0%} |")
    return factors


def _card(source: str) -> str:
    """Trials without a GPU and without a model are the same trials: they are left out together."""
    return "trials" if source.startswith("trials") else source


def _of_band(table: dict[str, Any], e: Evidence) -> float | None:
    """The error over the band that a table quotes; None where it quotes none."""
    found = error_bands(accelerator(e.gpu), e.kernel, table)
    return None if found is None else abs(e.error) / found.by_quantity[e.quantity]


def _trials() -> list[Evidence]:
    found = []
    keys: dict[str, Callable[[Trial], str]] = {"GPU": lambda t: t.gpu, "model": lambda t: t.model}
    for name, key in keys.items():
        for apart, rows in held_back_predictions(measured(), key).items():
            for trial, figures in rows:
                judged, kernel = Judged(trial, figures), kernel_case(server_of(trial).resolved)
                found += [
                    Evidence(f"trials without the {name} {apart}", trial.gpu, kernel, q, judged.error(n))
                    for q, n in OF_TRIALS.items()
                ]
    return found


def _serving() -> list[Evidence]:
    simulator, found = Simulator(), []
    for figure in serving_figures():
        if chosen_with(figure) or figure.output_tokens < FEW_TOKENS:
            continue
        values = predicted(simulator, figure)
        if values is None:
            continue
        card = accelerator(figure.gpu)
        flags = {**figure.flags, "max_model_len": figure.flags.get("max_model_len", 4096)}
        config = EngineConfig(model=figure.model).with_change(flags)
        kernel = kernel_case(resolve(card, facts_of(figure), config, figure.vllm_version))
        for quantity, name in OF_FIGURES.items():
            truth = getattr(figure, name)
            if truth:
                found.append(
                    Evidence(f"figures of {figure.group}", figure.gpu, kernel, quantity, values[name] / truth - 1)
                )
    return found


def chosen_with(figure: Figure) -> bool:
    """Whether a constant was chosen with such figures in sight: all-reduces over PCIe, and the RTX 4090
    and 5090."""
    link = accelerator(figure.gpu).interconnect_bytes_per_s or 0.0
    return (figure.tensor_parallel > 1 and link < PCIE_AT_MOST) or figure.gpu in ("RTX 4090", "RTX 5090")


def _cell(errors: Sequence[float]) -> str:
    if not errors:
        return "-"
    size = np.abs(errors)
    return f"{np.median(size):.1%}, {np.quantile(size, 0.9):.1%}, {np.mean(errors):+.1%}"


def _write(table: dict[str, Any], factors: dict[str, float]) -> None:
    lines = [
        "# Written by `python -m benchmarks.trials --write-errors`: by case (GPU, generation, kernel family) and",
        "# quantity, the figures held back and the error that 90 % of them stayed within. Trials by constants fitted",
        "# without their GPU or model, and figures that others published. factors: what bands are multiplied by, so",
        "# that those of the other sources cover 90 % of the figures of each source.",
        f"factors: {{{', '.join(f'{q}: {value}' for q, value in factors.items())}}}",
    ]
    for case, rows in table.items():
        cells = ", ".join(f"{q}: {{figures: {v['figures']}, within_90: {v['within_90']}}}" for q, v in rows.items())
        lines.append(f"{case}: {{{cells}}}")
    HELD_BACK.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"\nwritten: {HELD_BACK}")
