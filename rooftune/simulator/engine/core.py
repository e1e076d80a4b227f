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
from rooftune.speculation.acceptance import ASSUMED, AcceptanceLike, drafted_of, step_drafts
from rooftune.speculation.configured import proposer_of
from rooftune.speculation.sessions import Recorded, Replayer, Session
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
        acceptance: AcceptanceLike = ASSUMED,
        calibration: Calibration | None = None,
        *,
        plays_answers: bool = False,
    ) -> None:
        self.gpu, self.facts, self.config = gpu, facts, config
        found = startup(gpu, facts, config, engine_version)
        if found.resolved is None or found.memory is None:
            assert found.error is not None
            raise found.error
        self.resolved, self.memory = found.resolved, found.memory
        proposer = proposer_of(config) if plays_answers else None
        self._replayer = Replayer(proposer) if proposer is not None else None
        drafted = drafted_of(acceptance) if proposer is None else float(self.resolved.speculative_tokens)
        self.step_time = StepTime(gpu, facts, self.resolved, calibration=calibration, drafted=drafted)
        self.scheduler = Scheduler(limits(self.resolved, self.memory.scheduled_tokens(), config))
        self.noise = noise or Noise()
        self.acceptance = acceptance
        self.steps = 0
        self.clock_s = 0.0
        """Seconds of steps computed so far."""
        self.drafts = self.drafted = self.accepted = 0
        self.accepted_at = [0] * self.resolved.speculative_tokens
        """Accepted tokens at each position of a draft."""
        self._drafts = step_drafts(acceptance, self.resolved.speculative_tokens)
        self._random = random.Random(self.noise.seed)
        self._inbox: list[EngineRequest] = []
        self._answers: dict[EngineRequest, Recorded] = {}
        self._sessions: dict[EngineRequest, Session] = {}

    def submit(self, sequence: EngineRequest, answer: Recorded | None = None) -> None:
        """A request reaches the engine; it takes part from the next step that is not yet scheduled.

        Args:
            answer: what it is answered. An engine that plays answers drafts nothing for a request without one.
        """
        if self._replayer is not None:
            sequence.proposed = 0
            if answer is not None:
                self._answers[sequence] = answer
        self._inbox.append(sequence)

    def abort(self, sequence: EngineRequest) -> None:
        """A client went away."""
        self._forget(sequence)
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
        tokens = self.scheduler.advance(step, self._accepted if self.resolved.speculative_tokens else None)
        if self._replayer is not None:
            for sequence, new in tokens:
                self._propose(self._replayer, sequence, new)
        return tokens

    def _propose(self, replayer: Replayer, sequence: EngineRequest, new: int) -> None:
        """The proposer sees the new tokens of a request and drafts for its next step."""
        answer, session = self._answers.get(sequence), self._sessions.get(sequence)
        if sequence.finished:
            self._forget(sequence)
        elif answer is not None:
            if session is None:
                session = self._sessions[sequence] = replayer.session(answer)
            else:
                session.advance(new)
            sequence.proposed = session.propose(self.scheduler.draft_length)

    def _forget(self, sequence: EngineRequest) -> None:
        self._answers.pop(sequence, None)
        self._sessions.pop(sequence, None)

    def _admit(self) -> None:
        for sequence in self._inbox:
            self.scheduler.add(sequence)
        self._inbox.clear()

    def _noise(self) -> float:
        n = self.noise
        drift = 1 + n.drift * min(1.0, self.clock_s / n.drift_s)
        return drift * (1 + max(-0.5, self._random.gauss(0.0, n.jitter))) if n.jitter else drift

    def _accepted(self, sequence: EngineRequest) -> int:
        session = self._sessions.get(sequence)
        if session is not None:
            found = session.check(sequence.drafts)
            self._count_draft(found.drafted, found.accepted)
            return found.accepted
        draw = self._random.random()
        accepted = min(sum(draw < share for share in self._drafts.accepted), sequence.drafts)
        self._count_draft(sequence.drafts, accepted)
        return accepted

    def _count_draft(self, drafted: int, accepted: int) -> None:
        self.drafts += 1
        self.drafted += drafted
        self.accepted += accepted
        for position in range(accepted):
            self.accepted_at[position] += 1


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
        speculative_lengths=r.speculative_lengths,
        async_scheduling=r.async_scheduling,
    )
