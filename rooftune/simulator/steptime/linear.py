"""Seconds of the linear layers by rows, for each kernel family."""

from __future__ import annotations

from typing import NamedTuple

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
TILE = 128
"""Rows and columns of the tile that one multiprocessor computes of a large product."""
SMALLEST_TILE = 16
MARLIN_TILE = 16
AWQ_TILE = 16
"""Rows of a tile of the old AWQ kernel (csrc/quantization/awq/gemm_kernels.cu)."""


def as_it_runs(gpu: Accelerator, k: Constants) -> Accelerator:
    """The accelerator with the bandwidth that error correction leaves, and the rates that its chip has."""
    return gpu.model_copy(
        update={
            "bandwidth_bytes_per_s": gpu.bandwidth_bytes_per_s * k.device["bandwidth"],
            "flops_per_s": {kind: rate * k.device["rate"] for kind, rate in gpu.flops_per_s.items()},
        }
    )


class Matrix(NamedTuple):
    """A weight matrix."""

    inputs: float
    outputs: float


def layer_matrices(facts: ModelFacts, tensor_parallel: int = 1) -> tuple[Matrix, ...]:
    """The matrices of one layer on one GPU, those of a mixture as one expert has them."""
    heads, n = facts.heads * facts.head_dim, tensor_parallel
    width, up = facts.intermediate_size, facts.mlp[0].matrices - 1
    return (
        Matrix(facts.hidden_size, (heads + 2 * facts.kv_heads * facts.head_dim) / n),
        Matrix(heads / n, facts.hidden_size),
        Matrix(facts.hidden_size, up * width / n),
        Matrix(width / n, facts.hidden_size),
    )


def tail_rows(gpu: Accelerator, waves: float, matrices: tuple[Matrix, ...]) -> float:
    """Rows that would take as long as the multiprocessors idle at the ends of these products.

    A product is computed in tiles, one on each multiprocessor at a time, and in the last wave many have none. That
    wave costs as much for a narrow matrix as for a wide one, so small models lose more.
    """
    tiles = waves * (gpu.multiprocessors or 0) * TILE**2
    return tiles * sum(m.inputs for m in matrices) / sum(m.inputs * m.outputs for m in matrices)


def linear_seconds(
    gpu: Accelerator, facts: ModelFacts, r: Resolved, k: Constants, rows: Ints, *, decode: bool
) -> Floats:
    """Seconds of all matrices of all layers on one GPU for this many rows of activations."""
    n = r.tensor_parallel
    flops = 2.0 * facts.active_linear_parameters / n
    c = k.linear[r.kernel]
    if r.kernel == "awq_gemm":
        return _awq(gpu, facts, r, c, rows, flops, decode=decode)
    streamed = touched_linear_bytes(facts, rows) / n
    tail = tail_rows(gpu, c.get("tail_waves", 0.0), layer_matrices(facts, n))
    if r.kernel == "marlin":
        return _marlin(gpu, k, r, rows, streamed, flops, tail)
    return matrix_seconds(gpu, c, _rate_of(r), rows, streamed, flops, tail)


def matrix_seconds(
    gpu: Accelerator,
    c: dict[str, float],
    kind: str,
    rows: Ints,
    stream: float | Floats,
    flops: float | Floats,
    tail: float | Floats = 0.0,
) -> Floats:
    """A product that streams ``stream`` bytes of weights and does ``flops`` per row at the rate of a data type.

    Args:
        tail: rows that the last wave of tiles costs (:func:`tail_rows`).
    """
    compute = _with_tail(rows, tail) * flops / (rate(gpu, kind) * c["compute"])
    return _longer(_streaming(gpu, c, rows, stream), compute)


def _longer(*seconds: Floats) -> Floats:
    """Work that overlaps: the longest, a little more where they meet."""
    return np.asarray(sum(s**SHARPNESS for s in seconds) ** (1 / SHARPNESS), dtype=np.float64)


def _streaming(gpu: Accelerator, c: dict[str, float], rows: Ints, stream: float | Floats) -> Floats:
    """Seconds to read the weights. One row takes a separate kernel that may read faster than those for several."""
    share = np.where(rows > 1, c["memory"] * c.get("several_rows", 1.0), c["memory"])
    return np.asarray(stream / (gpu.bandwidth_bytes_per_s * share), dtype=np.float64)


def _with_tail(rows: Ints, tail: float | Floats) -> Floats:
    """Rows with those that the last wave costs; below a tile's height the kernels split the inputs instead."""
    return np.asarray(in_tiles(rows) + tail * np.minimum(1.0, rows / TILE), dtype=np.float64)


def in_tiles(rows: Ints) -> Floats:
    """Rows as the tiles of a product count them: 16, 32, 64, 128, then whole tiles."""
    small = 2.0 ** np.ceil(np.log2(np.maximum(rows, SMALLEST_TILE)))
    return np.where(rows <= TILE, small, np.ceil(rows / TILE) * TILE) * (rows > 0)


def _marlin(
    gpu: Accelerator,
    k: Constants,
    r: Resolved,
    rows: Ints,
    stream: float | Floats,
    flops: float | Floats,
    tail: float | Floats,
) -> Floats:
    """Marlin multiplies in 16 bits; unpacking the weights, for each 64 rows again, bounds it too.

    Its tiles are 16 rows high, and it splits the work between the multiprocessors, so the tail of a wave is short. The
    second bound is a share of the full rate of the tensor cores, which GeForce cards do not reach when they sum in
    32 bits. Unpacking FP8 is work of the ordinary cores, so it slows with the clock of a board that cannot hold it.
    """
    c, wide = k.linear["marlin"], k.linear["gemm_16bit"]
    in_full = np.ceil(rows / MARLIN_TILE) * MARLIN_TILE + tail * np.minimum(1.0, rows / TILE)
    share = c["compute_fp8"] * k.device["clock"] if r.quantization == "fp8" else c["compute"]
    products = np.asarray(in_full * flops / (rate(gpu, r.dtype) * wide["compute"]), dtype=np.float64)
    unpacking = np.asarray(in_full * flops / (full_rate(gpu, r.dtype) * share), dtype=np.float64)
    return _longer(_streaming(gpu, c, rows, stream), products, unpacking)


def full_rate(gpu: Accelerator, kind: str) -> float:
    """Rate of the tensor cores in 16 bits without the halving of GeForce cards: half the INT8 rate where that is
    more."""
    return max(rate(gpu, kind), gpu.flops_per_s.get("int8", 0.0) / 2 if gpu.kind == "cuda" else 0.0)


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

    A pass streams and unpacks the weights; each row adds its products and its eight partial sums (split-K), which
    the kernel does not overlap with the unpacking. From ``dequantise_from`` rows on the weights are written out in
    16 bits first.
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
