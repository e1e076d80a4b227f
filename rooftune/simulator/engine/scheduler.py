"""The scheduler of vLLM's V1 engine: its state, ``schedule`` and ``advance``.

The rules follow the source of vLLM 0.32 (``v1/core/sched/scheduler.py``, ``kv_cache_manager.py``); the admission
rule of 0.15 is a switch. Nothing here knows time: the core asks a step-time model how long a step takes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from rooftune.simulator.engine.blocks import BlockHash, BlockPool
from rooftune.simulator.engine.shape import StepShape
from rooftune.vllm_rules.kv_cache import BLOCK_TOKENS


@dataclass(frozen=True)
class Limits:
    """What bounds a step. Field names are vLLM's flags."""

    max_num_seqs: int
    max_num_batched_tokens: int
    max_model_len: int
    kv_blocks: int
    long_prefill_token_threshold: int = 0
    threshold_spares_a_lone_request: bool = True
    """True from 0.32 on; before, the threshold also cuts the prompt of a request that is alone."""
    enable_chunked_prefill: bool = True
    enable_prefix_caching: bool = True
    whole_prompt_must_fit: bool = True
    """True from 0.19 on (scheduler_reserve_full_isl); 0.15 admits when the first chunk fits."""
    watermark: float = 0.0
    priority: bool = False
    speculative_tokens: int = 0
    """Tokens of a draft, at most."""
    speculative_lengths: tuple[int, ...] = ()
    """The same by requests in the step before; empty = ``speculative_tokens`` after every step."""
    async_scheduling: bool = False
    """A step is scheduled while the one before it runs: what that one frees becomes available one step later."""


@dataclass(eq=False)
class EngineRequest:
    """One request inside the engine."""

    id: int
    prompt: int
    max_tokens: int
    hashes: Sequence[BlockHash] = ()
    """Hash chain of the full blocks of the prompt. A block of generated tokens has its request and position instead."""
    priority: int = 0
    computed: int = 0
    generated: int = 0
    cached: int = 0
    proposed: int | None = None
    """Tokens of the draft for its next decode step; None = as long as drafts may be."""
    drafts: int = 0
    """Speculative tokens among those of the current step."""
    blocks: list[int] = field(default_factory=list)
    preemptions: int = 0
    finished: str | None = None
    place: int = 0
    """Order of arrival at the scheduler."""

    @property
    def rank(self) -> tuple[int, int]:
        """Order under the priority policy: the lower goes first."""
        return self.priority, self.place

    @property
    def known(self) -> int:
        """Tokens whose values are known: prompt and generated."""
        return self.prompt + self.generated

    def block_hash(self, i: int) -> BlockHash:
        """Hash of its block ``i``."""
        return self.hashes[i] if i < len(self.hashes) else (self.id, i)


class Chunk(NamedTuple):
    """The tokens of one request that a step computes."""

    request: EngineRequest
    tokens: int


class NewTokens(NamedTuple):
    """The tokens that one request got from a step."""

    request: EngineRequest
    tokens: int


@dataclass
class Step:
    """What one step computes."""

    scheduled: list[Chunk] = field(default_factory=list)
    preempted: list[EngineRequest] = field(default_factory=list)
    admitted: list[EngineRequest] = field(default_factory=list)
    shape: StepShape = field(default_factory=StepShape)


class Scheduler:
    """Running and waiting queues over one block pool."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.pool = BlockPool(limits.kv_blocks, limits.enable_prefix_caching)
        self.running: list[EngineRequest] = []
        self.waiting: deque[EngineRequest] = deque()
        self.ending: list[EngineRequest] = []
        """Finished in the last step, and still holding their blocks and places while the next one is scheduled."""
        self.draft_length = limits.speculative_tokens
        """Tokens of the drafts that the next step verifies."""
        self.arrivals = 0
        self.preemptions = 0
        self.prefix_queries = 0
        self.prefix_hits = 0

    def add(self, sequence: EngineRequest) -> None:
        """A request arrives."""
        self.arrivals += 1
        sequence.place = self.arrivals
        self.waiting.append(sequence)
        if self.limits.priority:
            self.waiting = deque(sorted(self.waiting, key=lambda s: s.rank))

    def abort(self, sequence: EngineRequest) -> None:
        """A client went away."""
        if sequence.finished:
            return
        if sequence in self.running:
            self._release(sequence)
        elif sequence in self.waiting:
            self.waiting.remove(sequence)
        sequence.finished = "abort"

    @property
    def idle(self) -> bool:
        """Whether nothing is left to schedule."""
        return len(self.running) == len(self.ending) and not self.waiting

    def schedule(self) -> Step:
        """Choose what the next step computes: running sequences first, then waiting ones while they fit."""
        step = Step()
        self._choose(step)
        if self.ending:
            self._release_ended()
            if not step.scheduled:
                self._choose(step)
        step.shape = self._shape(step)
        lengths = self.limits.speculative_lengths
        if lengths and step.scheduled:
            self.draft_length = lengths[min(len(step.scheduled), len(lengths) - 1)]
        for sequence, tokens in step.scheduled:
            sequence.computed = min(sequence.computed + tokens, sequence.known)
        return step

    def _choose(self, step: Step) -> None:
        before = len(step.preempted)
        budget = self._schedule_running(step, self.limits.max_num_batched_tokens)
        if len(step.preempted) == before:
            self._schedule_waiting(step, budget)

    def advance(self, step: Step, draw: Callable[[EngineRequest], int] | None = None) -> list[NewTokens]:
        """Give tokens to each request whose known tokens are all computed.

        ``draw`` says how many speculative tokens of a request are accepted.
        """
        out: list[NewTokens] = []
        for sequence, _tokens in step.scheduled:
            if sequence.finished or sequence.computed < sequence.known:
                continue
            room = min(sequence.max_tokens - sequence.generated, self.limits.max_model_len - sequence.known)
            accepted = min(draw(sequence), sequence.drafts) if draw and sequence.drafts else 0
            new = min(room, 1 + accepted)
            sequence.generated += new
            sequence.computed += new - 1
            out.append(NewTokens(sequence, new))
            if new >= room:
                self._finish(sequence)
        return out

    def _schedule_running(self, step: Step, budget: int) -> int:
        i = 0
        while i < len(self.running) and budget > 0:
            sequence = self.running[i]
            i += 1
            need = 0 if sequence.finished else self._need(sequence, budget)
            if need <= 0:
                continue
            while not self._reserve(sequence, need):
                victim = self._victim()
                budget += self._preempt(victim, step)
                if victim is sequence:
                    return budget
                i = self.running.index(sequence) + 1
            self._give(step, sequence, need)
            budget -= need
        return budget

    def _schedule_waiting(self, step: Step, budget: int) -> None:
        limits, pool = self.limits, self.pool
        spare = int(limits.watermark * pool.total)
        while self.waiting and budget > 0 and len(self.running) < limits.max_num_seqs:
            sequence = self.waiting[0]
            known = sequence.known
            matchable = [sequence.block_hash(i) for i in range((known - 1) // BLOCK_TOKENS)] if pool.caching else []
            hit = pool.longest_hit(matchable)
            need = known - len(hit) * BLOCK_TOKENS
            need = self._cut(need)
            if need > budget:
                if not limits.enable_chunked_prefill:
                    break
                need = budget
            must_fit = known if limits.whole_prompt_must_fit else len(hit) * BLOCK_TOKENS + need
            wanted = blocks_for(must_fit) - len(hit) + pool.free_among(hit)
            if wanted > pool.free_count - (spare if self.running else 0):
                break
            self.waiting.popleft()
            if pool.caching:
                self.prefix_queries += known
                self.prefix_hits += len(hit) * BLOCK_TOKENS
            pool.share(hit)
            sequence.blocks = list(hit)
            sequence.computed = sequence.cached = len(hit) * BLOCK_TOKENS
            self._reserve(sequence, need)
            self.running.append(sequence)
            step.admitted.append(sequence)
            self._give(step, sequence, need)
            budget -= need

    def _give(self, step: Step, sequence: EngineRequest, tokens: int) -> None:
        """Schedule ``tokens`` tokens; the blocks that they fill can be matched from now on, even within this step."""
        step.scheduled.append(Chunk(sequence, tokens))
        sequence.drafts = max(sequence.computed + tokens - sequence.known, 0)
        upto = min(sequence.computed + tokens, sequence.known)
        since = max(sequence.computed - self.limits.speculative_tokens, 0)
        for i in range(since // BLOCK_TOKENS, upto // BLOCK_TOKENS):
            self.pool.name(sequence.blocks[i], sequence.block_hash(i))

    def _victim(self) -> EngineRequest:
        alive = [s for s in self.running if not s.finished]
        return max(alive, key=lambda s: s.rank) if self.limits.priority else alive[-1]

    def _need(self, sequence: EngineRequest, budget: int) -> int:
        need = sequence.known - sequence.computed
        if need == 1 and sequence.generated:
            need += self.draft_length if sequence.proposed is None else min(sequence.proposed, self.draft_length)
        return min(self._cut(need), budget, self.limits.max_model_len - 1 - sequence.computed)

    def _cut(self, need: int) -> int:
        """At most the threshold, where it applies."""
        threshold = self.limits.long_prefill_token_threshold
        alone = len(self.running) + len(self.waiting) == 1 and self.limits.threshold_spares_a_lone_request
        return min(need, threshold) if threshold and not alone else need

    def _reserve(self, sequence: EngineRequest, tokens: int) -> bool:
        missing = blocks_for(sequence.computed + tokens) - len(sequence.blocks)
        if missing > self.pool.free_count:
            return False
        if missing > 0:
            sequence.blocks += self.pool.take(missing)
        return True

    def _preempt(self, victim: EngineRequest, step: Step) -> int:
        self.running.remove(victim)
        self.pool.give_back(victim.blocks)
        victim.blocks, victim.computed = [], 0
        victim.preemptions += 1
        self.preemptions += 1
        self.waiting.appendleft(victim)
        step.preempted.append(victim)
        given_back = sum(c.tokens for c in step.scheduled if c.request is victim)
        step.scheduled = [c for c in step.scheduled if c.request is not victim]
        return given_back

    def _finish(self, sequence: EngineRequest) -> None:
        sequence.finished = "length"
        self.ending.append(sequence)
        if not self.limits.async_scheduling or self.idle:
            self._release_ended()

    def _release_ended(self) -> None:
        for sequence in self.ending:
            self._release(sequence)
        self.ending.clear()

    def _release(self, sequence: EngineRequest) -> None:
        self.running.remove(sequence)
        self.pool.give_back(sequence.blocks)
        sequence.blocks = []

    def _shape(self, step: Step) -> StepShape:
        seqs = tokens = context = prefills = chunk = past = sampled = 0
        pairs = 0.0
        for sequence, t in step.scheduled:
            known, computed = sequence.prompt + sequence.generated, sequence.computed
            if sequence.generated and known - computed == 1:
                seqs, tokens, context = seqs + 1, tokens + t, context + known
            else:
                prefills, chunk, past = prefills + 1, chunk + t, past + computed
                pairs += t * (computed + t / 2)
            sampled += computed + t >= known
        return StepShape(seqs, tokens, context, prefills, chunk, pairs, past, sampled)


def blocks_for(tokens: int) -> int:
    """Blocks needed for this many tokens."""
    return -(-tokens // BLOCK_TOKENS)
