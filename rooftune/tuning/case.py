"""The default case, and the target that a command's options describe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rooftune.engines.target import EngineKind, Target
from rooftune.errors import InputError
from rooftune.vllm_rules.config import FlagValue

DEFAULT_GPU = "T4"
DEFAULT_MODEL = "llama-2-7b"
DEFAULT_VERSION = "0.15.1"
CURRENT_VERSION = "0.32.0"
"""The engine version if a GPU or a model is given without a version: the newest whose rules a real engine confirmed."""

DEFAULT_TIME_SCALE = 25.0
"""Default speed of the simulated engine's clock. At this speed 1,000 tokens/s are 25,000 chunks/s over HTTP."""

PUBLISHED_FLAGS: dict[str, FlagValue] = {
    "dtype": "half",
    "max_model_len": 2048,
    "gpu_memory_utilization": 0.9,
    "quantization": "awq",
    "enforce_eager": True,
}
"""Flags of the public experiment on a Tesla T4 (github.com/kshyp/varcas, 2026-02-11, vLLM 0.15.1)."""


def is_default_case(gpu: str | None, model: str | None, engine_version: str | None) -> bool:
    """Whether the options describe the published case: T4, Llama-2-7B, vLLM 0.15.1, or no option at all."""
    return (
        _same(gpu, DEFAULT_GPU)
        and _same(model, DEFAULT_MODEL)
        and (engine_version is None or engine_version == DEFAULT_VERSION)
    )


@dataclass(frozen=True)
class TargetRequest:
    """What a command's options say about a target; None where an option was not given."""

    engine: EngineKind = "simulated"
    gpu: str | None = None
    model: str | None = None
    engine_version: str | None = None
    flags: Mapping[str, FlagValue] = field(default_factory=dict)
    url: str | None = None
    vllm_python: str | None = None
    usd_per_gpu_hour: float | None = None
    time_scale: float | None = None
    """Used by the simulated engine only."""


def target_for(asked: TargetRequest) -> Target:
    """The target that a command's options describe, gaps filled.

    For the simulated engine, no options at all mean the published case (:data:`PUBLISHED_FLAGS`). Its flags are taken
    as long as GPU, model and version are that case's, and ``flags`` override them. Any other target starts from
    ``flags`` alone, so with the engine's own defaults.

    Raises:
        InputError: no model named for a real engine; a URL missing or not wanted.
    """
    engine, gpu, model, version, url = asked.engine, asked.gpu, asked.model, asked.engine_version, asked.url
    given: dict[str, FlagValue] = dict(asked.flags)
    if engine == "simulated":
        if url is not None:
            raise InputError("--url belongs to --engine endpoint; the simulated engine is started by rooftune.")
        if is_default_case(gpu, model, version):
            given = {**PUBLISHED_FLAGS, **given}
            version = DEFAULT_VERSION
        gpu, model = gpu or DEFAULT_GPU, model or DEFAULT_MODEL
    elif engine == "endpoint" and not url:
        raise InputError("--engine endpoint needs the server's address: --url http://HOST:PORT.")
    elif engine == "vllm" and not model:
        raise InputError("--engine vllm needs --model: a hub id, or a folder with a config.json.")
    return Target(
        engine=engine,
        gpu=gpu,
        model=model or "",
        engine_version=version or CURRENT_VERSION,
        flags=given,
        url=url,
        vllm_python=asked.vllm_python,
        usd_per_gpu_hour=asked.usd_per_gpu_hour,
        time_scale=(asked.time_scale or DEFAULT_TIME_SCALE) if engine == "simulated" else 1.0,
    )


def _same(name: str | None, default: str) -> bool:
    if name is None:
        return True
    plain = name.lower().replace(" ", "").replace("-", "").replace("_", "")
    aliases = {default.lower().replace("-", "")}
    if default == DEFAULT_MODEL:
        aliases.add("thebloke/llama27bawq")
    return plain in aliases
