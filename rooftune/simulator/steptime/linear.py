"""Seconds of the linear layers by rows, for each kernel family."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rooftune.hardware.accelerator import Accelerator
from rooftune.models.costs import linear_bytes, touched_linear_bytes
from rooftune.models.facts import ModelFacts
from rooftune.simulator.steptime.constants import Constants
from rooftune.vllm_rules.resolve import Resolved

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
SHARPNESS = 4
"""A product takes (memory^p + compute^p)^(1/p): the longer of the two, a little more where they meet."""
AWQ_TILE = 16
"""Rows of a tile of the old AWQ kernel (csrc/quantization/awq/gemm_kernels.cu)."""


def linear_seconds(
    gpu: Accelerator, facts: ModelFacts, r: Resolved, k: Constants, rows: Ints, *, decode: bool
) -> Floats:
    """Seconds of all matrices of all layers on one GPU for so many rows of activations."""
    n = r.tensor_parallel
    flops = 2.0 * facts.active_linear_parameters / n
    c = k.linear[r.kernel]
    if r.kernel == "awq_gemm":
        return _awq(gpu, facts, r, c, rows, flops, decode=decode)
    streamed = touched_linear_bytes(facts, rows) / n
    return matrix_seconds(gpu, c, _rate_of(r), rows, streamed, flops)


def matrix_seconds(
    gpu: Accelerator, c: dict[str, float], kind: str, rows: Ints, stream: float | Floats, flops: float | Floats
) -> Floats:
    """A product that streams ``stream`` bytes of weights and does ``flops`` per row at the rate of a data type."""
    memory = stream / (gpu.bandwidth_bytes_per_s * c["memory"])
    compute = rows * flops / (rate(gpu, kind) * c["compute"])
    return np.asarray((memory**SHARPNESS + compute**SHARPNESS) ** (1 / SHARPNESS), dtype=np.float64)


def rate(gpu: Accelerator, kind: str) -> float:
    """Peak rate of a data type, or of the nearest wider one that the accelerator has."""
    order = {"fp8": ("fp8", "fp16", "bf16"), "int8": ("int8", "fp16", "bf16"), "bfloat16": ("bf16", "fp16")}
    for name in (*order.get(kind, ("fp16", "bf16")), "fp32"):
        if gpu.flops_per_s.get(name):
            return gpu.flops_per_s[name]
    raise KeyError(f"{gpu.name} has no rate for {kind}")


def _rate_of(r: Resolved) -> str:
    return r.kernel if r.kernel in ("fp8", "int8") else r.dtype


def _awq(
    gpu: Accelerator, facts: ModelFacts, r: Resolved, c: dict[str, float], rows: Ints, flops: float, *, decode: bool
) -> Floats:
    """The old AWQ kernel: a pass over all weights for each 16 rows, or dequantisation and a 16-bit product.

    A pass streams and unpacks the weights; each row adds its products and its eight partial sums (split-K), which the kernel
    does not overlap with the unpacking. From ``dequantise_from`` rows on the weights are written out in 16 bits first.
    """
    n, bandwidth = r.tensor_parallel, gpu.bandwidth_bytes_per_s
    weights = linear_bytes(facts) / n
    half = rate(gpu, "fp16")
    tiled = np.ceil(rows / AWQ_TILE) * weights / (bandwidth * c["pass_memory"]) + rows * flops / (
        half * c["pass_compute"]
    )
    full = 2.0 * facts.linear_parameters / n
    traffic = (weights + 2 * full) / (bandwidth * c["dequantise_memory"])
    dequantised = traffic + rows * flops / (half * c["compute"])
    always = r.awq_graph_trap and decode
    return np.asarray(dequantised if always else np.where(rows >= c["dequantise_from"], dequantised, tiled))
