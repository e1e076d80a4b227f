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
from benchmarks.trials.serving import Figure, predicted, serving_figures
from rooftune.hardware.named import accelerator
from rooftune.models.catalogue import model_facts
from rooftune.simulator.steptime.accuracy import QUANTITIES, cases, error_bands
from rooftune.simulator.steptime.model import PCIE_AT_MOST
from rooftune.vllm_rules.config import EngineConfig
from rooftune.vllm_rules.resolve import resolve

HELD_BACK = Path(rooftune.simulator.__file__).parent / "steptime" / "data" / "held_back.yaml"
OF_TRIALS = {"throughput": "tok_s", "tpot": "tpot_ms", "ttft": "ttft_p50_ms"}
OF_FIGURES = {"throughput": "output_throughput", "tpot": "tpot_ms", "ttft": "ttft_ms"}
COVERED = 0.9


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
    coverage(found)
    if write:
        _write(bands(found))
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
    """Print and return, by quantity, the share of figures within the band that all other sources would have
    quoted."""
    print("\n| quantity | figures | within the band that the other sources give | within the band quoted |")
    print("|---|---:|---:|---:|")
    quoted, shares = bands(found), {}
    others = {s: bands([e for e in found if _card(e.source) != _card(s)]) for s in {e.source for e in found}}
    for quantity in QUANTITIES:
        rows = [e for e in found if e.quantity == quantity]
        apart = np.mean([_covers(others[e.source], e) for e in rows])
        shares[quantity] = float(np.mean([_covers(quoted, e) for e in rows]))
        print(f"| {quantity} | {len(rows)} | {apart:.0%} | {shares[quantity]:.0%} |")
    return shares


def _card(source: str) -> str:
    """Trials without a GPU and without a model are the same trials: they are left out together."""
    return "trials" if source.startswith("trials") else source


def _covers(table: dict[str, Any], e: Evidence) -> bool:
    found = error_bands(accelerator(e.gpu), e.kernel, table)
    return found is not None and abs(e.error) <= found.by_quantity[e.quantity]


def _trials() -> list[Evidence]:
    found = []
    keys: dict[str, Callable[[Trial], str]] = {"GPU": lambda t: t.gpu, "model": lambda t: t.model}
    for name, key in keys.items():
        for apart, rows in held_back_predictions(measured(), key).items():
            for trial, figures in rows:
                judged, kernel = Judged(trial, figures), server_of(trial).resolved.kernel
                found += [
                    Evidence(f"trials without the {name} {apart}", trial.gpu, kernel, q, judged.error(n))
                    for q, n in OF_TRIALS.items()
                ]
    return found


def _serving() -> list[Evidence]:
    simulator, found = Simulator(), []
    for figure in serving_figures():
        values = None if chosen_with(figure) else predicted(simulator, figure)
        if values is None:
            continue
        card = accelerator(figure.gpu)
        facts = model_facts(figure.model, quantization=figure.quantization)
        flags = {**figure.flags, "max_model_len": figure.flags.get("max_model_len", 4096)}
        kernel = resolve(card, facts, EngineConfig(model=figure.model).with_change(flags), figure.vllm_version).kernel
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


def _write(table: dict[str, Any]) -> None:
    lines = [
        "# Written by `python -m benchmarks.trials --write-errors`: by case (GPU, generation, kernel family) and",
        "# quantity, the figures held back and the error that 90 % of them stayed within. Trials by constants fitted",
        "# without their GPU or model, and figures that others published.",
    ]
    for case, rows in table.items():
        cells = ", ".join(f"{q}: {{figures: {v['figures']}, within_90: {v['within_90']}}}" for q, v in rows.items())
        lines.append(f"{case}: {{{cells}}}")
    HELD_BACK.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"\nwritten: {HELD_BACK}")
