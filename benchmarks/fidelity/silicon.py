"""A second opinion: our step-time model compared with the measured matrix products of aiconfigurator-core (NVIDIA,
Apache-2.0).

The optional extra ``silicon`` installs the package. Only its tables of vLLM's kernels are read
(``systems/data/<gpu>/gemm/vllm``), and nothing of ours was fitted to them. It has no T4, L4 or A10G, no Marlin and no
old AWQ kernel.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rooftune.hardware.accelerator import Accelerator
from rooftune.hardware.named import accelerator
from rooftune.simulator.steptime.constants import Constants, constants_for, table
from rooftune.simulator.steptime.linear import matrix_seconds

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
PACKAGE = "aiconfigurator_core"
GPUS = {
    "A100-80": "a100_sxm", "H100": "h100_sxm", "H200": "h200_sxm", "B200": "b200_sxm", "L40S": "l40s",
    "RTX PRO 6000": "rtx_pro_6000_server",
}  # fmt: skip
"""Our names and the package's folders."""
KERNELS = {"gemm_16bit": ("bfloat16", 2.0), "fp8": ("fp8", 1.0)}
"""By our kernel family: the package's name of the type, and bytes of a weight."""
LEAST_SIDE, LEAST_WEIGHTS, MOST_WEIGHTS = 2048, 4e6, 2e8
"""The sizes of matrices in models of 3 to 70 billion parameters."""
PRODUCTS = 4
"""Matrix products per layer."""
ROWS = ((1, 16), (17, 128), (129, 512), (513, 2048), (2049, 8192))


@dataclass(frozen=True)
class Opinion:
    """Our time of many products against the package's, for one range of rows."""

    gpu: str
    kernel: str
    rows: tuple[int, int]
    products: int
    median_error: float
    """Median of (ours - theirs) / theirs."""
    median_size: float
    """Median of its absolute value."""


def folder() -> Path | None:
    """The folder with the package's tables; None when the extra is not installed."""
    spec = find_spec(PACKAGE)
    places = list(spec.submodule_search_locations or ()) if spec else []
    found = Path(places[0]) / "systems" / "data" if places else None
    return found if found and found.is_dir() else None


def opinions(gpu: str, root: Path) -> list[Opinion]:
    """Our times compared with the package's on one GPU; empty when the package has no table of it."""
    import pyarrow.parquet as pq

    files = sorted((root / GPUS[gpu] / "gemm" / "vllm").glob("*/gemm_perf.parquet"))
    if not files:
        return []
    columns: dict[str, Any] = pq.read_table(files[-1], columns=["gemm_dtype", "m", "n", "k", "latency"]).to_pydict()
    dtype = np.array(columns["gemm_dtype"])
    m, n, k = (np.array(columns[name], np.int64) for name in "mnk")
    seconds = np.array(columns["latency"], np.float64) / 1000
    usual = (np.minimum(n, k) >= LEAST_SIDE) & (n * k >= LEAST_WEIGHTS) & (n * k <= MOST_WEIGHTS)
    card = accelerator(gpu)
    constants = constants_for(card, table())
    found = []
    for kernel, (name, size) in KERNELS.items():
        for low, high in ROWS:
            at = usual & (dtype == name) & (m >= low) & (m <= high)
            if at.any():
                kind = "fp8" if kernel == "fp8" else "bfloat16"
                ours = _seconds(card, constants, kernel, kind, m[at], n[at] * k[at] * size, 2.0 * n[at] * k[at])
                error = ours / seconds[at] - 1
                middle, spread = float(np.median(error)), float(np.median(np.abs(error)))
                found.append(Opinion(gpu, kernel, (low, high), int(at.sum()), middle, spread))
    return found


def _seconds(
    card: Accelerator, constants: Constants, kernel: str, kind: str, m: Ints, stream: Floats, flops: Floats
) -> Floats:
    """A product, the gap to the next kernel, and the product's share of the kernels that quantise activations."""
    more = (constants.linear[kernel]["kernels"] - constants.linear["gemm_16bit"]["kernels"]) / PRODUCTS
    around = (1 + more) * constants.host["kernel_us"] * 1e-6
    return matrix_seconds(card, constants.linear[kernel], kind, m, stream, flops) + around
