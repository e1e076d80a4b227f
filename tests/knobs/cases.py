"""Contexts that the tests of the configuration space share."""

from __future__ import annotations

from collections.abc import Mapping

from rooftune.hardware.accelerator import Accelerator
from rooftune.hardware.named import accelerator
from rooftune.knobs.context import SpaceContext
from rooftune.knobs.space import Configuration
from rooftune.vllm_rules.config import EngineConfig, FlagValue
from rooftune.workloads.load import load_workload

PUBLISHED: dict[str, FlagValue] = {
    "dtype": "half",
    "max_model_len": 2048,
    "gpu_memory_utilization": 0.9,
    "quantization": "awq",
    "enforce_eager": True,
}
LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
CPU = Accelerator(
    name="cpu",
    kind="cpu",
    compute_capability=None,
    memory_bytes=64 * 2**30,
    bandwidth_bytes_per_s=40e9,
    flops_per_s={"fp32": 1e12},
    multiprocessors=8,
)


def context(
    gpu: str = "L4",
    model: str = LLAMA,
    version: str = "0.32.0",
    workload: str = "rag-medium",
    flags: Mapping[str, FlagValue] | None = None,
    **more: object,
) -> SpaceContext:
    """A context by names."""
    return SpaceContext(
        gpu=CPU if gpu == "cpu" else accelerator(gpu),
        engine_version=version,
        workload=load_workload(workload),
        baseline=EngineConfig(model=model).with_change(flags or {}),
        **more,  # type: ignore[arg-type]
    )


def published(**more: object) -> SpaceContext:
    """The published case: a T4 with an AWQ model, eager, vLLM 0.15.1."""
    return context("T4", "TheBloke/Llama-2-7B-AWQ", "0.15.1", "chat-medium", PUBLISHED, **more)


def values_of(found: list[Configuration], flag: str) -> set[object]:
    """Values of one flag over all configurations that set it."""
    return {c.change[flag] for c in found if flag in c.change}
