"""``rooftune predict``: the metrics of a workload on a configuration in virtual time, without a server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from rooftune.formatting import number
from rooftune.hardware.named import accelerator
from rooftune.metrics.window import Window
from rooftune.models.catalogue import model_facts
from rooftune.simulator.calibration.files import Calibration
from rooftune.simulator.engine.core import limits
from rooftune.simulator.engine.scheduler import Limits
from rooftune.simulator.fastpath.run import run_fast
from rooftune.simulator.runs import ENGINE_ALONE, ClientSettings, ServerPath, SimulatedRun
from rooftune.simulator.steptime.accuracy import error_band, error_bands, kernel_case
from rooftune.simulator.steptime.bounds import decode_step
from rooftune.simulator.steptime.model import StepTime
from rooftune.simulator.virtual.run_metrics import OfferedLoad, RunMetrics, run_metrics
from rooftune.simulator.virtual.saturation import saturated_rate
from rooftune.simulator.virtual.server_path import server_path
from rooftune.speculation.acceptance import ASSUMED, AcceptanceLike, drafted_of, words
from rooftune.vllm_rules.budget import MemoryBudget
from rooftune.vllm_rules.config import EngineConfig, FlagValue
from rooftune.vllm_rules.effects import Unmodelled, sentence, unmodelled
from rooftune.vllm_rules.kv_cache import BLOCK_TOKENS
from rooftune.vllm_rules.resolve import Resolved
from rooftune.vllm_rules.start.context import FittedContext
from rooftune.vllm_rules.start.startup import Startup, startup
from rooftune.workloads.draw import draw
from rooftune.workloads.request_plan import RequestPlan
from rooftune.workloads.spec import Closed, Workload

Bools = npt.NDArray[np.bool_]
FULL = 0.9
"""Share of the limit of sequences, or of the KV cache, from which it is called full."""


@dataclass(frozen=True)
class EmulatedEngine:
    """One emulated server: everything that a run in virtual time needs."""

    resolved: Resolved
    memory: MemoryBudget
    step_time: StepTime
    limits: Limits
    acceptance: AcceptanceLike = ASSUMED
    calibration: Calibration | None = None
    """What the step times were calibrated with; None = constants as shipped."""
    unmodelled: tuple[Unmodelled, ...] = ()
    """Flags that may change a real engine and do not change this one."""
    context: FittedContext | None = None
    """The context that rooftune set because the model's own does not fit."""

    def for_requests(self, plan: RequestPlan) -> EmulatedEngine:
        """The engine with a KV cache of as many tokens as these requests find room for.

        Where windows give blocks back, that depends on how long the requests are; otherwise nothing changes.
        """
        if not self.memory.pool.has_windows or not len(plan):
            return self
        answers = plan.output_tokens.astype(np.float64)
        tokens = self.memory.scheduled_tokens(plan.prompt_tokens + answers / 2, answers)
        return replace(self, limits=replace(self.limits, kv_blocks=tokens // BLOCK_TOKENS - 1))


@dataclass(frozen=True)
class Prediction:
    """The predicted metrics of a workload on a configuration. Every figure is simulated."""

    metrics: dict[str, float]
    withheld: dict[str, str]
    overloaded: bool
    asked_rate_per_s: float | None
    bottleneck: str
    kv_cache_tokens: int
    memory: MemoryBudget
    server: dict[str, float]
    """Means over the window, named as in a measured trial."""
    error_band: float | str | None = None
    """Relative error of the throughput found for such a case: 0.1 = within 10 %; in words where none can be given."""
    error_bands: dict[str, float] = field(default_factory=dict)
    """The same for throughput, TPOT and TTFT; empty where ``error_band`` is in words."""
    context: FittedContext | None = None
    """The context that rooftune set because the model's own does not fit."""
    unmodelled: tuple[str, ...] = ()
    """Flags that the figures leave out, each with its reason; no error is claimed then."""
    notes: tuple[str, ...] = ()
    window: Window | None = None
    run: SimulatedRun | None = field(default=None, repr=False)
    _engine: EmulatedEngine | None = field(default=None, repr=False)
    _plan: RequestPlan | None = field(default=None, repr=False)
    _served: float | None = None
    _runs: int = 1

    @cached_property
    def served_rate_per_s(self) -> float | None:
        """Requests/s of this workload that the server can serve.

        In overload it is the rate at which answers come out; otherwise a second, saturated run finds it.
        """
        if self._served is not None or self._plan is None or self._engine is None:
            return self._served
        e = self._engine
        return saturated_rate(self._plan, e.step_time, e.limits, e.acceptance, runs=self._runs)


def engine_of(
    gpu: str,
    model: str,
    engine_version: str,
    flags: Mapping[str, FlagValue],
    acceptance: AcceptanceLike = ASSUMED,
    calibration: Calibration | None = None,
    longest_request: int | None = None,
) -> EmulatedEngine:
    """The emulated server for names as a user gives them.

    Args:
        longest_request: tokens of the workload's longest request; see ``startup``.

    Raises:
        InputError: an unknown GPU or model, or a calibration for another GPU.
        StartRefused: vLLM would refuse to start; the message has its words and a way out.
    """
    start = start_of(gpu, model, engine_version, flags, longest_request)
    started = start.started()
    bounds = limits(started.resolved, started.memory.scheduled_tokens(), started.config)
    return EmulatedEngine(
        started.resolved,
        started.memory,
        StepTime(start.gpu, start.facts, started.resolved, calibration=calibration, drafted=drafted_of(acceptance)),
        bounds,
        acceptance,
        calibration,
        tuple(unmodelled(EngineConfig(model=model).with_change(flags), engine_version)),
        started.context,
    )


def start_of(
    gpu: str, model: str, engine_version: str, flags: Mapping[str, FlagValue], longest_request: int | None = None
) -> Startup:
    """Whether a server would start, for names as a user gives them.

    Raises:
        InputError: an unknown GPU or model.
    """
    quantization = flags.get("quantization")
    facts = model_facts(model, quantization=str(quantization) if quantization else None)
    config = EngineConfig(model=model).with_change(flags)
    return startup(accelerator(gpu), facts, config, engine_version, longest_request)


def predict(
    workload: Workload,
    *,
    gpu: str,
    model: str,
    engine_version: str,
    flags: Mapping[str, FlagValue] | None = None,
    seed: int | None = None,
    acceptance: AcceptanceLike = ASSUMED,
    plan: RequestPlan | None = None,
    calibration: Calibration | None = None,
    runs: int = 1,
) -> Prediction:
    """Predict the metrics of a workload.

    Args:
        seed: of the requests; None = the workload's.
        acceptance: how drafts fare, or the probability that a drafted token is accepted if those before it are.
        plan: the requests, if they are drawn already.
        calibration: constants fitted to an engine on this GPU; None = as shipped.
        runs: predictions of about this size that the caller makes; it only decides whether compiling pays.

    Raises:
        InputError: an unknown GPU or model, a calibration for another GPU, or a trace that cannot be read.
        StartRefused: vLLM would refuse to start; the message has its words and a way out.
    """
    plan = draw(workload, seed=seed) if plan is None else plan
    engine = engine_of(gpu, model, engine_version, flags or {}, acceptance, calibration, plan.longest_request)
    engine = engine.for_requests(plan)
    refused = too_long(plan, engine.limits.max_model_len)
    kept = select(plan, ~refused)
    client = client_of(workload, plan, server_path(engine.step_time.k))
    run = run_fast(kept, engine.step_time, engine.limits, client, acceptance=acceptance, runs=runs)
    found = _prediction(engine, workload, _sent(workload, plan, refused, run), kept)
    return replace(found, notes=(*plan.notes, *_notes(engine, refused)), _engine=engine, _plan=kept, _runs=runs)


def _prediction(engine: EmulatedEngine, workload: Workload, sent: _Sent, kept: RequestPlan) -> Prediction:
    """What the run says about the workload."""
    load, run = sent.load, sent.run
    found = run_metrics(load, run, workload.slo)
    means = _means(run, load.window)
    card, resolved = engine.step_time.gpu, engine.resolved
    band = sentence(engine.unmodelled) or error_band(card, resolved, engine.calibration)
    bands = error_bands(card, kernel_case(resolved))
    return Prediction(
        metrics=found.metrics,
        withheld=found.withheld,
        overloaded=found.overloaded,
        asked_rate_per_s=load.asked_rate_per_s,
        bottleneck=_bottleneck(engine, kept, found, means),
        kv_cache_tokens=engine.memory.kv_cache_tokens,
        memory=engine.memory,
        context=engine.context,
        server=means,
        error_band=band,
        error_bands=bands.by_quantity if bands and isinstance(band, float) else {},
        unmodelled=tuple(map(str, engine.unmodelled)),
        window=load.window,
        run=run,
        _served=found.served_rate_per_s,
    )


def client_of(workload: Workload, plan: RequestPlan, path: ServerPath = ENGINE_ALONE) -> ClientSettings:
    """How the client applies a workload: when it sends, when it cuts, and the window with its middle."""
    begin, end = workload.warmup_s, workload.total_s
    return ClientSettings(
        users=plan.concurrency,
        send_until_s=end,
        end_s=end + workload.drain_s,
        marks_s=(begin, (begin + end) / 2, end),
        window=Window(start_s=begin, end_s=end),
        path=path,
    )


def too_long(plan: RequestPlan, max_model_len: int) -> Bools:
    """Which requests vLLM answers with HTTP 400: prompt and answer together are longer than the model allows."""
    return np.asarray(plan.prompt_tokens.astype(np.int64) + plan.output_tokens > max_model_len)


def select(plan: RequestPlan, kept: Bools) -> RequestPlan:
    """The requests of a plan for which ``kept`` is true. Turns of a conversation grow, so only its last ones are
    dropped."""
    if kept.all():
        return plan
    return plan.take(np.flatnonzero(kept))


@dataclass(frozen=True)
class _Sent:
    """What was sent or refused, and what became of it: columns of both in the same order."""

    load: OfferedLoad
    run: SimulatedRun


def _sent(workload: Workload, plan: RequestPlan, refused: Bools, run: SimulatedRun) -> _Sent:
    """Leave out the requests that were never sent, and add the refused ones."""
    closed = isinstance(workload.arrivals, Closed)
    scheduled = run.sent_s if closed else run.due_s
    sent = np.isfinite(run.sent_s) | (~np.isfinite(run.sent_s) & (plan.turn[~refused] == 0) & (not closed))
    run = run.only(sent)
    extra = refused & (plan.turn == 0) & (not closed)
    load = OfferedLoad(
        scheduled_s=np.concatenate([scheduled[sent], plan.arrival_s[extra]]),
        output_tokens=np.concatenate([plan.output_tokens[~refused][sent], plan.output_tokens[extra]]).astype(
            np.float64
        ),
        refused=np.arange(int(sent.sum()) + int(extra.sum())) >= sent.sum(),
        window=Window(start_s=workload.warmup_s, end_s=workload.total_s),
        closed=closed,
    )
    return _Sent(load, run.followed_by_nothing(int(extra.sum())))


def _means(run: SimulatedRun, window: Window) -> dict[str, float]:
    seconds = window.seconds
    steps = float(run.steps[1:3].sum())
    queries, hits = float(run.prefix_queries[1:3].sum()), float(run.prefix_hits[1:3].sum())
    return {
        "running": float(run.running_s[1:3].sum()) / seconds,
        "waiting": float(run.waiting_s[1:3].sum()) / seconds,
        "kv_usage": float(run.kv_usage_s[1:3].sum()) / seconds,
        "busy_share": min(1.0, float(run.busy_s[1:3].sum()) / seconds),
        "steps_per_s": steps / seconds,
        "preemptions": float(run.preemptions[1:3].sum()),
        "prefix_hit_rate": hits / queries if queries else 0.0,
    }


def _bottleneck(engine: EmulatedEngine, plan: RequestPlan, found: RunMetrics, means: dict[str, float]) -> str:
    """What limits the service, in a few words: what limits the batch, and what bounds its steps."""
    if not len(plan) or not means["busy_share"]:
        return "nothing was served"
    batch = max(1, round(means["running"] / means["busy_share"]))
    context = float(plan.prompt_tokens.mean()) + float(plan.output_tokens.mean()) / 2
    step = decode_step(engine.step_time, min(batch, engine.limits.max_num_seqs), context)
    words = _kernel_words(engine, batch) if step.bound == "compute" else step.words
    sequences = f"{batch} sequence{'s' if batch != 1 else ''}"
    mean = 1000 * means["busy_share"] / means["steps_per_s"] if means["steps_per_s"] else step.step_ms
    step_words = f"a step of {sequences} takes {number(mean)} ms on average, bound by {words}"
    each_step = found.metrics["request_throughput"] / means["steps_per_s"] if means["steps_per_s"] else 0.0
    waiting = means["waiting"] >= max(1.0, 3 * each_step)
    if waiting and batch >= FULL * engine.limits.max_num_seqs:
        limit = f"max_num_seqs={engine.limits.max_num_seqs}"
        return f"{limit} limits the batch while {means['waiting']:.0f} requests wait; {step_words}"
    if waiting and means["kv_usage"] >= FULL:
        preempted = f" ({means['preemptions']:.0f} preemptions)" if means["preemptions"] else ""
        return f"the KV cache is full{preempted} while {means['waiting']:.0f} requests wait; {step_words}"
    if found.overloaded:
        return f"the load exceeds what it can serve; {step_words}"
    return step_words


def _kernel_words(engine: EmulatedEngine, batch: int) -> str:
    """What bounds a step that is bound by its matrix products."""
    if engine.resolved.kernel != "awq_gemm":
        return "arithmetic of the weight matrices"
    many = engine.resolved.awq_graph_trap or batch >= engine.step_time.k.linear["awq_gemm"]["dequantise_from"]
    how = "writes all weights out in 16 bits in every step" if many else "reads all weights once for every 16 rows"
    return f"the old AWQ kernel, which {how}"


def _notes(engine: EmulatedEngine, refused: Bools) -> tuple[str, ...]:
    notes = [*engine.resolved.notes, *([engine.context.sentence] if engine.context else [])]
    notes += engine.step_time.facts.notes
    if refused.any():
        counts = f"{int(refused.sum()):,} of {len(refused):,} requests"
        limit = f"max_model_len={engine.limits.max_model_len}"
        notes.append(f"{counts} are longer than {limit} and are refused (HTTP 400)")
    if engine.limits.speculative_tokens:
        notes.append(words(engine.acceptance, engine.limits.speculative_tokens))
    return tuple(notes)
