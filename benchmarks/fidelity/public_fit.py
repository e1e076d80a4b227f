"""Fits the shipped constants to the public measurements; also without each GPU, to see the error on an unseen one."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ruamel.yaml import YAML

from benchmarks.fidelity.judged import JudgedPoint
from benchmarks.fidelity.measurements import Point, judged, predicted
from rooftune.hardware.named import accelerator
from rooftune.simulator.calibration.least_squares import Free, fit
from rooftune.simulator.steptime.constants import ROOMS, Table, constants_for, generation, table

SHARE = 0.98
"""Largest share of a ceiling that any kernel reaches."""
GENERAL = {
    "linear.gemm_16bit.memory": (0.90, 0.08), "linear.gemm_16bit.compute": (0.70, 0.25),
    "linear.fp8.memory": (0.88, 0.08), "linear.fp8.compute": (0.60, 0.30), "linear.fp8.kernels": (14, 0.30),
    "linear.int8.memory": (0.88, 0.08), "linear.int8.compute": (0.60, 0.30), "linear.int8.kernels": (15, 0.30),
    "linear.marlin.memory": (0.85, 0.08), "linear.marlin.compute": (0.62, 0.05), "linear.marlin.kernels": (12, 0.30),
    "linear.machete.memory": (0.85, 0.08), "linear.machete.compute": (0.60, 0.30), "linear.machete.kernels": (14, 0.30),
    "linear.awq_gemm.pass_memory": (0.70, 0.15), "linear.awq_gemm.pass_compute": (0.17, 0.30),
    "linear.awq_gemm.kernels": (25, 0.20),
    "attention.flash_attention.memory": (0.80, 0.10), "attention.flash_attention.compute": (0.50, 0.30),
    "attention.flashinfer.memory": (0.75, 0.10), "attention.flashinfer.compute": (0.35, 0.30),
    "host.kernel_us": (5.0, 0.30), "host.exposed_ms": (0.20, 0.10), "host.first_engine_ms": (0.20, 0.50),
}  # fmt: skip
"""Start and spread (of the logarithm) of the general constants."""
FAMILIES = ("gemm_16bit", "fp8", "int8", "marlin", "machete")
BY_GENERATION = {
    "host.kernel_us": 0.30, "linear.*.memory": 0.10, "linear.gemm_16bit.compute": 0.25, "linear.fp8.compute": 0.40,
}  # fmt: skip
"""What may differ by generation, and how far from the general constant; ``*``: the same factor for all ``FAMILIES``."""
BY_GPU = {"L40": {"linear.awq_gemm.dequantise_memory": 0.40, "linear.awq_gemm.compute": 0.40}}
"""What may differ on a single GPU: dequantised matrices partly stay in the L40's 96 MiB of second-level cache."""


def fit_table(of: Sequence[Point], start: Table | None = None) -> Table:
    """The table fitted to these points: general constants and generations first, then single GPUs.

    Points of many requests at once are used in the second step only, because they need the scheduler and are slow.

    Args:
        start: source of the constants that are not fitted; the shipped table by default.
    """
    base = copy.deepcopy(start or table())
    base["class"] = {}
    base["gpu"] = {name: own for name, own in base["gpu"].items() if name not in BY_GPU}
    alone = [p for p in of if p.one_at_a_time]
    free = {f"general:.{k}": Free(v, s, _most(k)) for k, (v, s) in GENERAL.items()}
    for kind in sorted({_kind(p.gpu) for p in alone}):
        free |= {f"class:{kind}.{k}": Free(1.0, s) for k, s in BY_GENERATION.items()}
    made = _fitted(base, free, alone)
    for gpu, paths in BY_GPU.items():
        here = [p for p in of if p.gpu == gpu and any(path.split(".")[1] == p.kernel for path in paths)]
        if here:
            own = {f"gpu:{gpu}.{path}": Free(_get(base, path), s, SHARE) for path, s in paths.items()}
            made = _fitted(made, own, here)
    return made


def _fitted(base: Table, free: dict[str, Free], of: Sequence[Point]) -> Table:
    def all_predicted(values: dict[str, float]) -> npt.NDArray[np.float64]:
        made = _with(base, values)
        by_gpu = {g: constants_for(accelerator(g), made) for g in {p.gpu for p in of}}
        return np.array([predicted(p, by_gpu[p.gpu]) for p in of])

    return _with(base, fit(free, all_predicted, np.array([p.value for p in of])).values)


def _kind(gpu: str) -> str:
    return generation(accelerator(gpu))


def _most(path: str) -> float:
    return SHARE if path.endswith(("memory", "compute")) else float("inf")


def _with(base: Table, values: dict[str, float]) -> Table:
    """The table with fitted values: general ones and those of single GPUs as values, those of generations as
    factors."""
    made = copy.deepcopy(base)
    places = {name: _place(name) for name in values}
    for name, place in places.items():
        if place.layer == "general":
            _put(made, place.path, values[name])
        elif place.layer == "gpu":
            _put(made["gpu"].setdefault(place.owner, {}), place.path, values[name])
    for name, place in places.items():
        if place.layer == "class":
            for path in place.paths:
                value = min(values[name] * _get(made, path), _most(path))
                _put(made["class"].setdefault(place.owner, {}), path, value)
    return made


@dataclass(frozen=True)
class _Place:
    """Where a fitted value goes in the table."""

    layer: str
    """general, class or gpu."""
    owner: str
    """The generation or the GPU."""
    path: str

    @property
    def paths(self) -> list[str]:
        """The path, once for each kernel family where it has a ``*``."""
        return [self.path.replace("*", family) for family in FAMILIES] if "*" in self.path else [self.path]


def _place(name: str) -> _Place:
    """'class:ada.host.kernel_us' as class, ada, host.kernel_us."""
    layer, rest = name.split(":", 1)
    owner, path = rest.split(".", 1)
    return _Place(layer, owner, path)


def _put(of: dict[str, Any], path: str, value: float) -> None:
    *middle, last = path.split(".")
    for key in middle:
        of = of.setdefault(key, {})
    of[last] = value


def _get(of: dict[str, Any], path: str) -> float:
    place: Any = of
    for key in path.split("."):
        place = place[key]
    return float(place)


def fitted_points(of: Sequence[Point] | None = None) -> list[Point]:
    """The judged points that constants may be fitted to."""
    return [p for p in judged(of) if p.use == "fit"]


def without_each_gpu() -> dict[str, list[JudgedPoint]]:
    """For each GPU, the predictions of all its points with constants fitted without any of them."""
    found: dict[str, list[JudgedPoint]] = {}
    for gpu in sorted({p.gpu for p in judged()}):
        others = [p for p in fitted_points() if p.gpu != gpu]
        constants = constants_for(accelerator(gpu), fit_table(others))
        found[gpu] = [JudgedPoint(p, predicted(p, constants)) for p in judged() if p.gpu == gpu]
    return found


def save(made: Table, path: Path) -> None:
    """Write fitted numbers into the table's file, to three digits, keeping comments and sources."""
    yaml = YAML()
    yaml.width, yaml.preserve_quotes = 4096, True
    text = yaml.load(path.read_text(encoding="utf-8"))
    for room in ROOMS:
        _overwrite(text[room], made[room])
    for layer in ("class", "gpu"):
        for name, rooms in made[layer].items():
            kept = text[layer].get(name) or {}
            text[layer][name] = _flow({**_plain(kept), **_rounded(rooms)})
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(text, file)


def _overwrite(place: Any, values: dict[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, dict):
            _overwrite(place[key], value)
        elif isinstance(value, float) and not math.isclose(value, place[key]):
            place[key] = _three(value)


def _rounded(of: dict[str, Any]) -> dict[str, Any]:
    return {k: _rounded(v) if isinstance(v, dict) else _three(v) if isinstance(v, float) else v for k, v in of.items()}


def _plain(of: Any) -> dict[str, Any]:
    return {k: _plain(v) if isinstance(v, dict) else v for k, v in of.items()}


def _flow(of: dict[str, Any]) -> Any:
    from ruamel.yaml.comments import CommentedMap

    made = CommentedMap({k: _flow(v) if isinstance(v, dict) else v for k, v in of.items()})
    made.fa.set_flow_style()
    return made


def _three(value: float) -> float:
    return float(f"{value:.3g}")
