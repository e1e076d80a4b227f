"""Experiments on one case: what its servers really carry, our measurements of them, and those of other recipes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.capacity.cases import CASES, Case, Truth, truth_of
from benchmarks.capacity.noisy_server import NoisyServer, true_capacity
from benchmarks.capacity.peers import RECIPES, Probe
from benchmarks.validity.scenes import TrialNoise, scenes
from rooftune.capacity.estimate import CapacityEstimate, capacity_at, matched_speed, offset
from rooftune.capacity.reference import Reference
from rooftune.capacity.search import Ended, Precision, next_step
from rooftune.capacity.steps import Step, StepShape, workload_at
from rooftune.workloads.spec import CAPACITY

PROBE_SECONDS = (60.0, 180.0, 540.0, 1620.0)
"""Lengths of the other recipes' probes."""


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    truths: int
    repeats: int
    """Measurements of ours per truth and kind of noise."""
    peers: int
    """Measurements per recipe and length of its probes."""
    seed: int


@dataclass(frozen=True)
class Ours:
    """One measurement of ours."""

    case: str
    noise: str
    error: float
    """Logarithm of the estimate over the truth."""
    covered: bool
    half: float
    load_s: float
    steps: int


@dataclass(frozen=True)
class Theirs:
    """One measurement by another recipe."""

    case: str
    recipe: str
    probe_s: float
    error: float
    load_s: float


@dataclass(frozen=True)
class CaseResult:
    """All measurements of one case."""

    ours: list[Ours]
    theirs: list[Theirs]


@dataclass(frozen=True)
class Server:
    """A server to measure, and what it carries."""

    truth: Truth
    noise: TrialNoise
    carries_per_s: float
    number: int


def measure_case(number: int, size: Size) -> CaseResult:
    """All experiments of one case."""
    case = CASES[number]
    reference = Reference(case.engine(), case.load())
    servers = _servers(reference, number, size)
    ours = [
        _ours(case, reference, server, seed=_seed(size.seed, number, server.number, repeat))
        for server in servers
        for repeat in range(size.repeats)
    ]
    theirs = [
        _theirs(case, reference, servers[i % len(servers)], recipe, seconds, _seed(size.seed, number, i, 1_000))
        for recipe in RECIPES
        for seconds in PROBE_SECONDS
        for i in range(size.peers)
    ]
    return CaseResult(ours, theirs)


def kinds() -> list[TrialNoise]:
    """The kinds of noise of a server's speed: those of benchmarks.validity for throughput."""
    return [noise for noise in scenes() if noise.metric != CAPACITY]


def _seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1)[0]) % 1_000_000


def _servers(reference: Reference, number: int, size: Size) -> list[Server]:
    """Servers of all truths with all kinds of noise, the kinds in turn."""
    found: list[Server] = []
    for i in range(size.truths):
        truth = truth_of(reference.engine, np.random.default_rng([size.seed, number, i]))
        near = Reference(truth.engine, reference.workload, requests=5_000).capacity(truth.speed)
        for noise in kinds():
            carries = true_capacity(truth, reference.workload, noise, near, _seed(size.seed, number, i, 2_000))
            found.append(Server(truth, noise, carries, len(found)))
    return found


def _ours(case: Case, reference: Reference, server: Server, seed: int) -> Ours:
    """Steps until the interval is narrow enough, as ``rooftune capacity`` makes them."""
    machine = NoisyServer(server.truth, server.noise, np.random.default_rng(seed))
    steps: list[Step] = []
    speeds: list[float] = []
    found: CapacityEstimate | None = None
    while True:
        order = next_step(reference, steps, Precision(), seed=seed, found=found)
        if isinstance(order, Ended):
            break
        steps.append(machine.step(order.workload))
        speeds.append(math.log(reference.speed_of(steps[-1], math.exp(speeds[-1]) if speeds else 1.0)))
        found = capacity_at(reference, matched_speed(reference, steps, speeds))
    assert found is not None
    true = server.carries_per_s
    return Ours(
        case.name,
        server.noise.name,
        math.log(found.rate_per_s / true),
        found.low_per_s <= true <= found.high_per_s,
        found.half,
        machine.load_s,
        len(steps),
    )


def _theirs(case: Case, reference: Reference, server: Server, recipe: str, seconds: float, seed: int) -> Theirs:
    machine = NoisyServer(server.truth, server.noise, np.random.default_rng(seed))
    shape = reference.shape(1.0)

    def probe(rate_per_s: float) -> Probe:
        before = machine.load_s
        requests = max(20, round(seconds * rate_per_s))
        fixed = StepShape(shape.settle_s, requests, shape.drain_s)
        step = machine.step(workload_at(reference.workload, rate_per_s, fixed, seed + round(before)))
        met = step.response.attainment >= step.workload.slo.share
        return Probe(rate_per_s, met, offset(step), machine.load_s - before)

    answer = RECIPES[recipe](probe, reference.capacity(1.0))
    error = math.log(answer.rate_per_s / server.carries_per_s)
    return Theirs(case.name, recipe, seconds, error, answer.load_s)


def rms(errors: Sequence[float]) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(errors))))
