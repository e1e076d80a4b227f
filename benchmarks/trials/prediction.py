"""Predicts a trial: its prompts through the simulated engine and front, and the figures as the source's client takes
them."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from benchmarks.trials.records import QUANTIZATION, Trial
from rooftune.hardware.accelerator import Accelerator
from rooftune.hardware.named import accelerator
from rooftune.models.catalogue import model_facts
from rooftune.models.facts import ModelFacts
from rooftune.simulator.engine.core import limits
from rooftune.simulator.fastpath.run import run_fast
from rooftune.simulator.runs import ClientSettings, SimulatedRun
from rooftune.simulator.steptime.constants import Constants, Table, constants_for, table
from rooftune.simulator.steptime.model import StepTime
from rooftune.simulator.virtual.server_path import server_path
from rooftune.vllm_rules.config import EngineConfig
from rooftune.vllm_rules.memory import kv_cache_tokens
from rooftune.vllm_rules.resolve import Resolved, resolve
from rooftune.workloads.request_plan import RequestPlan

Floats = npt.NDArray[np.float64]
CONNECTIONS = 100
"""Most connections of one ``httpx`` client."""
CLIENT_START_S = 0.06
"""What the source's wall time has before the first send: it makes a client for each level (median over the trials
with one request at a time, where requests account for all else)."""
SPREAD = 0.6
"""Standard deviation of the logarithm of prompt lengths where only their mean is known."""
LATER_S = 1e4
"""When the load begins, after the prompts that were sent before it."""


@dataclass(frozen=True)
class Figures:
    """What the source's client prints."""

    tok_s: float
    ttft_p50_ms: float
    tpot_ms: float


@dataclass(frozen=True)
class Server:
    """The emulated server of a trial."""

    gpu: Accelerator
    facts: ModelFacts
    resolved: Resolved
    config: EngineConfig
    kv_tokens: int


@cache
def server_of(trial: Trial) -> Server:
    """The server that a trial ran.

    Raises:
        EngineError: it would not start.
    """
    flags = json.dumps(trial.flags, sort_keys=True)
    return _server(trial.gpu, trial.model, QUANTIZATION[trial.quant], trial.vllm_version, flags)


@cache
def _server(gpu: str, model: str, quantization: str, version: str, flags: str) -> Server:
    card, facts = accelerator(gpu), model_facts(model, quantization=quantization)
    config = EngineConfig(model=model).with_change(json.loads(flags))
    resolved = resolve(card, facts, config, version)
    return Server(card, facts, resolved, config, kv_cache_tokens(card, facts, resolved))


class Simulator:
    """Predicts trials by one table of constants."""

    def __init__(self, of: Table | None = None) -> None:
        self.table = of or table()
        self._constants: dict[str, Constants] = {}
        self._steps: dict[tuple[int, str], StepTime] = {}

    def constants(self, gpu: str) -> Constants:
        """Constants of a GPU by this table."""
        if gpu not in self._constants:
            self._constants[gpu] = constants_for(accelerator(gpu), self.table)
        return self._constants[gpu]

    def step_time(self, server: Server) -> StepTime:
        """Step times of a server."""
        key = (id(server), server.gpu.name)
        if key not in self._steps:
            self._steps[key] = StepTime(
                server.gpu, server.facts, server.resolved, constants=self.constants(server.gpu.name)
            )
        return self._steps[key]

    def predict(self, trial: Trial, acceptance: float = 0.0) -> Figures:
        """The figures of a trial.

        Raises:
            EngineError: its server would not start.
        """
        server = server_of(trial)
        plan, load = plan_of(trial)
        client = ClientSettings(
            connections=min(trial.concurrency or 1, CONNECTIONS), path=server_path(self.constants(server.gpu.name))
        )
        bounds = limits(server.resolved, server.kv_tokens, server.config)
        run = run_fast(plan, self.step_time(server), bounds, client, acceptance=acceptance, compile=True)
        return figures(trial, run, load)


def figures(trial: Trial, run: SimulatedRun, load: slice) -> Figures:
    """Throughput, TTFT and TPOT as the source's client takes them."""
    first, last, out = run.first_s[load] - LATER_S, run.last_s[load] - LATER_S, run.generated[load]
    may_go = np.zeros(len(last))
    waits = trial.concurrency or 1
    if waits < len(last):
        may_go[waits:] = np.sort(last)[: len(last) - waits]
    per_token = (last - first) / np.maximum(out - 1, 1)
    return Figures(
        tok_s=float(out.sum() / (last.max() + CLIENT_START_S)),
        ttft_p50_ms=float(np.median(first - may_go)) * 1000,
        tpot_ms=float(per_token[out > 1].mean()) * 1000,
    )


@cache
def plan_of(trial: Trial) -> tuple[RequestPlan, slice]:
    """The requests of a trial, those that filled the prefix cache first, and where its load is among them."""
    prompts, outputs = lengths(trial)
    n, shared = len(prompts), trial.shared_prefix_tokens
    earlier = n if trial.prompts_cached_by_earlier_level else 1 if shared else 0
    before = np.arange(earlier)
    return RequestPlan(
        arrival_s=np.concatenate([before * (LATER_S / 1000 / max(earlier, 1)), np.full(n, LATER_S)]),
        prompt_tokens=np.concatenate([prompts[:earlier], prompts]).astype(np.int32),
        output_tokens=np.concatenate([np.ones(earlier), outputs]).astype(np.int32),
        prefix_id=np.full(earlier + n, 0 if shared else -1, np.int32),
        prefix_tokens=np.full(earlier + n, shared, np.int32),
        prompt_seed=np.concatenate([before if earlier > 1 else before + n, np.arange(n)]).astype(np.int64),
        conversation=np.full(earlier + n, -1, np.int32),
        turn=np.zeros(earlier + n, np.int32),
        think_s=np.zeros(earlier + n),
        part=np.zeros(earlier + n, np.int16),
        concurrency=None,
        seed=0,
    ), slice(earlier, earlier + n)


def lengths(trial: Trial) -> tuple[Floats, Floats]:
    """Prompt and answer tokens of each request: as asked, or made to the mean that is known.

    Answers that stop by themselves are cut at ``max_output_tokens``: an exponential cut there has their mean.
    """
    n, mean, most = trial.requests or 1, float(trial.mean_output_tokens or 1), trial.max_output_tokens
    if not trial.natural_stop:
        return np.full(n, float(trial.mean_prompt_tokens)), np.full(n, round(mean))
    rng = np.random.default_rng(5)
    prompts = np.exp(rng.normal(0, SPREAD, n))
    prompts = np.maximum(8, np.round(trial.mean_prompt_tokens * prompts / prompts.mean()))
    return prompts, rng.permutation(_cut_exponential(n, mean, most))


def _cut_exponential(n: int, mean: float, most: int) -> Floats:
    if mean >= most - 0.5:
        return np.full(n, float(most))
    drawn = -np.log(1 - (np.arange(n) + 0.5) / n)
    low, high = 1.0, 1e7
    for _ in range(80):
        scale = math.sqrt(low * high)
        low, high = (scale, high) if np.minimum(scale * drawn, most).mean() < mean else (low, scale)
    return np.asarray(np.maximum(np.round(np.minimum(low * drawn, most)), 2.0))
