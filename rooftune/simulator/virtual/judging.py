"""Judges many configurations of one workload in virtual time: which would start, and how much each carries.

Successive refinement: all configurations are judged on a short sample, those near the best again on longer ones. The
samples are the same for all, so the order of configurations does not depend on the luck of a draw.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context

from rooftune.errors import EngineError
from rooftune.simulator.calibration.files import Calibration
from rooftune.simulator.virtual.capacity import PredictedCapacity, Sample, capacity, sample
from rooftune.simulator.virtual.predict import engine_of
from rooftune.vllm_rules.config import FlagValue
from rooftune.workloads.spec import Workload

Flags = Mapping[str, FlagValue]
BATCH = 16
"""Configurations that one process judges before it takes the next ones."""


@dataclass(frozen=True)
class Server:
    """What all configurations share."""

    gpu: str
    model: str
    engine_version: str
    calibration: Calibration | None = None
    acceptance: float = 0.6


@dataclass(frozen=True)
class Round:
    """One round: requests of its sample, and which configurations take part in the next."""

    requests: int
    keep: float
    """Share of the best capacity down to which a configuration goes on to the next round."""


ROUNDS = (Round(1_000, 0.8), Round(4_000, 0.93), Round(30_000, 1.0))
"""A sample of 1,000 requests overestimates the capacity by 5 to 10 %, one of 30,000 by about 1 % (benchmarks.simulator)."""


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
    samples = [sample(workload, r.requests, seed) for r in rounds]
    found = [Judged(flags, None) for flags in configurations]
    going_on = list(range(len(found)))
    with _workers(processes if processes is not None else os.cpu_count() or 1, len(found)) as pool:
        for drawn, this in zip(samples, rounds, strict=True):
            tasks = [(server, drawn, [found[i].flags for i in chunk]) for chunk in _chunks(going_on)]
            results = [j for batch in (pool.map(_judge, tasks) if pool else map(_judge, tasks)) for j in batch]
            for i, judged in zip(going_on, results, strict=True):
                found[i] = judged
            best = max((found[i].rate_per_s for i in going_on), default=0.0)
            going_on = [i for i in going_on if found[i].rate_per_s >= this.keep * best > 0]
    return found


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


def _judge(task: tuple[Server, Sample, Sequence[Flags]]) -> list[Judged]:
    server, drawn, batch = task
    return [_one(server, drawn, flags) for flags in batch]


def _one(server: Server, drawn: Sample, flags: Flags) -> Judged:
    try:
        engine = engine_of(
            server.gpu, server.model, server.engine_version, flags, server.acceptance, server.calibration
        )
    except EngineError as error:
        return Judged(flags, None, str(error))
    return Judged(flags, capacity(engine, drawn), requests=len(drawn.plan))
