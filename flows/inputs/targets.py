"""From what a user names (engine, GPU, model, version, flags) to a checked target, before anything is started."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast, get_args

from flows.inputs.parameters import ServerOptions, TargetOptions
from rooftune.engines.target import CalibrationFile, EngineKind, Target
from rooftune.errors import InputError, RooftuneError, nearest
from rooftune.vllm_rules.config import EngineConfig, FlagValue

if TYPE_CHECKING:
    from rooftune.engines.server import ServerInfo
    from rooftune.workloads.spec import Workload


@dataclass(frozen=True)
class EmulatedServer:
    """A server of the emulated engine: what is predicted or simulated."""

    gpu: str
    model: str
    engine_version: str
    flags: dict[str, FlagValue]
    calibration: CalibrationFile | None = None

    @property
    def config(self) -> EngineConfig:
        """Its model and flags."""
        return EngineConfig(model=self.model).with_change(self.flags)


def engine_kind(name: str) -> EngineKind:
    """The engine of that name.

    Raises:
        InputError: there is no such engine.
    """
    kinds = list(get_args(EngineKind))
    if name not in kinds:
        raise InputError(f"unknown engine {name!r}{nearest(name, kinds)}; known: {', '.join(kinds)}.")
    return cast(EngineKind, name)


async def resolve_target(asked: TargetOptions, time_scale: float | None = None) -> Target:
    """The target that options describe, with names checked and gaps filled from this machine.

    Raises:
        InputError: an unknown name, a flag that the version does not have, contradicting flags, or no vLLM here.
        EngineError: an endpoint does not answer.
    """
    from rooftune.tuning.case import CURRENT_VERSION, DEFAULT_VERSION, TargetRequest, is_default_case, target_for
    from rooftune.vllm_rules.flags import parse_set

    kind, model, version = engine_kind(asked.engine), asked.model, asked.engine_version
    if kind == "vllm" and version is None:
        version = _installed(asked.vllm_python)
    if kind == "endpoint" and asked.url and (model is None or version is None):
        found = await _endpoint(asked.url, model)
        model, version = model or found.model, version or found.effective.engine_version
    gpu = asked.gpu
    if gpu is not None and kind != "vllm" and gpu.strip().lower() != "cpu":
        gpu = _catalogue_name(gpu)
    published = kind == "simulated" and is_default_case(gpu, model, version)
    request = TargetRequest(
        engine=kind,
        gpu=gpu,
        model=model,
        engine_version=version,
        flags=parse_set(asked.flags or [], version or (DEFAULT_VERSION if published else CURRENT_VERSION)),
        url=asked.url,
        vllm_python=asked.vllm_python,
        usd_per_gpu_hour=asked.usd_per_gpu_hour,
        time_scale=time_scale,
    )
    target = target_for(request)
    return _calibrated(_checked(target), asked.calibration)


def for_workload(target: Target, workload: Workload) -> Target:
    """The target whose servers can serve a workload: they have its LoRA adapters. Flags that the user named stay.

    Raises:
        InputError: vLLM would not find an adapter, its version does not take the flags, or the SLO has a limit on the
            first token of the answer and the server would not separate it from the reasoning.
    """
    from rooftune.vllm_rules.adapters import adapter_flags

    if target.engine == "endpoint":
        return target
    if workload.slo.answer_ttft_ms is not None and "reasoning_parser" not in target.flags:
        raise InputError(
            f"the SLO of {workload.name} has answer_ttft_ms, and a server without a reasoning parser does not say "
            "where the answer begins; add --set reasoning_parser=NAME with the parser of your model, such as qwen3."
        )
    if not workload.lora:
        return target
    without = [a.name for a in workload.lora if a.path is None]
    if without and target.engine == "vllm" and "lora_modules" not in target.flags:
        raise InputError(
            f"the adapter {without[0]} of {workload.name} has no path; add lora.path (a folder or a hub id), or name "
            "all adapters with --set lora_modules=NAME=PATH."
        )
    return _checked(target.model_copy(update={"flags": {**adapter_flags(workload.lora), **target.flags}}))


def emulated_for(server: EmulatedServer, workload: Workload) -> EmulatedServer:
    """The emulated server with the LoRA adapters of a workload. Flags that the user named stay as they are."""
    from rooftune.vllm_rules.adapters import adapter_flags

    return replace(server, flags={**adapter_flags(workload.lora), **server.flags})


def emulated_server(asked: ServerOptions, more_flags: list[str] | None = None) -> EmulatedServer:
    """The emulated server that options describe.

    Only flags that were named are set, with one exception: the 16-bit weights of Llama-2-7B do not fit on a T4, so for
    this pair the flags of the published case fill in unless ``quantization`` is named.

    Raises:
        InputError: an unknown GPU, model or flag, contradicting flags, or an unreadable calibration.
    """
    from flows.inputs.calibrations import chosen
    from rooftune.models.catalogue import model_facts
    from rooftune.tuning import case
    from rooftune.vllm_rules.flags import parse_set
    from rooftune.vllm_rules.validation import validate

    gpu = _catalogue_name(asked.gpu) if asked.gpu else None
    published = case.is_default_case(gpu, asked.model, asked.engine_version)
    version = asked.engine_version or (case.DEFAULT_VERSION if published else case.CURRENT_VERSION)
    flags = parse_set([*(asked.flags or []), *(more_flags or [])], version)
    if published and "quantization" not in flags:
        flags = {**case.PUBLISHED_FLAGS, **flags}
    gpu, model = gpu or case.DEFAULT_GPU, asked.model or case.DEFAULT_MODEL
    model_facts(model, quantization=cast("str | None", flags.get("quantization")))
    validate(EngineConfig(model=model).with_change(flags), version)
    return EmulatedServer(gpu, model, version, flags, chosen(asked.calibration, gpu))


def _catalogue_name(gpu: str) -> str:
    from rooftune.hardware.named import accelerator

    return accelerator(gpu).name


def _installed(vllm_python: str | None) -> str:
    """Version of the vLLM that an interpreter has."""
    from rooftune.engines.interpreter import installed
    from rooftune.engines.interpreter import vllm_python as interpreter

    return installed(interpreter(vllm_python)).version.split("+")[0]


async def _endpoint(url: str, model: str | None) -> ServerInfo:
    """What a running server reports about itself."""
    from rooftune.engines.launch import connect

    return await connect(Target(engine="endpoint", model=model or "", engine_version="unknown", url=url))


def _checked(target: Target) -> Target:
    """The target itself, once its model and flags are known and fit together."""
    from rooftune.models.catalogue import may_be_served, model_facts
    from rooftune.vllm_rules.validation import validate

    if target.engine == "endpoint":
        return target
    quantization = target.flags.get("quantization")
    try:
        model_facts(target.model)
        model_facts(target.model, quantization=str(quantization) if quantization else None)
    except RooftuneError:
        if target.simulated or not may_be_served(target.model):
            raise
    validate(EngineConfig(model=target.model).with_change(target.flags), target.engine_version)
    return target


def _calibrated(target: Target, named: str | None) -> Target:
    """The target with the calibration that its predictions and its simulation use."""
    from flows.inputs.calibrations import chosen
    from rooftune.hardware import nvml
    from rooftune.hardware.named import accelerator

    gpu = target.gpu
    if gpu is None and target.engine == "vllm":
        found = nvml.gpus()
        gpu = nvml.matched(found[0]).name if found else "cpu"
    if gpu is None:
        return target
    return target.model_copy(update={"calibration": chosen(named, accelerator(gpu).name)})
