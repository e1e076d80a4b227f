"""Fits the constants that public step times say nothing about to the trials; also without one GPU or one model.

Each constant has a physical meaning and a prior. The trials decide: the host's work with and without asynchronous
scheduling, steps with prefill beside decodes, unpacking in Marlin's prefill, FlashInfer's and the FP8 cache's cost
per step, the server's front, and on the GPUs of the trials the rate that large products reach and what error
correction leaves of the bandwidth.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.trials.prediction import Figures, Simulator
from benchmarks.trials.records import Trial
from rooftune.simulator.calibration.least_squares import HUBER, NOISE, STEP, Free, fit
from rooftune.simulator.steptime.constants import Table, table

SHARE = 0.98
"""Most of a ceiling that any kernel reaches."""
TTFT_WEIGHT = 0.3
"""A median of few first tokens scatters about three times as much as the other figures."""
FAMILIES = ("gemm_16bit", "fp8", "int8")
WITH_ECC = ("A40", "A10", "A10G")
"""Cards whose GDDR6 is corrected through the data bus, which is on by default."""
GENERAL = {
    "host.scheduler_ms": (0.7, 0.5), "host.scheduler_per_sequence_ms": (0.03, 1.0),
    "host.exposed_per_sequence_ms": (0.005, 1.0), "host.mixed_per_layer_ms": (0.1, 1.0),
    "host.v2_exposed_per_sequence_ms": (0.0005, 1.0), "host.v2_mixed_per_layer_ms": (0.06, 1.0),
    "host.launched_per_layer_ms": (0.2, 0.5), "host.fp8_kv_per_layer_ms": (0.003, 1.0),
    "attention.flashinfer.step_ms": (0.1, 1.0), "attention.triton.step_ms": (0.2, 1.0), "attention.triton.memory": (0.6, 0.3),
    "linear.marlin.compute": (0.62, 0.05), "linear.marlin.compute_fp8": (0.5, 0.3), "linear.*.tail_waves": (0.3, 0.5), "linear.marlin.tail_waves": (0.1, 0.3),
    "path.inbound_ms": (8.0, 0.7), "path.request_ms": (2.5, 0.7), "path.prompt_token_us": (5.0, 0.7),
    "path.outbound_ms": (2.0, 0.7),
}  # fmt: skip
"""Start and spread (of the logarithm) of constants of every GPU; ``*``: the same for all ``FAMILIES``."""
BY_GENERATION = {
    "ampere": {"linear.gemm_16bit.several_rows": (0.97, 0.02), "attention.flash_attention.compute": (0.65, 0.05)},
    "ada": {"linear.gemm_16bit.several_rows": (0.97, 0.02), "linear.fp8.several_rows": (0.97, 0.02)},
}
BY_GPU = {
    "A40": {
        "device.bandwidth": (0.92, 0.05),
        "linear.gemm_16bit.compute": (0.65, 0.1),
        "linear.gemm_16bit.memory": (0.9, 0.1),
    },
    "RTX 3090": {"linear.gemm_16bit.compute": (0.9, 0.1)},
    "L4": {"linear.gemm_16bit.compute": (0.45, 0.3), "linear.fp8.compute": (0.4, 0.3)},
}
Floats = npt.NDArray[np.float64]
QUANTITY_WEIGHT = (1.0, TTFT_WEIGHT, 1.0)
"""Of throughput, TTFT and TPOT."""


def fit_table(of: Sequence[Trial], base: Table | None = None) -> Table:
    """The table fitted to these trials.

    Constants of a GPU are fitted only where ``of`` has trials of it; else it is left with those of its generation.
    """
    start = without_gpus(base or table(), {t.gpu for t in of})
    free = free_constants(of)
    truth = _figures([Figures(t.tok_s or 0.0, t.ttft_p50_ms or 0.0, t.tpot_ms or 0.0) for t in of])
    weight = np.tile(QUANTITY_WEIGHT, len(of))

    def predicted(values: dict[str, float]) -> Floats:
        simulator = Simulator(with_values(start, values))
        found = _figures([simulator.predict(t) for t in of])
        return np.asarray(truth * np.exp(weight * np.log(found / truth)))

    return with_values(start, fit(free, predicted, truth).values)


def _figures(of: Sequence[Figures]) -> Floats:
    return np.array([value for f in of for value in (f.tok_s, f.ttft_p50_ms, f.tpot_ms)])


def free_constants(of: Sequence[Trial]) -> dict[str, Free]:
    """What may move when these trials are fitted to."""
    gpus = {t.gpu for t in of}
    free = {f"general:.{path}": Free(*prior) for path, prior in GENERAL.items()}
    for layer, entries in (("class", BY_GENERATION), ("gpu", BY_GPU)):
        for who, paths in entries.items():
            if layer == "class" or who in gpus:
                free |= {f"{layer}:{who}.{path}": Free(*prior, most=SHARE) for path, prior in paths.items()}
    return free


def without_gpus(of: Table, kept: set[str]) -> Table:
    """A copy in which the GPUs that only the trials describe have no separate constants, except those
    ``kept``."""
    made = copy.deepcopy(of)
    for gpu, paths in BY_GPU.items():
        if gpu in kept:
            continue
        for who in (gpu, *(WITH_ECC if gpu == "A40" else ())):
            for path in paths:
                _remove(made["gpu"].get(who) or {}, path.split("."))
    return made


def _remove(of: dict[str, Any], path: list[str]) -> None:
    if len(path) > 1:
        _remove(of.get(path[0]) or {}, path[1:])
    else:
        of.pop(path[0], None)


def with_values(base: Table, values: dict[str, float]) -> Table:
    """A copy with these values in their layers."""
    made = copy.deepcopy(base)
    for name, value in values.items():
        layer, rest = name.split(":", 1)
        who, path = rest.split(".", 1)
        if layer == "general":
            for one in [path.replace("*", f) for f in FAMILIES] if "*" in path else [path]:
                _put(made, one, value)
            continue
        shared = WITH_ECC if path == "device.bandwidth" else (who,)
        for gpu in shared:
            _put(made[layer].setdefault(gpu, {}), path, value)
    return made


def _put(of: dict[str, Any], path: str, value: float) -> None:
    *middle, last = path.split(".")
    for key in middle:
        of = of.setdefault(key, {})
    of[last] = value


def held_back_predictions(of: Sequence[Trial], key: Callable[[Trial], str]) -> dict[str, list[tuple[Trial, Figures]]]:
    """For each GPU (or model), the predictions of its trials by constants fitted without any of them.

    Each of these fits is one Gauss-Newton step from the shipped constants with the rows of those trials left out.
    Constants of a GPU that was left out are those of its generation.
    """
    free, simulator = free_constants(of), Simulator()
    names = list(free)
    prior = np.log([free[n].start for n in names])
    spread = np.array([free[n].spread for n in names])
    at = np.log([_value(simulator.table, n) for n in names])
    left = _logs(of, simulator)
    columns = [(_logs(of, _moved(simulator.table, names, at, i)) - left) / STEP for i in range(len(names))]
    jacobian = np.stack(columns, axis=1)
    found = {}
    for apart in sorted({key(t) for t in of}):
        kept = np.repeat([key(t) != apart for t in of], len(QUANTITY_WEIGHT))
        values = at + _step(jacobian[kept], left[kept], at - prior, spread)
        base = without_gpus(simulator.table, {t.gpu for t in of if key(t) != apart})
        named = {n: float(np.exp(v)) for n, v in zip(names, values, strict=True) if _stays(n, base, of, key, apart)}
        fitted = Simulator(with_values(base, named))
        found[apart] = [(t, fitted.predict(t)) for t in of if key(t) == apart]
    return found


def _stays(name: str, base: Table, of: Sequence[Trial], key: Callable[[Trial], str], apart: str) -> bool:
    """Whether a constant is fitted when these trials are left out: those of a GPU only while trials of it remain."""
    if not name.startswith("gpu:"):
        return True
    gpu = name.removeprefix("gpu:").split(".", 1)[0]
    return any(t.gpu == gpu and key(t) != apart for t in of)


def _logs(of: Sequence[Trial], simulator: Simulator) -> Floats:
    """Weighted log(predicted / measured) of every figure."""
    truth = _figures([Figures(t.tok_s or 0.0, t.ttft_p50_ms or 0.0, t.tpot_ms or 0.0) for t in of])
    found = _figures([simulator.predict(t) for t in of])
    return np.asarray(np.tile(QUANTITY_WEIGHT, len(of)) * np.log(found / truth))


def _moved(base: Table, names: Sequence[str], at: Floats, i: int) -> Simulator:
    """The simulator with one constant a little larger."""
    return Simulator(with_values(base, {names[i]: float(np.exp(at[i] + STEP))}))


def _step(jacobian: Floats, left: Floats, away: Floats, spread: Floats) -> Floats:
    """One Gauss-Newton step with the weights of the fit: outliers pull with constant force, priors hold."""
    scaled = np.abs(left) / NOISE
    weight = np.where(scaled <= HUBER, 1.0, HUBER / np.maximum(scaled, 1e-12)) / NOISE**2
    normal = jacobian.T @ (weight[:, None] * jacobian) + np.diag(1 / spread**2)
    slope = jacobian.T @ (weight * left) + away / spread**2
    return np.asarray(-np.linalg.solve(normal, slope))


def _value(of: Table, name: str) -> float:
    """A constant by its name among the free ones: in its layer, or in the general one below."""
    layer, rest = name.split(":", 1)
    who, path = rest.split(".", 1)
    keys = path.replace("*", FAMILIES[0]).split(".")
    for place in [of] if layer == "general" else [of[layer].get(who) or {}, of]:
        value: Any = place
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        if value is not None:
            return float(value)
    return 1.0
