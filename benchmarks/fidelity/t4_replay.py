"""One real experiment on a Tesla T4, emulated: its requests, its server, and the client whose numbers were published.

The experiment (kshyp/varcas on GitHub, MIT licence, 2026-02-11) published a gain of 22 % for ``--max-num-seqs 8``
where its own server had counted a loss of about 45 %. ``docs/t4.md`` explains it. Here one simulation gives both:
what the server generates, and what the experiment's client reports.

``data/t4_requests.csv`` has one row per request: when the client sent it, which of its 13 prompts, tokens of the
prompt (counted by hand with the rules of Llama's tokenizer), ``max_tokens`` (drawn again from the client's public
generator and seed: 150 tokens on average, lognormal with deviation 80; equal prompts with equal ``max_tokens`` have
answers of equal length in both runs, which confirms it), and what the client recorded in two runs: ``default`` and
``eight`` (``--max-num-seqs 8``).
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
import numpy.typing as npt

from rooftune.hardware.named import accelerator
from rooftune.models.catalogue import model_facts
from rooftune.simulator.engine.core import limits
from rooftune.simulator.fastpath.run import run_fast
from rooftune.simulator.runs import ClientSettings, SimulatedRun
from rooftune.simulator.steptime.constants import Constants, constants_for, table
from rooftune.simulator.steptime.model import StepTime
from rooftune.vllm_rules.config import EngineConfig
from rooftune.vllm_rules.memory import kv_cache_tokens
from rooftune.vllm_rules.resolve import resolve
from rooftune.workloads.request_plan import RequestPlan

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
VERSION = "0.15.1"
CONNECTIONS = 100
"""The HTTP library's default limit, which the client never raised."""
LINGER_S = 1.04
"""The client reads its results one time-out of its queue (1 s) after the last request was sent."""
CHARS_PER_TOKEN = 4
ENDS_BY_ITSELF = {4: 106}
"""Prompts whose answers end before ``max_tokens``, with their tokens (428 characters whatever was asked for)."""
WINDOWS = {
    None: ((5.8, 15.8, 25.8, 35.8), (398.0, 376.7, 354.1)),
    8: ((5.8, 15.8, 25.8, 35.8), (208.8, 208.8, 190.0)),
    1: ((7.0, 17.0, 27.0, 37.0, 47.0, 57.0), (36.4, 35.8, 35.2, 34.7, 33.8)),
}
"""By ``max_num_seqs``: edges of the server's loaded ten-second windows on the client's clock (the first line of a log
is partly idle and left out; with one sequence their position does not matter), and ``Avg generation throughput`` in
tokens/s of each."""
PUBLISHED = {
    None: {"throughput_tok_s": 168.8, "tpot_p50_ms": 231.7, "latency_p50_ms": 26013.0, "ttft_p50_ms": 669.0},
    8: {"throughput_tok_s": 206.8, "tpot_p50_ms": 34.5, "latency_p50_ms": 16981.0, "ttft_p50_ms": 13650.0},
}
"""The published numbers by ``max_num_seqs``."""
SENT_FOR_S = {None: 40.0, 8: 35.0}
"""How long the client sent in the two runs that were published."""
KV_CACHE_TOKENS = {None: 18608, 8: 18640, 1: 18640}
"""From the servers' logs."""


@dataclass(frozen=True)
class T4Requests:
    """The experiment's requests as columns."""

    sent_s: Floats
    prompt: Ints
    prompt_tokens: Ints
    max_tokens: Ints
    chars: dict[int, tuple[Floats, Floats]]
    """By prompt: (tokens, characters) of the answers that both runs finished, ascending, from (0, 0)."""

    @property
    def output_tokens(self) -> Ints:
        """Tokens of each answer: ``max_tokens``, or fewer where the text ends by itself."""
        ends = np.array([ENDS_BY_ITSELF.get(int(p), 1 << 30) for p in self.prompt])
        return np.asarray(np.minimum(self.max_tokens, ends))

    def until(self, seconds: float) -> T4Requests:
        """Only those sent before."""
        n = int(np.searchsorted(self.sent_s, seconds))
        return T4Requests(self.sent_s[:n], self.prompt[:n], self.prompt_tokens[:n], self.max_tokens[:n], self.chars)

    def characters(self, generated: Ints) -> Floats:
        """Characters of the first ``generated`` tokens of each answer."""
        return np.array([self._characters(int(p), int(g)) for p, g in zip(self.prompt, generated, strict=True)])

    def _characters(self, prompt: int, tokens: int) -> float:
        known, chars = self.chars.get(prompt, self.chars[-1])
        if tokens <= known[-1]:
            return float(np.interp(tokens, known, chars))
        return float(chars[-1] * tokens / known[-1])


@dataclass(frozen=True)
class Claimed:
    """What the experiment's client reports for a run, computed as it computed it."""

    throughput_tok_s: float
    """Characters / 4 of finished answers, over the time in which requests were sent."""
    tpot_p50_ms: float
    latency_p50_ms: float
    ttft_p50_ms: float
    requests_per_s: float
    """All requests that were scheduled, as if all had succeeded."""
    scheduled: int
    begun: int
    finished: int

    def published(self) -> dict[str, float]:
        """The four numbers that were published."""
        return {name: float(getattr(self, name)) for name in PUBLISHED[None]}


@dataclass(frozen=True)
class T4Run:
    """One simulated run of the experiment."""

    kv_cache_tokens: int
    windows_tok_s: Floats
    """Tokens/s that the server generated in each window."""
    simulated: SimulatedRun
    requests: T4Requests
    claimed: Claimed


@cache
def requests() -> T4Requests:
    """All 767 requests."""
    text = files("benchmarks.fidelity").joinpath("data/t4_requests.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    seen: dict[int, dict[int, float]] = {}
    for row in rows:
        prompt = int(row["prompt"])
        tokens = min(int(row["max_tokens"]), ENDS_BY_ITSELF.get(prompt, 1 << 30))
        for run in ("default", "eight"):
            if row[f"{run}_chars"]:
                seen.setdefault(prompt, {})[tokens] = float(row[f"{run}_chars"])
    pooled = sum(sum(v.values()) for v in seen.values()) / sum(sum(v) for v in seen.values())
    chars = {p: (np.array([0.0, *sorted(v)]), np.array([0.0, *(v[t] for t in sorted(v))])) for p, v in seen.items()}
    chars[-1] = (np.array([0.0, 1000.0]), np.array([0.0, 1000.0 * pooled]))

    def column(name: str) -> Ints:
        return np.array([int(r[name]) for r in rows], np.int64)

    sent = np.array([float(r["sent_s"]) for r in rows])
    return T4Requests(sent, column("prompt"), column("prompt_tokens"), column("max_tokens"), chars)


def run(max_num_seqs: int | None, *, sent_for_s: float = 40.0, constants: Constants | None = None) -> T4Run:
    """Simulate the experiment.

    Args:
        max_num_seqs: the flag that was varied; None = not passed.
        sent_for_s: how long the client sends.
    """
    gpu, facts = accelerator("T4"), model_facts("llama-2-7b", quantization="awq")
    config = EngineConfig(
        model="TheBloke/Llama-2-7B-AWQ",
        dtype="half",
        max_model_len=2048,
        gpu_memory_utilization=0.90,
        quantization="awq",
        enforce_eager=True,
        max_num_seqs=max_num_seqs,
    )
    resolved = resolve(gpu, facts, config, VERSION)
    tokens = kv_cache_tokens(gpu, facts, resolved)
    load = requests().until(sent_for_s)
    edges = WINDOWS[max_num_seqs][0] if max_num_seqs in WINDOWS else WINDOWS[None][0]
    end = max(edges[-1], float(load.sent_s[-1]) + LINGER_S)
    client = ClientSettings(connections=CONNECTIONS, end_s=end, marks_s=edges)
    step = StepTime(gpu, facts, resolved, constants=constants or constants_for(gpu, table()))
    outcome = run_fast(_plan(load), step, limits(resolved, tokens, config), client)
    rates = outcome.tokens[1 : len(edges)] / np.diff(edges)
    return T4Run(tokens, rates, outcome, load, claimed(outcome, load))


def claimed(outcome: SimulatedRun, load: T4Requests) -> Claimed:
    """The client's arithmetic: cut, survivors only, characters / 4, every scheduled request called a success."""
    cut = float(load.sent_s[-1]) + LINGER_S
    span = float(load.sent_s[-1] - load.sent_s[0])
    first, last = outcome.first_s, outcome.last_s
    begun = ~np.isnan(first) & (first <= cut)
    finished = outcome.ended & (last <= cut)
    tokens = np.floor(load.characters(outcome.generated) / CHARS_PER_TOKEN)
    return Claimed(
        throughput_tok_s=float(tokens[finished].sum()) / span,
        tpot_p50_ms=1000 * float(np.median((last - first)[finished] / (tokens[finished] - 1))),
        latency_p50_ms=1000 * float(np.median((last - load.sent_s)[finished])),
        ttft_p50_ms=1000 * float(np.median((first - load.sent_s)[begun])),
        requests_per_s=len(load.sent_s) / span,
        scheduled=len(load.sent_s),
        begun=int(begun.sum()),
        finished=int(finished.sum()),
    )


def _plan(load: T4Requests) -> RequestPlan:
    n = len(load.sent_s)

    def whole(value: int) -> npt.NDArray[np.int32]:
        return np.full(n, value, np.int32)

    return RequestPlan(
        arrival_s=load.sent_s,
        prompt_tokens=load.prompt_tokens.astype(np.int32),
        output_tokens=load.output_tokens.astype(np.int32),
        prefix_id=whole(-1),
        prefix_tokens=whole(0),
        prompt_seed=load.prompt,
        conversation=whole(-1),
        turn=whole(0),
        think_s=np.zeros(n),
        part=np.zeros(n, np.int16),
        concurrency=None,
        seed=42,
    )
