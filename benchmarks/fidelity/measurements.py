"""Public measurements, and what the step-time model predicts for them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal, NamedTuple

import numpy as np
from packaging.version import Version
from ruamel.yaml import YAML

from rooftune.hardware.accelerator import Accelerator
from rooftune.hardware.named import accelerator
from rooftune.models.catalogue import model_facts
from rooftune.models.facts import ModelFacts
from rooftune.simulator.engine.core import limits
from rooftune.simulator.fastpath.run import run_fast
from rooftune.simulator.runs import ClientSettings, SimulatedRun
from rooftune.simulator.steptime.constants import Constants, constants_for, table
from rooftune.simulator.steptime.durations import decode_seconds, prefill_seconds
from rooftune.simulator.steptime.linear import matrix_seconds
from rooftune.simulator.steptime.model import SECOND_ENGINE, StepTime
from rooftune.vllm_rules.config import EngineConfig
from rooftune.vllm_rules.memory import kv_cache_tokens
from rooftune.vllm_rules.resolve import Resolved, resolve
from rooftune.workloads.request_plan import RequestPlan

UNSTATED_VERSION = "0.9.1"
"""Assumed if a source does not state its version: the middle of the releases that the sources span."""
LONG_S = 1e6
WEIGHT_BYTES = {"gemm_16bit": 2.0, "fp8": 1.0, "int8": 1.0, "marlin": 0.52, "machete": 0.52}


@dataclass(frozen=True)
class Point:
    """One measurement; the keys of ``data/measurements.yaml``."""

    id: str
    source: str
    use: Literal["fit", "hold", "aside"]
    gpu: str
    kind: Literal["gemm", "decode", "prefill", "serving"]
    kernel: str
    engine: str
    value: float
    metric: str
    model: str = ""
    tp: int = 1
    version: str | None = None
    eager: bool = False
    quantization: str | None = None
    weight_bits: int | None = None
    dtype: str | None = None
    dequantise_from: int | None = None
    m: int = 0
    n: int = 0
    k: int = 0
    batch: float = 1
    context: float = 0
    prompt: int = 0
    cached: int = 0
    output: int = 0
    prompts: int | None = None
    rate: float | None = None
    concurrency: int | None = None
    flags: dict[str, Any] | None = None
    note: str = ""

    @property
    def one_at_a_time(self) -> bool:
        return self.kind != "serving" or self.concurrency == 1


@cache
def _data() -> dict[str, Any]:
    text = files("benchmarks.fidelity").joinpath("data/measurements.yaml").read_text(encoding="utf-8")
    value: dict[str, Any] = YAML(typ="safe").load(text)
    return value


@cache
def points() -> tuple[Point, ...]:
    """All measurements of the data file."""
    return tuple(Point(**row) for row in _data()["points"])


def source_of(point: Point) -> dict[str, str]:
    """What, where and when a point was measured."""
    found: dict[str, str] = _data()["sources"][point.source]
    return found


def reason_aside(point: Point) -> str | None:
    """Why a point is not judged, or None. The rules depend on what was measured, never on the error."""
    if point.use == "aside":
        return f"set aside when it was entered: {point.note}"
    if point.version and Version(point.version) < SECOND_ENGINE and not point.one_at_a_time:
        return "several requests at once on vLLM before 0.8: its first engine, whose scheduler is not simulated"
    if point.engine == "autoawq" and point.dequantise_from and point.prompt >= point.dequantise_from:
        return "AutoAWQ beyond its dequantising threshold: its own PyTorch code, not a kernel that vLLM runs"
    return None


def predicted(point: Point, constants: Constants | None = None) -> float:
    """What the model predicts for a point, in the unit of its metric."""
    gpu = accelerator(point.gpu)
    constants = constants or constants_for(gpu, table())
    if point.kind == "gemm":
        return _gemm(point, gpu, constants)
    if point.dequantise_from is not None:
        rows = point.dequantise_from or math.inf
        constants = constants.replaced({"linear.awq_gemm.dequantise_from": rows})
    facts, resolved = _served(point, gpu)
    step = StepTime(gpu, facts, resolved, constants=constants)
    if point.kind == "decode":
        return _decode(point, step)
    if point.kind == "prefill":
        seconds = prefill_seconds(step, point.prompt, int(point.batch), cached=point.cached)
        return seconds * 1000 if point.metric == "step_ms" else point.batch * point.prompt / seconds
    if point.one_at_a_time:
        return _alone(point, step)
    return _crowd(point, gpu, step)


def relative_error(point: Point, value: float) -> float:
    """(predicted - measured) / measured."""
    return value / point.value - 1.0


class ServedLoad(NamedTuple):
    """The model and the configuration of a point."""

    facts: ModelFacts
    resolved: Resolved


def _served(point: Point, gpu: Accelerator) -> ServedLoad:
    facts = model_facts(point.model, quantization=point.quantization)
    if point.weight_bits:
        facts = facts.model_copy(update={"weight_bits": point.weight_bits})
    version = point.version or UNSTATED_VERSION
    flags: dict[str, Any] = dict(point.flags or {})
    tokens = max(point.prompt + point.output, int(point.context), 256)
    flags.setdefault("max_model_len", min(facts.max_position, max(2048, tokens)))
    if Version(version) < SECOND_ENGINE or point.kind == "prefill":
        flags.setdefault("max_num_batched_tokens", max(2048, tokens))
    if point.kernel == "awq_gemm":
        flags.setdefault("quantization", "awq")
    if point.kind == "decode":
        flags.setdefault("max_num_seqs", max(256, math.ceil(point.batch)))
    config = EngineConfig(
        model=point.model, dtype=point.dtype, enforce_eager=point.eager or None, tensor_parallel_size=point.tp, **flags
    )
    return ServedLoad(facts, resolve(gpu, facts, config, version))


def _gemm(point: Point, gpu: Accelerator, constants: Constants) -> float:
    kind = point.kernel if point.kernel in ("fp8", "int8") else point.dtype or "float16"
    stream = point.n * point.k * WEIGHT_BYTES[point.kernel]
    flops = 2.0 * point.n * point.k
    seconds = float(matrix_seconds(gpu, constants.linear[point.kernel], kind, np.array([point.m]), stream, flops)[0])
    return point.m * flops / (seconds + constants.host["kernel_us"] * 1e-6) / 1e12


def _decode(point: Point, step: StepTime) -> float:
    low, share = int(point.batch), point.batch - int(point.batch)
    seconds = decode_seconds(step, low, point.context) * (1 - share)
    seconds += decode_seconds(step, low + 1, point.context) * share if share else 0.0
    return seconds * 1000 if point.metric == "step_ms" else point.batch / seconds


def _alone(point: Point, step: StepTime) -> float:
    """One request at a time: the prefill, then one step for each further token at the mean context."""
    first = prefill_seconds(step, point.prompt)
    each = decode_seconds(step, 1, point.prompt + point.output / 2)
    whole = first + (point.output - 1) * each
    by_metric = {
        "mean_e2el_ms": whole * 1000,
        "mean_ttft_ms": first * 1000,
        "mean_tpot_ms": each * 1000,
        "output_throughput": point.output / whole,
        "total_token_throughput": (point.prompt + point.output) / whole,
        "request_throughput": 1 / whole,
    }
    return by_metric[point.metric]


def _crowd(point: Point, gpu: Accelerator, step: StepTime) -> float:
    """Many requests at once: through the scheduler in virtual time."""
    r, facts = step.r, step.facts
    config = EngineConfig(model=point.model)
    count = point.prompts or max(100, 4 * (point.concurrency or 0))
    tokens = kv_cache_tokens(gpu, facts, r)
    run = run_fast(
        _plan(point, count),
        step,
        limits(r, tokens, config),
        ClientSettings(connections=point.concurrency, end_s=LONG_S),
    )
    return _metric(point, run)


def _plan(point: Point, count: int) -> RequestPlan:
    def whole(value: int) -> Any:
        return np.full(count, value, np.int32)

    gaps = np.random.Generator(np.random.PCG64(1)).exponential(1 / point.rate, count) if point.rate else np.zeros(count)
    return RequestPlan(
        arrival_s=np.cumsum(gaps),
        prompt_tokens=whole(point.prompt),
        output_tokens=whole(point.output),
        prefix_id=whole(-1),
        prefix_tokens=whole(0),
        prompt_seed=np.arange(count, dtype=np.int64),
        conversation=whole(-1),
        turn=whole(0),
        think_s=np.zeros(count),
        part=np.zeros(count, np.int16),
        concurrency=None,
        seed=0,
    )


def _metric(point: Point, run: SimulatedRun) -> float:
    first, last = run.first_s, run.last_s
    span = float(np.nanmax(last) - np.nanmin(run.sent_s))
    tokens = float(run.generated.sum())
    by_metric = {
        "output_throughput": tokens / span,
        "total_token_throughput": (tokens + point.prompt * len(first)) / span,
        "request_throughput": len(first) / span,
        "mean_tpot_ms": float(np.nanmean((last - first) / np.maximum(run.generated - 1, 1))) * 1000,
        "mean_ttft_ms": float(np.nanmean(first - run.sent_s)) * 1000,
        "mean_e2el_ms": float(np.nanmean(last - run.sent_s)) * 1000,
    }
    return by_metric[point.metric]


def judged(of: Iterable[Point] | None = None) -> list[Point]:
    """The points that are judged."""
    return [p for p in (points() if of is None else of) if reason_aside(p) is None]
