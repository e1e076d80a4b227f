"""From what a user names (engine, GPU, model, version, flags) to a checked target, before anything is started."""

from __future__ import annotations

from typing import Any, cast, get_args

from rooftune.engines.target import EngineKind, Target
from rooftune.errors import InputError, RooftuneError, nearest
from rooftune.vllm_rules.config import FlagValue


def engine_kind(name: str) -> EngineKind:
    """The engine of that name. Raises InputError for another."""
    kinds = list(get_args(EngineKind))
    if name not in kinds:
        raise InputError(f"unknown engine {name!r}{nearest(name, kinds)}; known: {', '.join(kinds)}.")
    return cast(EngineKind, name)


async def target_of(
    *,
    engine: str = "simulated",
    gpu: str | None = None,
    model: str | None = None,
    engine_version: str | None = None,
    flags: list[str] | None = None,
    url: str | None = None,
    vllm_python: str | None = None,
    time_scale: float | None = None,
    calibration: str | None = None,
) -> Target:
    """The target that options describe; its names are checked and its gaps filled from what is here.

    Raises:
        InputError: an unknown name, a flag that the version does not have, contradicting flags, no vLLM here.
        EngineError: an endpoint does not answer.
    """
    from rooftune.tuning.case import CURRENT_VERSION, is_default_case, target_for
    from rooftune.vllm_rules.flags import parse_set

    kind = engine_kind(engine)
    if kind == "vllm" and engine_version is None:
        engine_version = _installed(vllm_python)
    if kind == "endpoint" and url and (model is None or engine_version is None):
        found = await _asked(url, model)
        model, engine_version = model or found[0], engine_version or found[1]
    if gpu is not None and kind != "vllm" and gpu.strip().lower() != "cpu":
        gpu = _gpu(gpu)
    published = kind == "simulated" and is_default_case(gpu, model, engine_version)
    version = engine_version or ("0.15.1" if published else CURRENT_VERSION)
    target = target_for(
        engine=kind,
        gpu=gpu,
        model=model,
        engine_version=engine_version,
        flags=parse_set(flags or [], version),
        url=url,
        vllm_python=vllm_python,
        time_scale=time_scale,
    )
    return _calibrated(_checked(target), calibration)


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


def named_server(
    gpu: str | None, model: str | None, engine_version: str | None, flags: list[str] | None
) -> tuple[str, str, str, dict[str, FlagValue]]:
    """(GPU, model, version, flags) of an emulated server.

    What is named counts and nothing else, with one exception: for Llama-2-7B on a T4, whose 16-bit weights do not fit,
    the flags of the published case fill in as long as ``quantization`` is not named.

    Raises:
        InputError: an unknown GPU, model or flag, or contradicting flags.
    """
    from rooftune.models.catalogue import model_facts
    from rooftune.tuning.case import (
        CURRENT_VERSION,
        DEFAULT_GPU,
        DEFAULT_MODEL,
        DEFAULT_VERSION,
        PUBLISHED_FLAGS,
        is_default_case,
    )
    from rooftune.vllm_rules.config import EngineConfig
    from rooftune.vllm_rules.flags import parse_set
    from rooftune.vllm_rules.validation import validate

    gpu = _gpu(gpu) if gpu else None
    published = is_default_case(gpu, model, engine_version)
    version = engine_version or (DEFAULT_VERSION if published else CURRENT_VERSION)
    given = parse_set(flags or [], version)
    if published and "quantization" not in given:
        given = {**PUBLISHED_FLAGS, **given}
    name = model or DEFAULT_MODEL
    model_facts(name, quantization=cast("str | None", given.get("quantization")))
    validate(EngineConfig(model=name).with_change(given), version)
    return gpu or DEFAULT_GPU, name, version, given


def workload_with(name: str, **changes: Any) -> Any:
    """The workload of that name with durations, seed and rate replaced where a value is given.

    Raises:
        InputError: no such workload, or a rate for arrivals that have none.
    """
    from rooftune.workloads.load import as_workload, load_workload

    workload = load_workload(name)
    wanted = {k: v for k, v in changes.items() if v is not None and k != "rate_per_s"}
    for field in ("duration_s", "warmup_s", "drain_s"):
        if field in wanted and (wanted[field] < 0 or (field == "duration_s" and wanted[field] == 0)):
            raise InputError(f"{field.removesuffix('_s')} must be a positive number of seconds, not {wanted[field]:g}.")
    rate = changes.get("rate_per_s")
    content = {**workload.model_dump(), **wanted}
    if rate is not None:
        if rate <= 0:
            raise InputError(f"the rate must be a positive number of requests per second, not {rate:g}.")
        if "rate_per_s" not in content["arrivals"]:
            raise InputError(
                f"arrivals of {workload.name} ({content['arrivals']['process']}) have no rate; run without --rate."
            )
        content["arrivals"]["rate_per_s"] = rate
    return as_workload(content, f"{workload.name} with these options")


def seconds(text: str) -> float:
    """A length of time as people write it: ``10m``, ``90s``, ``1h30m``, ``240``. In seconds.

    Raises:
        InputError: it is none.
    """
    import re

    plain = text.strip().lower().replace(" ", "")
    if re.fullmatch(r"\d+(\.\d+)?", plain):
        return float(plain)
    match = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?:in)?)?(?:(\d+(?:\.\d+)?)s)?", plain)
    if not plain or match is None:
        raise InputError(f"{text!r} is no length of time; write 10m, 90s or 1h30m.")
    hours, minutes, rest = (float(part or 0) for part in match.groups())
    return 3600 * hours + 60 * minutes + rest


def _gpu(name: str) -> str:
    """The catalogue's name of a GPU."""
    from rooftune.hardware.named import accelerator

    return accelerator(name).name


def _installed(vllm_python: str | None) -> str:
    from rooftune.engines.interpreter import installed
    from rooftune.engines.interpreter import vllm_python as interpreter

    return installed(interpreter(vllm_python)).version.split("+")[0]


async def _asked(url: str, model: str | None) -> tuple[str, str | None]:
    """(model, version) that an endpoint tells."""
    from rooftune.engines.launch import connect

    server = await connect(Target(engine="endpoint", model=model or "", engine_version="unknown", url=url))
    return server.model, server.effective.engine_version


def _checked(target: Target) -> Target:
    """The target itself, once model and flags are found to be known and to fit together."""
    from rooftune.models.catalogue import may_be_served, model_facts
    from rooftune.vllm_rules.config import EngineConfig
    from rooftune.vllm_rules.validation import validate

    if target.engine == "endpoint":
        return target
    try:
        facts = model_facts(target.model)
        quantization = target.flags.get("quantization")
        model_facts(target.model, quantization=str(quantization) if quantization else None)
        del facts
    except RooftuneError:
        if target.simulated or not may_be_served(target.model):
            raise
    validate(EngineConfig(model=target.model).with_change(target.flags), target.engine_version)
    return target
