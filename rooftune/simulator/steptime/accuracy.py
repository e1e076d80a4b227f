"""How wrong predictions of such a case were, by quantity, on figures that no constant was fitted to.

``data/held_back.yaml`` is written by ``python -m benchmarks.trials --write-errors``: real trials predicted by
constants fitted without their GPU or their model, and serving figures that others published. ``data/errors.yaml`` is
written by ``python -m benchmarks.fidelity --write-errors`` from step times and single requests. Nothing in either is
typed by hand.

A stranger's case differs from all of these as one source differs from the others. So each band is multiplied by a
factor of its quantity (``factors``): the one with which the bands that the other sources give cover 90 % of the figures
of each source.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from ruamel.yaml import YAML

from rooftune.hardware.accelerator import Accelerator
from rooftune.simulator.calibration.files import Calibration
from rooftune.simulator.steptime.constants import generation
from rooftune.vllm_rules.kernels import TIMED
from rooftune.vllm_rules.resolve import Resolved

QUANTITIES = ("throughput", "tpot", "ttft")
ENOUGH = 8
"""Figures of a case from which on its own band is quoted."""
UNTIMED = "untimed"
"""Instead of the kernel family where the weights have no measured step time and 16-bit products are timed."""
CAPPED = ("T4", "L4", "A2", "A10", "A10G", "H100 PCIe", "H100 NVL")
"""Boards whose power does not hold the clock in large products: how far it falls depends on cooling and load."""
CAPPED_FACTOR = 1.5
"""What a band of other cards is multiplied by for one of these."""


@dataclass(frozen=True)
class ErrorBands:
    """Relative errors that 90 % of the figures of similar cases stayed within: 0.1 = within 10 %."""

    throughput: float
    tpot: float
    ttft: float
    of: str
    """What the similar cases have in common, in words."""

    @property
    def by_quantity(self) -> dict[str, float]:
        """The three by name."""
        return {name: getattr(self, name) for name in QUANTITIES}

    @property
    def words(self) -> str:
        """One sentence."""
        parts = f"throughput {self.throughput:.0%}, TPOT {self.tpot:.0%}, TTFT {self.ttft:.0%}"
        return f"90 % of the figures held back ({self.of}) were within: {parts}"


@cache
def _table() -> dict[str, Any]:
    text = files("rooftune.simulator.steptime").joinpath("data/held_back.yaml").read_text(encoding="utf-8")
    value: dict[str, Any] = YAML(typ="safe").load(text)
    return value


def kernel_case(resolved: Resolved) -> str:
    """The kernel family, or ``UNTIMED``: errors are quoted for each."""
    return resolved.kernel if resolved.quantization in TIMED else UNTIMED


def cases(gpu: Accelerator, kernel: str) -> tuple[str, ...]:
    """The cases that a GPU with a kernel family belongs to, the nearest first."""
    kind = generation(gpu)
    if kernel == UNTIMED:
        return (f"{gpu.name}/{kernel}", f"{kind}/{kernel}", f"kernel {kernel}")
    return (f"{gpu.name}/{kernel}", f"{kind}/{kernel}", kind, f"kernel {kernel}", "all")


def error_bands(gpu: Accelerator, kernel: str, table: dict[str, Any] | None = None) -> ErrorBands | None:
    """The bands of the nearest cases with enough figures, each quantity by itself; None on a CPU.

    A generation without enough figures gets at least the band of all cards: its kernels were measured on others only.

    Args:
        table: bands by case and quantity instead of the shipped ones.
    """
    if gpu.kind == "cpu":
        return None
    known = _table() if table is None else table
    factors = known.get("factors", {})
    found: dict[str, float] = {}
    used = ""
    for quantity in QUANTITIES:
        for case in cases(gpu, kernel):
            entry = known.get(case, {}).get(quantity)
            if entry and entry["figures"] >= ENOUGH:
                wider = CAPPED_FACTOR if gpu.name in CAPPED and not case.startswith(f"{gpu.name}/") else 1.0
                found[quantity] = _within(known, case, quantity) * wider * float(factors.get(quantity, 1.0))
                used = used or case
                break
    if len(found) < len(QUANTITIES):
        return None
    return ErrorBands(**found, of=_words(used))


def _within(known: dict[str, Any], case: str, quantity: str) -> float:
    """The band of a case; of a kernel family on other generations at least that of all cards."""
    alone = float(known[case][quantity]["within_90"])
    if not case.startswith("kernel ") or UNTIMED in case:
        return alone
    return max(alone, float(known.get("all", {}).get(quantity, {}).get("within_90", 0.0)))


def error_band(gpu: Accelerator, resolved: Resolved, calibration: Calibration | None = None) -> float | str:
    """The band of the throughput; in words with a calibration, or where nothing was measured."""
    if calibration and calibration.kernel == resolved.kernel:
        return (
            f"calibrated on {calibration.engine} ({calibration.made_at[:10]}); the median error of a step was "
            f"{calibration.error_after:.0%} on {calibration.held_back} points held back"
        )
    bands = error_bands(gpu, kernel_case(resolved))
    if bands is None:
        return "nothing was measured on a processor like this one; rooftune calibrate measures it"
    return bands.throughput


def _words(case: str) -> str:
    if case == "all":
        return "of all cards"
    if UNTIMED in case:
        return "of weights without a measured step time"
    return f"of {case.replace('/', ' with ')}" if not case.startswith("kernel ") else f"with the {case}"
