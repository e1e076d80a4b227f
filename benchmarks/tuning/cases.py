"""The cases: GPU, model, workload, SLO or objective, and the space of configurations."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from rooftune.knobs.configuration import KnobValue
from rooftune.vllm_rules.config import FlagValue
from rooftune.workloads.load import load_workload
from rooftune.workloads.slo import Slo
from rooftune.workloads.spec import Workload

WORKLOADS = Path(__file__).parents[2] / "workloads"
SEQUENCES = (16, 32, 64, 96, 128, 192, 256, 384, 512)
BUDGETS = (512, 1024, 2048, 4096, 8192)
KV = ("auto", "fp8")
Objective = Literal["capacity", "throughput"]


@dataclass(frozen=True)
class Trap:
    """Something that the search's model does not know."""

    slow: Mapping[str, float] = field(default_factory=dict)
    """Factors on the constants of the truth, by path: a kernel that is slower than the model thinks."""
    fails: tuple[str, ...] = ()
    """Knob values that keep a server from starting, such as ``kv_cache_dtype=fp8``."""


@dataclass(frozen=True)
class Case:
    """One tuning task."""

    name: str
    gpu: str
    model: str
    workload: str
    version: str = "0.32.0"
    weights: tuple[str, ...] = ("none", "fp8", "awq")
    """The first is the baseline's."""
    slo: Mapping[str, float] = field(default_factory=dict)
    objective: Objective = "capacity"
    flags: Mapping[str, FlagValue] = field(default_factory=dict)
    """Flags of every configuration."""
    utilisations: tuple[float, ...] = (0.9,)
    eager: bool = False
    """Whether the baseline runs without CUDA graphs."""
    trap: Trap | None = None

    @property
    def task(self) -> Workload:
        """The workload with the case's SLO."""
        found = load_workload(str(WORKLOADS / f"{self.workload}.yaml"))
        if not self.slo:
            return found
        return found.model_copy(update={"slo": Slo(**{**found.slo.model_dump(), **self.slo})})

    @property
    def configurations(self) -> list[dict[str, KnobValue]]:
        """The knobs of every configuration of the space, the baseline first."""
        names = (
            "quantization", "kv_cache_dtype", "enforce_eager", "gpu_memory_utilization", "max_num_seqs",
            "max_num_batched_tokens",
        )  # fmt: skip
        values = (self.weights, KV, (False, True), self.utilisations, SEQUENCES, BUDGETS)
        whole: list[dict[str, KnobValue]] = [
            dict(zip(names, chosen, strict=True)) for chosen in itertools.product(*values)
        ]
        base = self.baseline
        return [base, *(knobs for knobs in whole if knobs != base)]

    @property
    def baseline(self) -> dict[str, KnobValue]:
        """vLLM's own limits, the first weights and the model's own KV type."""
        return {
            "quantization": self.weights[0],
            "kv_cache_dtype": "auto",
            "enforce_eager": self.eager,
            "gpu_memory_utilization": self.utilisations[0],
            "max_num_seqs": 256,
            "max_num_batched_tokens": 2048,
        }

    def flags_of(self, knobs: Mapping[str, KnobValue]) -> dict[str, FlagValue]:
        """The flags of a configuration."""
        found: dict[str, FlagValue] = {**self.flags, **knobs}
        if knobs["quantization"] == "none":
            del found["quantization"]
        if knobs["kv_cache_dtype"] == "auto":
            del found["kv_cache_dtype"]
        return found


T4_FLAGS: Mapping[str, FlagValue] = {"dtype": "half", "max_model_len": 2048}
SHORT: Mapping[str, FlagValue] = {"max_model_len": 4096}

CASES = (
    Case("T4 llama-2-7b chat", "T4", "llama-2-7b", "chat-medium", "0.15.1", ("awq", "awq_marlin"), flags=T4_FLAGS,
         utilisations=(0.9, 0.95), eager=True),
    Case("L4 llama-3.1-8b rag", "L4", "llama-3.1-8b", "rag-medium", flags=SHORT),
    Case("A10G qwen2.5-7b chat", "A10G", "qwen2.5-7b", "chat-medium", flags=SHORT),
    Case("A10G llama-3.1-8b code", "A10G", "llama-3.1-8b", "code-medium", flags=SHORT),
    Case("L4 qwen2.5-7b chat, TPOT 50 ms", "L4", "qwen2.5-7b", "chat-medium", slo={"tpot_ms": 50}, flags=SHORT),
    Case("L40S llama-3.1-8b mixed", "L40S", "llama-3.1-8b", "mixed", flags=SHORT),
    Case("A100-80 llama-3.1-8b chat, TPOT 30 ms", "A100-80", "llama-3.1-8b", "chat-high", slo={"tpot_ms": 30},
         flags=SHORT),
    Case("A100-40 qwen2.5-14b rag", "A100-40", "qwen2.5-14b", "rag-medium", flags=SHORT),
    Case("H100 llama-3.1-8b chat, TTFT 500 ms, TPOT 25 ms", "H100", "llama-3.1-8b", "chat-high",
         slo={"tpot_ms": 25, "ttft_ms": 500}, flags=SHORT),
    Case("RTX 4090 qwen2.5-7b code", "RTX 4090", "qwen2.5-7b", "code-medium", flags=SHORT),
    Case("RTX 3090 mistral-7b chat", "RTX 3090", "mistral-7b-v0.3", "chat-medium", flags=SHORT),
    Case("A40 llama-2-13b mixed", "A40", "llama-2-13b", "mixed", flags=SHORT),
    Case("H100 qwen2.5-32b rag", "H100", "qwen2.5-32b", "rag-medium", flags=SHORT),
    Case("L4 qwen3-4b chat, throughput", "L4", "qwen3-4b", "chat-high", objective="throughput", flags=SHORT),
    Case("A10G llama-3.1-8b chat, the FP8 and AWQ kernels are slow", "A10G", "llama-3.1-8b", "chat-medium", flags=SHORT,
         trap=Trap(slow={"linear.marlin.memory": 0.5, "linear.marlin.compute": 0.5, "linear.marlin.compute_fp8": 0.5})),
    Case("L40S qwen2.5-14b chat, FP8 KV does not start", "L40S", "qwen2.5-14b", "chat-medium", flags=SHORT,
         trap=Trap(fails=("kv_cache_dtype=fp8",))),
)  # fmt: skip

HELD_BACK = tuple(
    replace(case, name=f"{case.name}, another truth")
    for case in CASES
    if case.gpu in ("T4", "A100-80", "A100-40", "RTX 4090", "RTX 3090") or case.name == "L4 llama-3.1-8b rag"
)
"""Other draws of the truth, because a truth follows from the name of its case. They were not looked at when the sizes
of the errors and the stop rule of the search were chosen."""
