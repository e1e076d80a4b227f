"""Whether an engine would start: its settings and its memory, or why not and what to change.

Predictions, sweeps, plans, the search and the simulated engine all ask this module before anything is started.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from pydantic import BaseModel, ConfigDict, Field

from rooftune.hardware.accelerator import Accelerator
from rooftune.models.facts import ModelFacts
from rooftune.vllm_rules.budget import MemoryBudget
from rooftune.vllm_rules.config import EngineConfig
from rooftune.vllm_rules.kv_cache import BLOCK_TOKENS
from rooftune.vllm_rules.memory import memory_budget, request_bytes
from rooftune.vllm_rules.refusals import Rule, StartRefused
from rooftune.vllm_rules.resolve import Resolved, resolve
from rooftune.vllm_rules.start.context import FittedContext, needed_context
from rooftune.vllm_rules.start.ways_out import MOST_GPUS, Situation, WayOut, suggestions

MOST_CHANGES = 4
"""Changes that a way out combines at most."""
MOST_ATTEMPTS = 120
"""Configurations that are tried for a way out."""


class Refusal(BaseModel):
    """Why the engine would not start."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    rule: str
    message: str = Field(description="vLLM's words")
    source: str = Field(description="file of vLLM, release notes or issue")
    estimated: bool = Field(description="it follows from an estimate of memory; a real engine may start all the same")
    way_out: WayOut | None = Field(
        default=None, description="a change with which the engine would start; None: none is known"
    )

    @property
    def sentence(self) -> str:
        """The message with the way out."""
        if self.way_out is None:
            return f"{self.message} Use a GPU with more memory, another model or another version."
        return f"{self.message} It would start with {self.way_out.words}."


@dataclass(frozen=True)
class Startup:
    """What a start of the engine comes to. ``resolved`` and ``memory`` are None exactly if there is a refusal."""

    gpu: Accelerator
    facts: ModelFacts
    config: EngineConfig
    """As it would be started: with the context that rooftune set, if it set one."""
    engine_version: str
    longest_request: int | None
    resolved: Resolved | None = None
    memory: MemoryBudget | None = None
    context: FittedContext | None = None
    """The context that rooftune set because the model's own does not fit."""
    error: StartRefused | None = field(default=None)

    @property
    def starts(self) -> bool:
        """Whether the engine would start."""
        return self.error is None

    @cached_property
    def refusal(self) -> Refusal | None:
        """Why it would not start, with a way out that was tried."""
        if self.error is None:
            return None
        rule: Rule = self.error.rule
        return Refusal(
            rule=rule.id, message=str(self.error), source=rule.source, estimated=rule.estimated, way_out=_way_out(self)
        )

    def started(self) -> Started:
        """Settings and memory.

        Raises:
            StartRefused: it would not start; the message says why and what to change.
        """
        if self.resolved is None or self.memory is None:
            assert self.error is not None
            assert self.refusal is not None
            raise StartRefused(self.error.rule.id, self.refusal.sentence)
        return Started(self.config, self.resolved, self.memory, self.context)


@dataclass(frozen=True)
class Started:
    """An engine that starts."""

    config: EngineConfig
    resolved: Resolved
    memory: MemoryBudget
    context: FittedContext | None = None


def startup(
    gpu: Accelerator,
    facts: ModelFacts,
    config: EngineConfig,
    engine_version: str,
    longest_request: int | None = None,
) -> Startup:
    """Whether the engine would start.

    With ``longest_request`` (tokens of prompt and answer), a context that the flags leave open is lowered to what these
    requests need if the model's own does not fit into memory. Without it the engine does what vLLM does.
    """
    found = _attempt(gpu, facts, config, engine_version, longest_request)
    fits = found.error is None or found.error.rule.id not in ("longest-request", "no-kv-memory", "budget-below-context")
    if fits or longest_request is None or config.max_model_len is not None:
        return found
    length = needed_context(longest_request, facts.max_position)
    lower = _attempt(gpu, facts, config.with_change({"max_model_len": length}), engine_version, longest_request)
    lower = _exactly_what_fits(lower, longest_request)
    if lower.memory is None or lower.resolved is None:
        return lower if lower.error and lower.error.rule.id != "context-of-model" else found
    context = FittedContext(
        tokens=lower.resolved.max_model_len,
        longest_request_tokens=longest_request,
        model_tokens=facts.max_position,
        model_bytes=round(request_bytes(facts, lower.resolved, facts.max_position)),
        available_bytes=lower.memory.kv_cache_bytes,
    )
    return Startup(
        gpu, facts, lower.config, engine_version, longest_request, lower.resolved, lower.memory, context=context
    )


def _exactly_what_fits(found: Startup, longest: int) -> Startup:
    """Without head-room where the memory does not allow it."""
    if found.error is None or found.error.rule.id != "longest-request":
        return found
    length = -(-longest // BLOCK_TOKENS) * BLOCK_TOKENS
    config = found.config.with_change({"max_model_len": min(length, found.facts.max_position)})
    exact = _attempt(found.gpu, found.facts, config, found.engine_version, longest)
    return exact if exact.starts else found


def _attempt(
    gpu: Accelerator, facts: ModelFacts, config: EngineConfig, engine_version: str, longest: int | None
) -> Startup:
    try:
        resolved = resolve(gpu, facts, config, engine_version)
        memory = memory_budget(gpu, facts, resolved)
    except StartRefused as error:
        return Startup(gpu, facts, config, engine_version, longest, error=error)
    return Startup(gpu, facts, config, engine_version, longest, resolved, memory)


class _Search:
    """Looks for changes with which a refused engine starts, one rule after the other."""

    def __init__(self, refused: Startup) -> None:
        self.refused = refused
        self.attempts = 0
        self.most_gpus = 0

    def way_out(self) -> WayOut | None:
        """The shortest combination of changes that starts; more GPUs only if nothing else helps."""
        for most_gpus in (self.refused.config.tensor_parallel_size or 1, MOST_GPUS):
            self.attempts, self.most_gpus = 0, most_gpus
            for depth in range(1, MOST_CHANGES + 1):
                found = self._from(self.refused, WayOut(), depth)
                if found is not None:
                    return found
        return None

    def _from(self, refused: Startup, so_far: WayOut, depth: int) -> WayOut | None:
        error = refused.error
        assert error is not None
        situation = Situation(
            refused.gpu, refused.facts, refused.config, refused.engine_version, error, refused.longest_request
        )
        for more in suggestions(situation):
            if self.attempts >= MOST_ATTEMPTS:
                return None
            if more.gpus > self.most_gpus:
                continue
            self.attempts += 1
            whole = so_far.followed_by(more)
            tried = _with(refused, more)
            if tried.starts:
                return whole
            deeper = depth > 1 and tried.error is not None and tried.error.rule.id != error.rule.id
            further = self._from(tried, whole, depth - 1) if deeper else None
            if further is not None:
                return further
        return None


def _with(refused: Startup, change: WayOut) -> Startup:
    """The start with a change; another method of quantisation is another checkpoint of the same model."""
    return startup(
        refused.gpu,
        change.facts_of(refused.facts),
        refused.config.with_change(change.change),
        change.engine_version or refused.engine_version,
        refused.longest_request,
    )


def _way_out(refused: Startup) -> WayOut | None:
    return _Search(refused).way_out()
