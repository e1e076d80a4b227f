"""The engine core behind the HTTP front: scheduler and step time together, one step at a time."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import NamedTuple

from rooftune.hardware.accelerator import Accelerator
from rooftune.models.facts import ModelFacts
from rooftune.simulator.calibration.files import Calibration
from rooftune.simulator.engine.scheduler import EngineRequest, Limits, NewTokens, Scheduler, Step
from rooftune.simulator.steptime.model import StepTime
from rooftune.vllm_rules.config import EngineConfig
from rooftune.vllm_rules.kv_cache import BLOCK_TOKENS
from rooftune.vllm_rules.resolve import Resolved
from rooftune.vllm_rules.start.startup import startup


@dataclass(frozen=True)
class Noise:
    """How real steps differ from the model's: independent jitter, and a drift as the card warms up."""

    jitter: float = 0.0
    """Standard deviation of a step's duration, relative."""
    drift: float = 0.0
    """Relative slow-down reached after ``drift_s``."""
    drift_s: float = 300.0
    seed: int = 0


class BegunStep(NamedTuple):
    """A step that is scheduled, and how long it takes."""

    step: Step
    seconds: float


class EngineCore:
    """One simulated engine. Call ``submit`` and ``abort`` at any time and ``begin``/``finish`` for each step."""

    def __init__(
        self,
        gpu: Accelerator,
        facts: ModelFacts,
        config: EngineConfig,
        engine_version: str,
        noise: Noise | None = None,
        acceptance: float = 0.6,
        calibration: Calibration | None = None,
    ) -> None:
        self.gpu, self.facts, self.config = gpu, facts, config
        found = startup(gpu, facts, config, engine_version)
        if found.resolved is None or found.memory is None:
            assert found.error is not None
            raise found.error
        self.resolved, self.memory = found.resolved, found.memory
        self.step_time = StepTime(gpu, facts, self.resolved, calibration=calibration)
        self.scheduler = Scheduler(limits(self.resolved, self.memory.scheduled_tokens(), config))
        self.noise = noise or Noise()
        self.acceptance = acceptance
        self.steps = 0
        self.clock_s = 0.0
        """Seconds of steps computed so far."""
        self.drafted = self.accepted = 0
        self._random = random.Random(self.noise.seed)
        self._inbox: list[EngineRequest] = []

    def submit(self, sequence: EngineRequest) -> None:
        """A request reaches the engine; it takes part from the next step that is not yet scheduled."""
        self._inbox.append(sequence)

    def abort(self, sequence: EngineRequest) -> None:
        """A client went away."""
        if sequence in self._inbox:
            self._inbox.remove(sequence)
            sequence.finished = "abort"
        else:
            self.scheduler.abort(sequence)

    @property
    def idle(self) -> bool:
        """Whether the engine has nothing to do."""
        return not self._inbox and self.scheduler.idle

    @property
    def waiting(self) -> int:
        """Requests that wait for admission."""
        return len(self._inbox) + len(self.scheduler.waiting)

    def begin(self) -> BegunStep:
        """Schedule the next step.

        With asynchronous scheduling the step was scheduled while the one before it ran, so a request that has arrived
        since then waits one more step.
        """
        early = self.resolved.async_scheduling and not self.scheduler.idle
        if not early:
            self._admit()
        step = self.scheduler.schedule()
        if early:
            self._admit()
        seconds = self.step_time.seconds(step.shape) * self._noise()
        return BegunStep(step, seconds)

    def finish(self, step: Step, seconds: float) -> list[NewTokens]:
        """The step has run: return the tokens of all requests that got some."""
        self.steps += 1
        self.clock_s += seconds
        return self.scheduler.advance(step, self._accepted if self.resolved.speculative_tokens else None)

    def _admit(self) -> None:
        for sequence in self._inbox:
            self.scheduler.add(sequence)
        self._inbox.clear()

    def _noise(self) -> float:
        n = self.noise
        drift = 1 + n.drift * min(1.0, self.clock_s / n.drift_s)
        return drift * (1 + max(-0.5, self._random.gauss(0.0, n.jitter))) if n.jitter else drift

    def _accepted(self, sequence: EngineRequest) -> int:
        k, accepted = sequence.drafts, 0
        while accepted < k and self._random.random() < self.acceptance:
            accepted += 1
        self.drafted += k
        self.accepted += accepted
        return accepted


def limits(r: Resolved, kv_tokens: int, config: EngineConfig) -> Limits:
    """The scheduler's bounds from resolved flags."""
    more = config.other_flags
    blocks = kv_tokens // BLOCK_TOKENS - 1  # the first block is never handed out
    return Limits(
        max_num_seqs=min(r.max_num_seqs, int(str(more.get("max_num_active_seqs") or r.max_num_seqs))),
        max_num_batched_tokens=int(str(more.get("max_num_scheduled_tokens") or r.max_num_batched_tokens)),
        max_model_len=min(r.max_model_len, blocks * BLOCK_TOKENS),
        kv_blocks=blocks,
        long_prefill_token_threshold=config.long_prefill_token_threshold or 0,
        threshold_spares_a_lone_request=r.threshold_spares_a_lone_request,
        enable_chunked_prefill=r.chunked_prefill,
        enable_prefix_caching=r.prefix_caching,
        whole_prompt_must_fit=r.whole_prompt_must_fit,
        watermark=config.watermark or 0.0,
        priority=config.scheduling_policy == "priority",
        speculative_tokens=r.speculative_tokens,
        async_scheduling=r.async_scheduling,
    )
