"""Serving figures that others published, none of which any constant was fitted to: the simulator judged by source.

``data/serving.json`` names the source of each. Figures whose prompts a prefix cache may have held, whose settings
are not known, or whose client was far away are not in it.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from benchmarks.trials.prediction import Simulator
from rooftune.errors import RooftuneError
from rooftune.hardware.named import accelerator
from rooftune.models.catalogue import model_facts
from rooftune.models.config_json import from_config
from rooftune.models.facts import ModelFacts
from rooftune.simulator.engine.core import limits
from rooftune.simulator.fastpath.run import run_fast
from rooftune.simulator.runs import ENGINE_ALONE, ClientSettings
from rooftune.simulator.steptime.model import StepTime
from rooftune.simulator.virtual.server_path import server_path
from rooftune.vllm_rules.config import EngineConfig
from rooftune.vllm_rules.memory import kv_cache_tokens
from rooftune.vllm_rules.resolve import resolve
from rooftune.workloads.request_plan import RequestPlan

DATA = Path(__file__).parent / "data" / "serving.json"
MODELS = Path(__file__).parent / "data" / "models"
"""config.json files of models that the catalogue does not have."""
PROMPT_SPREAD, ANSWER_SPREAD = 1.0, 0.9
"""Standard deviation of the logarithm of lengths that vary, as in ShareGPT."""


class Figure(BaseModel):
    """One published run."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    id: str
    group: str
    source: str
    gpu: str
    tensor_parallel: int
    model: str
    quantization: str
    vllm_version: str
    flags: dict[str, Any]
    kind: str
    """burst: all at once; closed: ``concurrency`` in flight; open: Poisson at ``rate_per_s``."""
    concurrency: int | None
    rate_per_s: float | None
    requests: int
    input_tokens: float
    input_varies: bool
    output_tokens: float
    output_varies: bool
    output_throughput: float | None
    tpot_ms: float | None
    ttft_ms: float | None
    in_process: bool
    """The engine was called without HTTP."""


@cache
def serving_figures() -> tuple[Figure, ...]:
    """All of them."""
    return tuple(Figure.model_validate(f) for f in json.loads(DATA.read_text(encoding="utf-8"))["figures"])


def facts_of(figure: Figure) -> ModelFacts:
    """The model of a figure."""
    own = MODELS / f"{figure.model}.json"
    return from_config(own) if own.is_file() else model_facts(figure.model, quantization=figure.quantization)


def predicted(simulator: Simulator, figure: Figure) -> dict[str, float] | None:
    """Throughput, TPOT and TTFT of a figure; None when the simulator would not start that server."""
    try:
        facts = facts_of(figure)
        card = accelerator(figure.gpu)
        config = EngineConfig(model=figure.model, tensor_parallel_size=figure.tensor_parallel).with_change(figure.flags)
        resolved = resolve(card, facts, _shorter(config, figure), figure.vllm_version)
        tokens = kv_cache_tokens(card, facts, resolved)
    except RooftuneError:
        return None
    constants = simulator.constants(figure.gpu)
    step = StepTime(card, facts, resolved, constants=constants)
    client = ClientSettings(
        connections=figure.concurrency if figure.kind == "closed" else None,
        path=ENGINE_ALONE if figure.in_process else server_path(constants),
    )
    run = run_fast(_plan(figure), step, limits(resolved, tokens, config), client, compile=True)
    out = run.generated
    return {
        "output_throughput": float(out.sum() / (run.last_s.max() - run.sent_s.min())),
        "tpot_ms": float(((run.last_s - run.first_s) / np.maximum(out - 1, 1))[out > 1].mean()) * 1000,
        "ttft_ms": float(np.median(run.first_s - run.sent_s)) * 1000,
    }


def _shorter(config: EngineConfig, figure: Figure) -> EngineConfig:
    """A context that fits where the source does not say which it used."""
    if config.max_model_len is not None:
        return config
    longest = 4096 if figure.input_varies or figure.output_varies else figure.input_tokens + figure.output_tokens
    return config.with_change({"max_model_len": int(max(4096, 1.1 * longest))})


def _plan(figure: Figure) -> RequestPlan:
    n, rng = figure.requests, np.random.default_rng(11)
    gaps = rng.exponential(1 / figure.rate_per_s, n) if figure.kind == "open" and figure.rate_per_s else np.zeros(n)
    prompts = _lengths(rng, n, figure.input_tokens, PROMPT_SPREAD if figure.input_varies else 0.0)
    outputs = _lengths(rng, n, figure.output_tokens, ANSWER_SPREAD if figure.output_varies else 0.0)
    return RequestPlan(
        arrival_s=np.cumsum(gaps),
        prompt_tokens=prompts,
        output_tokens=np.minimum(outputs, np.maximum(4000 - prompts, 2)) if figure.output_varies else outputs,
        prefix_id=np.full(n, -1, np.int32),
        prefix_tokens=np.zeros(n, np.int32),
        prompt_seed=np.arange(n, dtype=np.int64),
        conversation=np.full(n, -1, np.int32),
        turn=np.zeros(n, np.int32),
        think_s=np.zeros(n),
        part=np.zeros(n, np.int16),
        concurrency=None,
        seed=0,
    )


def _lengths(rng: np.random.Generator, n: int, mean: float, spread: float) -> npt.NDArray[np.int32]:
    drawn = np.exp(rng.normal(0, spread, n)) if spread else np.ones(n)
    drawn = np.minimum(mean * drawn / drawn.mean(), 2000) if spread else mean * drawn
    drawn = drawn * mean / drawn.mean()
    return np.asarray(np.maximum(np.round(drawn), 2), np.int32)
