"""The hardware upgrade path: the simulator's predictions for this workload and model on other accelerators."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from rooftune.capacity.replicas import needed
from rooftune.engines.price import given_price, usd_per_million
from rooftune.engines.target import Target
from rooftune.errors import RooftuneError
from rooftune.hardware.accelerator import Accelerator
from rooftune.models.facts import ModelFacts
from rooftune.runfolder import RunFolder
from rooftune.tuning.plan import Decision, Plan
from rooftune.vllm_rules.config import EngineConfig, FlagValue
from rooftune.vllm_rules.effects import unmodelled
from rooftune.vllm_rules.kernels import marlin_needs
from rooftune.vllm_rules.versions import version
from rooftune.workloads.spec import Workload

if TYPE_CHECKING:
    from rooftune.simulator.calibration.files import Calibration

PATH = ("T4", "L4", "A10G", "A100-40", "A100-80", "L40S", "H100", "H200", "B200")
"""Accelerators of the path. The run's own GPU is added if it is not among them."""

GIB = 1024**3


class UpgradeRow(BaseModel):
    """One accelerator with its predicted results. Rates per second, memory and bandwidth in bytes."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    gpu: str
    current: bool = False
    memory_bytes: int
    bandwidth_bytes_per_s: float
    fp8: bool
    configuration: str = Field(default="", description="the best of the plausible configurations there, in words")
    flags: dict[str, FlagValue] = Field(default_factory=dict)
    output_throughput: float | None = Field(default=None, description="predicted at the asked load, tokens/s")
    served_rate_per_s: float | None = None
    change: float | None = Field(default=None, description="served rate as a ratio to the current accelerator's")
    overloaded: bool | None = None
    slo_share: float | None = Field(default=None, description="predicted share of requests that meet the SLO")
    median_tpot_ms: float | None = None
    capacity_per_s: float | None = Field(
        default=None, description="predicted requests/s within the SLO, where they decide; 0 = none"
    )
    limited_by: str = Field(default="", description="what breaks above the capacity")
    accelerators_needed: int | None = Field(default=None, description="to serve the asked rate, each its own server")
    usd_per_hour: float | None = None
    price_source: str = ""
    usd_per_million_output_tokens: float | None = Field(
        default=None, description="at the asked load; at the capacity where that decides"
    )
    error_band: float | None = Field(default=None, description="relative error of predicted throughput: 0.1 = 10 %")
    impossible: str = Field(default="", description="why the workload cannot run there")

    @property
    def rate_per_s(self) -> float | None:
        """The rate that compares accelerators: the capacity, else what fills the server."""
        return self.served_rate_per_s if self.capacity_per_s is None else self.capacity_per_s


class UpgradePath(BaseModel):
    """Content of upgrade.json. Every row is predicted, including that of the current accelerator."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    format: int = 1
    workload: str
    model: str
    engine_version: str
    asked_rate_per_s: float | None
    error_band: float | None = Field(description="relative error of the predictions: 0.1 = within 10 %")
    unmodelled: list[str] = Field(default_factory=list, description="recommended flags that every row leaves out")
    rows: list[UpgradeRow]


def upgrade_path(
    workload: Workload,
    target: Target,
    facts: ModelFacts,
    flags: dict[str, FlagValue],
    asked_rate_per_s: float | None,
    calibration: Calibration | None = None,
) -> UpgradePath:
    """Predict the workload on each accelerator of the path, with the best plausible configuration there.

    ``flags`` are the recommended ones. On the current accelerator only they are predicted. Elsewhere the weights may
    have any type that the accelerator runs, CUDA graphs are on, and batch limits have their defaults. A recommended
    type of the KV cache is tried next to the default one. ``calibration`` applies to its own accelerator only.
    """
    from rooftune.hardware.named import accelerator

    own = accelerator(target.gpu).name if target.gpu else None
    names = [*([own] if own and own not in PATH else []), *PATH]

    wanted = _Wanted(workload, target, facts, flags, asked_rate_per_s, calibration)

    def predicted(name: str) -> _Prediction:
        gpu = accelerator(name)
        if name == own and target.usd_per_gpu_hour is not None:
            gpu = gpu.model_copy(update={"price": given_price(target.usd_per_gpu_hour)})
        return _row(gpu, name == own, wanted)

    # The compiled simulator releases the interpreter's lock, so predictions run in parallel; the first one compiles it.
    found = [predicted(names[0])]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found += pool.map(predicted, names[1:])
    rows = [prediction.row for prediction in found]
    band = max((prediction.band for prediction in found if prediction.band is not None), default=None)
    left_out = unmodelled(EngineConfig(model=target.model).with_change(flags), target.engine_version)
    now = next((r.rate_per_s for r in rows if r.current), None)
    if now:
        rows = [r.model_copy(update={"change": r.rate_per_s / now}) if r.rate_per_s is not None else r for r in rows]
    return UpgradePath(
        workload=workload.name,
        model=facts.name,
        engine_version=target.engine_version,
        asked_rate_per_s=asked_rate_per_s,
        error_band=band,
        unmodelled=[str(f) for f in left_out],
        rows=rows,
    )


class Option(NamedTuple):
    """A plausible configuration, in words and as flags."""

    words: str
    flags: dict[str, FlagValue]


def options(gpu: Accelerator, facts: ModelFacts, flags: dict[str, FlagValue], engine_version: str) -> list[Option]:
    """Plausible configurations of an accelerator."""
    dropped: tuple[str, ...] = (
        "enforce_eager",
        "quantization",
        "compilation_config",
        "attention_backend",
        "dtype",
    )
    dropped += ("max_num_seqs", "max_num_batched_tokens", "speculative_config")
    rest = {k: v for k, v in flags.items() if k not in dropped}
    marlin = (gpu.compute_capability or (0, 0)) >= marlin_needs(version(engine_version))
    found: list[Option] = []
    if facts.quantization is None or "none" in facts.hub_ids:
        found.append(Option("16-bit weights", {**rest, "quantization": "none"}))
        if "fp8" in gpu.flops_per_s:
            found.append(Option("FP8 weights", {**rest, "quantization": "fp8"}))
    for kind, kernel in (("awq", "awq_marlin"), ("gptq", "gptq_marlin")):
        if facts.quantization == kind or (kind == "awq" and "awq" in facts.hub_ids):
            chosen = kernel if marlin else kind
            words = f"{kind.upper()} weights{', Marlin kernel' if marlin else ''}"
            found.append(Option(words, {**rest, "quantization": chosen}))
    cache = flags.get("kv_cache_dtype")
    plain = [Option(o.words, {k: v for k, v in o.flags.items() if k != "kv_cache_dtype"}) for o in found]
    return [*plain, *(Option(f"{o.words}, {cache} KV cache", o.flags) for o in found)] if cache else plain


@dataclass(frozen=True)
class _Wanted:
    """What is predicted on every accelerator of the path."""

    workload: Workload
    target: Target
    facts: ModelFacts
    flags: dict[str, FlagValue]
    asked_rate_per_s: float | None
    calibration: Calibration | None


def _row(gpu: Accelerator, current: bool, wanted: _Wanted) -> _Prediction:
    target, flags, calibration = wanted.target, wanted.flags, wanted.calibration
    fitted = calibration if calibration is not None and calibration.gpu == gpu.name else None
    best: _Service | None = None
    chosen, refusal = Option("", dict(flags)), ""
    choices = (
        [Option("the recommended flags", dict(flags))]
        if current
        else options(gpu, wanted.facts, flags, target.engine_version)
    )
    for option in choices:
        try:
            found = _predicted(wanted.workload, gpu.name, target, option.flags, fitted)
        except RooftuneError as error:
            refusal = refusal or str(error)
            continue
        if best is None or found.rate_per_s > best.rate_per_s:
            best, chosen = found, option
    row = UpgradeRow(
        gpu=gpu.name,
        current=current,
        memory_bytes=gpu.memory_bytes,
        bandwidth_bytes_per_s=gpu.bandwidth_bytes_per_s,
        fp8="fp8" in gpu.flops_per_s,
        usd_per_hour=gpu.price.usd_per_hour if gpu.price else None,
        price_source=gpu.price.words if gpu.price else "",
    )
    if best is None:
        return _Prediction(row.model_copy(update={"impossible": refusal or "no configuration of the model fits"}), None)
    return _Prediction(row.model_copy(update=_service(best, chosen, gpu, wanted.asked_rate_per_s)), best.band)


class _Prediction(NamedTuple):
    row: UpgradeRow
    band: float | None


class _Service(BaseModel):
    """The parts of one prediction that the path shows."""

    output_throughput: float | None = None
    served_rate_per_s: float | None = None
    overloaded: bool | None = None
    slo_share: float | None = None
    median_tpot_ms: float | None = None
    capacity_per_s: float | None = None
    limited_by: str = ""
    output_tokens_per_s: float
    """Over which the price is spread."""
    band: float | None

    @property
    def rate_per_s(self) -> float:
        return (self.served_rate_per_s if self.capacity_per_s is None else self.capacity_per_s) or 0.0


def _predicted(
    workload: Workload, gpu: str, target: Target, flags: dict[str, FlagValue], calibration: Calibration | None
) -> _Service:
    from rooftune.simulator.virtual.predict import predict

    if workload.measures_capacity:
        return _within_slo(workload, gpu, target, flags, calibration)
    found = predict(
        workload,
        gpu=gpu,
        model=target.model,
        engine_version=target.engine_version,
        flags=flags,
        calibration=calibration,
        runs=2 * len(PATH),
    )
    band = found.error_band
    return _Service(
        output_throughput=found.metrics["output_throughput"],
        output_tokens_per_s=found.metrics["output_throughput"],
        served_rate_per_s=found.served_rate_per_s,
        overloaded=found.overloaded,
        slo_share=found.metrics.get("slo_attainment"),
        median_tpot_ms=found.metrics.get("median_tpot_ms"),
        band=float(band) if isinstance(band, (int, float)) else None,
    )


def _within_slo(
    workload: Workload, gpu: str, target: Target, flags: dict[str, FlagValue], calibration: Calibration | None
) -> _Service:
    """The capacity of one server there."""
    from rooftune.simulator.steptime.accuracy import error_band
    from rooftune.simulator.virtual.capacity import capacity, sample
    from rooftune.simulator.virtual.predict import engine_of

    drawn = sample(workload)
    engine = engine_of(
        gpu, target.model, target.engine_version, flags, calibration=calibration,
        longest_request=drawn.plan.longest_request,
    )  # fmt: skip
    found = capacity(engine, drawn)
    arrivals = max(1, int((drawn.plan.turn == 0).sum()))
    tokens = float(drawn.plan.output_tokens.sum()) / arrivals
    band = error_band(engine.step_time.gpu, engine.resolved, calibration)
    return _Service(
        capacity_per_s=found.rate_per_s,
        limited_by=found.limited_by,
        output_tokens_per_s=found.rate_per_s * tokens,
        band=band if isinstance(band, float) else None,
    )


def _service(found: _Service, option: Option, gpu: Accelerator, asked: float | None) -> dict[str, object]:
    each = found.rate_per_s
    price = gpu.price.usd_per_hour if gpu.price else None
    return {
        "configuration": option.words,
        "flags": option.flags,
        "output_throughput": found.output_throughput,
        "served_rate_per_s": found.served_rate_per_s,
        "overloaded": found.overloaded,
        "slo_share": found.slo_share,
        "median_tpot_ms": found.median_tpot_ms,
        "capacity_per_s": found.capacity_per_s,
        "limited_by": found.limited_by,
        "accelerators_needed": needed(asked, each) if asked and each else None,
        "usd_per_million_output_tokens": usd_per_million(price, found.output_tokens_per_s) if price else None,
        "error_band": found.band,
    }


def write_upgrade(run: RunFolder, workload: Workload, plan: Plan, decision: Decision) -> Path | None:
    """Write upgrade.json into a run folder; None if the simulator does not know the GPU or the model."""
    from rooftune.files import write_json
    from rooftune.models.catalogue import model_facts
    from rooftune.simulator.calibration.files import opened

    if plan.target.gpu is None or plan.target.gpu.lower() == "cpu":
        return None
    calibration = opened(plan.target.calibration)
    try:
        served = plan.candidate(decision.incumbent).config.model
        target = plan.target.serving(served, plan.candidates[0].config.model)
        facts = model_facts(target.model)
        asked = decision.asked_rate_per_s
        found = upgrade_path(workload, target, facts, dict(decision.incumbent_flags), asked, calibration)
    except RooftuneError:
        return None
    path = run.path / "upgrade.json"
    write_json(path, found.model_dump(mode="json"))
    return path
