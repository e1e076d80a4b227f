"""Memory by which MXFP4 experts are padded when they are loaded.

Read in ``model_executor/layers/quantization/mxfp4.py`` and compared with logs: gpt-oss-120b takes 65.97 GiB on an H100
through Marlin (issue 23278) and 64.38 GiB through Triton (issue 33155), gpt-oss-20b 13.72 GiB on an A100.
"""

from __future__ import annotations

from typing import NamedTuple

from rooftune.hardware.accelerator import Accelerator
from rooftune.models.costs import part_bytes
from rooftune.models.facts import ModelFacts
from rooftune.vllm_rules.resolve import Resolved
from rooftune.vllm_rules.versions import Releases

TRITON_ON_HOPPER = Releases(since="0.14")
"""Hopper runs these experts with Triton kernels from here on as far as logs show; before, with Marlin."""


class Multiples(NamedTuple):
    """What the sizes of an expert are rounded up to."""

    hidden: int
    width: int


MARLIN = Multiples(256, 128)
HOPPER_TRITON = Multiples(256, 64)
TENSORRT_LLM = Multiples(256, 256)


def padding_bytes(gpu: Accelerator, facts: ModelFacts, r: Resolved) -> float:
    """Bytes on one GPU beyond those of the weights themselves."""
    if facts.quantization != "mxfp4" or facts.experts == 1 or gpu.kind != "cuda":
        return 0.0
    to = _multiples(gpu, r)
    hidden, width = facts.hidden_size, facts.intermediate_size / r.tensor_parallel
    padded = _up(hidden, to.hidden) * _up(width, to.width) / (hidden * width)
    return part_bytes(facts, "experts") / r.tensor_parallel * (padded - 1)


def _multiples(gpu: Accelerator, r: Resolved) -> Multiples:
    major = (gpu.compute_capability or (9, 0))[0]
    if major == 10:
        return TENSORRT_LLM
    return HOPPER_TRITON if major == 9 and TRITON_ON_HOPPER.has(r.version) else MARLIN


def _up(size: float, multiple: int) -> float:
    return -(-size // multiple) * multiple
