"""Judges many configurations of one workload in virtual time: which would start, and how much each carries.

Successive refinement: all configurations are judged on a short sample, those near the best again on longer ones. The
samples are the same for all, so the order of configurations does not depend on the luck of a draw. Configurations whose
engines cannot behave differently on this workload are judged once. The last round's sample is the one of several draws
that is typical: capacities on single draws of 30,000 requests differ by 3 to 4 %.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from statistics import median

import numpy as np

from rooftune.simulator.calibration.files import Calibration
from rooftune.simulator.virtual.capacity import PredictedCapacity, Sample, capacity, sample
from rooftune.simulator.virtual.predict import EmulatedEngine, engine_of, start_of
from rooftune.speculation.known import NOTHING_KNOWN, KnownDrafts
from rooftune.vllm_rules.config import FlagValue
from rooftune.vllm_rules.kv_cache import BLOCK_TOKENS
from rooftune.workloads.spec import Workload

Flags = Mapping[str, FlagValue]
BATCH = 16
NO_LIMIT = 1 << 40
DRAWS, SEED_STEP = 8, 1_000
"""Draws from which the last round takes the one that is typical for the leader, and the distance of their seeds."""
"""Configurations that one process judges before it takes the next ones."""


@dataclass(frozen=True)
class Server:
    """What all configurations share."""

    gpu: str
    model: str
    engine_version: str
    calibration: Calibration | None = None
    drafts: KnownDrafts = NOTHING_KNOWN


@dataclass(frozen=True)
class Round:
    """One round: requests of its sample, and which configurations take part in the next."""

    requests: int
    keep: float
    """Share of the best capacity down to which a configuration goes on to the next round."""


ROUNDS = (Round(1_000, 0.85), Round(4_000, 0.95), Round(30_000, 1.0))
"""A sample of 1,000 requests overestimates the capacity by 5 to 10 %, one of 30,000 by 2 to 3 %."""


@dataclass(frozen=True)
class Judged:
    """One configuration: its capacity, or why the engine would not start."""

    flags: Flags
    capacity: PredictedCapacity | None
    refusal: str = ""
    requests: int = 0
    """Requests of the longest sample that it was judged on."""

    @property
    def rate_per_s(self) -> float:
        """Its capacity; 0 where it does not start."""
        return self.capacity.rate_per_s if self.capacity else 0.0

    def scaled(self, factor: float) -> Judged:
        """The same with its capacity corrected."""
        if self.capacity is None or factor == 1:
            return self
        return replace(self, capacity=replace(self.capacity, rate_per_s=self.capacity.rate_per_s * factor))


def judge_all(
    server: Server,
    workload: Workload,
    configurations: Sequence[Flags],
    *,
    rounds: Sequence[Round] = ROUNDS,
    processes: int | None = None,
    seed: int | None = None,
) -> list[Judged]:
    """Judge every configuration, in the order given.

    Args:
        configurations: flags of each, beyond what ``server`` names.
        processes: worker processes; None = one per processor core.

    Raises:
        InputError: an unknown GPU or model, or a workload without SLO or rate.
    """
    draws = [_draws(workload, this.requests, seed, DRAWS if this.keep >= 1 else 1) for this in rounds]
    need = _need([drawn for of_round in draws for drawn in of_round])
    found = [_started(server, flags, need) for flags in configurations]
    groups: dict[bytes, list[int]] = {}
    for i, start in enumerate(found):
        if start.behaviour is not None:
            groups.setdefault(start.behaviour, []).append(i)
    judged = [Judged(start.flags, None, start.refusal) for start in found]
    going_on = [members[0] for members in groups.values()]
    with _workers(processes if processes is not None else os.cpu_count() or 1, len(going_on)) as pool:
        for of_round, this in zip(draws, rounds, strict=True):
            leader = max(going_on, key=lambda i: judged[i].rate_per_s, default=None)
            known = leader is not None and judged[leader].rate_per_s > 0
            drawn = _typical(server, of_round, need, judged[leader]) if known and leader is not None else of_round[0]
            tasks = [
                Task(
                    server,
                    drawn,
                    need.longest_tokens,
                    tuple(Entrant(configurations[i], judged[i].rate_per_s) for i in chunk),
                )
                for chunk in _chunks(going_on)
            ]
            results = [j for batch in (pool.map(_judge, tasks) if pool else map(_judge, tasks)) for j in batch]
            judged = _corrected(judged, dict(zip(going_on, results, strict=True)))
            best = max((judged[i].rate_per_s for i in going_on), default=0.0)
            going_on = [i for i in going_on if judged[i].rate_per_s >= this.keep * best > 0]
    for members in groups.values():
        for i in members[1:]:
            judged[i] = replace(judged[members[0]], flags=configurations[i])
    return judged


def _corrected(before: list[Judged], now: dict[int, Judged]) -> list[Judged]:
    """All judgements after a round: of its entrants as found, of the others corrected by what a longer sample changed.

    A short sample overestimates, so without the correction those that left early would outrank the rest.
    """
    both = [now[i].rate_per_s / before[i].rate_per_s for i in now if before[i].rate_per_s > 0]
    factor = median(both) if both else 1.0
    return [now.get(i) or old.scaled(factor) for i, old in enumerate(before)]


def _draws(workload: Workload, requests: int, seed: int | None, number: int) -> list[Sample]:
    """The sample of a round, and others like it to choose from."""
    first = workload.seed if seed is None else seed
    return [sample(workload, requests, first + SEED_STEP * i) for i in range(number)]


def _typical(server: Server, draws: Sequence[Sample], need: Need, leader: Judged) -> Sample:
    """The draw on which the leader's capacity is nearest to its mean over all draws: neither lucky nor unlucky."""
    if len(draws) == 1:
        return draws[0]
    engine = _engine(server, leader.flags, need.longest_tokens)
    rates = [capacity(engine, drawn, tolerance=0.01, near_per_s=leader.rate_per_s).rate_per_s for drawn in draws]
    mean = sum(rates) / len(rates)
    return min(zip(rates, draws, strict=True), key=lambda pair: abs(pair[0] - mean))[1]


@dataclass(frozen=True)
class Need:
    """The most that the samples can ask of an engine."""

    longest_tokens: int
    """Prompt and answer of the longest request."""
    reuses_prefixes: bool
    """Whether prompts can share KV blocks, so that a larger cache can save prefill."""


@dataclass(frozen=True)
class Start:
    """Whether a configuration starts, and a digest of all that decides how it behaves on the samples."""

    flags: Flags
    behaviour: bytes | None
    refusal: str = ""


def _need(samples: Sequence[Sample]) -> Need:
    plans = [s.plan for s in samples]
    longest = max(p.longest_request for p in plans)
    reuses = any(
        p.blocks is not None or (p.prefix_id >= 0).any() or (p.turn > 0).any() or len(set(p.prompt_seed)) < len(p)
        for p in plans
    )
    return Need(longest, reuses)


def _started(server: Server, flags: Flags, need: Need) -> Start:
    start = start_of(server.gpu, server.model, server.engine_version, flags, need.longest_tokens)
    if start.error is not None:
        return Start(flags, None, str(start.error))
    return Start(flags, _behaviour(_engine(server, flags, need.longest_tokens), need))


def _engine(server: Server, flags: Flags, longest_request: int) -> EmulatedEngine:
    return engine_of(
        server.gpu,
        server.model,
        server.engine_version,
        flags,
        server.drafts.acceptance(flags),
        server.calibration,
        longest_request,
    )


def _behaviour(engine: EmulatedEngine, need: Need) -> bytes:
    """Digest of the scheduler's limits, the step costs and the acceptance of drafts.

    Limits that cannot bind on these requests are levelled.
    """
    bounds = engine.limits
    length = max(bounds.max_model_len, need.longest_tokens) if bounds.max_model_len < need.longest_tokens else NO_LIMIT
    each = need.longest_tokens + bounds.speculative_tokens
    most = bounds.max_num_seqs * (-(-each // BLOCK_TOKENS) + 1)
    spare = bounds.watermark * bounds.kv_blocks
    blocks = NO_LIMIT if not need.reuses_prefixes and bounds.kv_blocks - spare >= most else bounds.kv_blocks
    digest = hashlib.blake2b(repr(replace(bounds, max_model_len=length, kv_blocks=blocks)).encode(), digest_size=16)
    digest.update(repr(engine.acceptance if bounds.speculative_tokens else None).encode())
    costs = engine.step_time
    for table in (costs.linear_mixed, costs.linear_decode, costs.head, costs.host_decode, costs.host_mixed, costs.cost):
        digest.update(np.ascontiguousarray(table, np.float64).tobytes())
    return digest.digest()


def _chunks(which: Sequence[int]) -> Iterator[Sequence[int]]:
    return (which[at : at + BATCH] for at in range(0, len(which), BATCH))


@contextmanager
def _workers(processes: int, configurations: int) -> Iterator[ProcessPoolExecutor | None]:
    """A pool of processes; None where one process is asked for or there is little to do."""
    if processes <= 1 or configurations <= BATCH:
        yield None
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield pool


@dataclass(frozen=True)
class Entrant:
    """A configuration in a round, and its capacity in the round before; 0 = not judged yet."""

    flags: Flags
    near_per_s: float


@dataclass(frozen=True)
class Task:
    """Configurations for one process, all known to start."""

    server: Server
    drawn: Sample
    longest_request: int
    batch: tuple[Entrant, ...]


def _judge(task: Task) -> list[Judged]:
    requests = len(task.drawn.plan)
    engines = ((e, _engine(task.server, e.flags, task.longest_request)) for e in task.batch)
    return [
        Judged(e.flags, capacity(engine, task.drawn, near_per_s=e.near_per_s or None), requests=requests)
        for e, engine in engines
    ]
