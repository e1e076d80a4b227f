"""Cases whose capacity is known: engines, workloads and SLOs, and how far the truth is from the reference."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from rooftune.simulator.steptime.model import StepTime
from rooftune.simulator.virtual.predict import EmulatedEngine, engine_of
from rooftune.workloads.load import load_workload
from rooftune.workloads.slo import Slo
from rooftune.workloads.spec import Workload

OVERALL, RELATIVE = 0.15, 0.10
"""Standard deviations of the logarithms by which the true server differs from the reference: in overall speed, and in
bandwidth and arithmetic each on top of it. Predictions of strangers' figures err about as much (docs/simulator.md)."""


@dataclass(frozen=True)
class Case:
    """One configuration with a workload."""

    name: str
    gpu: str
    model: str
    version: str
    workload: str
    flags: dict[str, Any]
    slo: dict[str, float] = field(default_factory=dict)

    def load(self) -> Workload:
        """The workload with the case's SLO."""
        found = load_workload(self.workload)
        return found.model_copy(update={"slo": Slo(**self.slo)}) if self.slo else found

    def engine(self) -> EmulatedEngine:
        """The reference."""
        return engine_of(self.gpu, self.model, self.version, self.flags)


@dataclass(frozen=True)
class Truth:
    """A server that differs from the reference."""

    engine: EmulatedEngine
    speed: float


CASES = (
    Case("chat on a T4, AWQ Marlin", "T4", "llama-2-7b", "0.15.1", "chat-medium",
         {"dtype": "half", "max_model_len": 2048, "quantization": "awq_marlin", "max_num_seqs": 128}),
    Case("chat on a T4, old AWQ kernel", "T4", "llama-2-7b", "0.15.1", "chat-low",
         {"dtype": "half", "max_model_len": 2048, "quantization": "awq", "enforce_eager": True},
         {"ttft_ms": 3000, "tpot_ms": 150}),
    Case("RAG on an L4, FP8", "L4", "llama-3.1-8b", "0.32.0", "rag-medium",
         {"max_model_len": 4096, "quantization": "fp8", "kv_cache_dtype": "fp8"}),
    Case("chat on an A10G", "A10G", "llama-3.1-8b", "0.32.0", "chat-medium", {"max_model_len": 4096},
         {"ttft_ms": 1000, "tpot_ms": 60}),
    Case("code on an A100", "A100-80", "llama-3.1-8b", "0.32.0", "code-medium", {"max_model_len": 8192}),
    Case("chat on an H100, strict TPOT", "H100", "llama-3.1-8b", "0.32.0", "chat-medium", {"max_model_len": 4096},
         {"ttft_ms": 500, "tpot_ms": 20}),
    Case("chat on an L4, whole answers, 95 %", "L4", "qwen2.5-7b", "0.32.0", "chat-medium", {"max_model_len": 4096},
         {"e2el_ms": 25000, "share": 0.95}),
    Case("chat on an RTX 4090, TTFT alone", "RTX 4090", "qwen2.5-7b", "0.32.0", "chat-medium", {"max_model_len": 4096},
         {"ttft_ms": 400}),
)  # fmt: skip


def truth_of(reference: EmulatedEngine, random: np.random.Generator) -> Truth:
    """A server with other bandwidth, arithmetic and overall speed than the reference: another shape, not only another
    scale."""
    step = reference.step_time
    bandwidth, arithmetic = (math.exp(random.normal(0, RELATIVE)) for _ in range(2))
    card = step.gpu.model_copy(
        update={
            "bandwidth_bytes_per_s": step.gpu.bandwidth_bytes_per_s * bandwidth,
            "flops_per_s": {k: v * arithmetic for k, v in step.gpu.flops_per_s.items()},
        }
    )
    engine = replace(reference, step_time=StepTime(card, step.facts, step.r, constants=step.k))
    return Truth(engine, math.exp(random.normal(0, OVERALL)))
