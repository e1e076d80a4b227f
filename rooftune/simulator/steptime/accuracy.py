"""How wrong predictions of such a case were: from the public measurements, by GPU, generation and kernel family.

``data/errors.yaml`` is written by ``python -m benchmarks.fidelity --write-errors``; nothing in it is typed by hand.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

from ruamel.yaml import YAML

from rooftune.hardware.accelerator import Accelerator
from rooftune.simulator.calibration.files import Calibration
from rooftune.simulator.steptime.constants import generation
from rooftune.vllm_rules.resolve import Resolved

ENOUGH = 3
"""Points from which on a band is quoted for a GPU, or for a generation."""


@cache
def _table() -> dict[str, Any]:
    text = files("rooftune.simulator.steptime").joinpath("data/errors.yaml").read_text(encoding="utf-8")
    value: dict[str, Any] = YAML(typ="safe").load(text)
    return value


def error_band(gpu: Accelerator, resolved: Resolved, calibration: Calibration | None = None) -> float | str:
    """The relative error that 90 % of the measured figures of such a case stayed within; in words where there were none.

    A case is the GPU with the kernel family of the linear layers; else its generation with that family.
    """
    if calibration and calibration.kernel == resolved.kernel:
        return (
            f"calibrated on {calibration.engine} ({calibration.made_at[:10]}); the median error of a step was "
            f"{calibration.error_after:.0%} on {calibration.held_back} points held back"
        )
    if gpu.kind == "cpu":
        return "nothing was measured on a processor like this one; rooftune calibrate measures it"
    table = _table()
    for key in (f"{gpu.name}/{resolved.kernel}", f"{generation(gpu)}/{resolved.kernel}"):
        found = table["seen"].get(key)
        if found and found["points"] >= ENOUGH:
            return float(found["within_90"])
    other = table["unseen"]
    return (
        f"no public measurement of {gpu.name} with {resolved.kernel} was found; on GPUs that the constants were not fitted to, the "
        f"median error was {other['median']:.0%} and 90 % of the figures were within {other['within_90']:.0%}"
    )
