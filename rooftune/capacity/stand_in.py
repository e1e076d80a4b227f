"""Chooses a simulated server in the place of one whose accelerator or model is not known.

Requests sent one at a time show how long a prompt and a token take without load. The stand-in is the pair of
accelerator and model that takes about as long for both, so its response to load has about the right shape.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from rooftune.capacity.lone import LoneTimes
from rooftune.capacity.reference_server import BATCH_LIMIT, ReferenceServer
from rooftune.engines.server import EffectiveConfig
from rooftune.errors import RooftuneError
from rooftune.models.catalogue import model_facts
from rooftune.simulator.fastpath.run import run_fast
from rooftune.simulator.runs import ClientSettings
from rooftune.simulator.virtual.capacity import MANY_RUNS
from rooftune.simulator.virtual.predict import EmulatedEngine, select, too_long
from rooftune.vllm_rules.config import FlagValue
from rooftune.workloads.draw import draw
from rooftune.workloads.request_plan import RequestPlan
from rooftune.workloads.spec import Workload

VERSION = "0.32.0"
"""vLLM version of a stand-in whose server does not report one that is known."""
GPUS = ("L4", "A10G", "T4", "A100-80", "H100", "H200", "cpu")
MODELS = ("llama-3.1-8b", "qwen2.5-0.5b", "llama-3.2-3b", "qwen2.5-32b")
REPORTED = ("max_model_len", "max_num_seqs", "max_num_batched_tokens")
"""Limits that a server may report and that its stand-in then has too."""
LEAST_LENGTH = 2_048
LONE = 20
"""Requests from which the stand-in's times are taken."""
APART_S = 10_000.0
"""Distance of their arrivals: none meets another."""
TTFT_WEIGHT = 0.3
"""Weight of the prompt's time: it includes the network and the tokenizer, which are not simulated."""


@dataclass(frozen=True)
class Known:
    """What is known of a server besides its answers."""

    effective: EffectiveConfig
    model: str
    """Its model as it names it, or as the user does."""
    gpu: str | None = None
    flags: tuple[tuple[str, FlagValue], ...] = ()


def stand_in(known: Known, times: LoneTimes | None, workload: Workload) -> ReferenceServer:
    """The reference for a server about which this is known; the twin where GPU and model are.

    Args:
        times: what requests take one at a time; None = not measured, then the first that fits is taken.

    Raises:
        RooftuneError: the workload cannot be simulated on any candidate.
    """
    plan = draw(workload)
    best: ReferenceServer | None = None
    nearest, refusal = math.inf, ""
    longest = int((plan.prompt_tokens + plan.output_tokens).max(initial=LEAST_LENGTH))
    for candidate in _candidates(known, longest):
        try:
            distance = _distance(candidate, plan, times)
        except RooftuneError as error:
            refusal = str(error)
            continue
        if distance < nearest:
            best, nearest = candidate, distance
        if times is None or not candidate.stand_in:
            break
    if best is None:
        why = refusal.split("\n")[0].rstrip(".")
        raise RooftuneError(
            f"no simulated server can stand in for this one ({why}); name its accelerator and model with --gpu and "
            "--model, and its flags with --set."
        )
    return best


def _candidates(known: Known, longest: int) -> Iterator[ReferenceServer]:
    """Pairs of accelerator and model, with the limits that the server reports; without them if those do not fit.

    A model's own maximum length needs more memory than most accelerators have, so a limit is always set.
    """
    reported: dict[str, FlagValue] = {n: v for n in REPORTED if (v := getattr(known.effective, n)) is not None}
    model = _in_catalogue(known.model)
    length: dict[str, FlagValue] = {"max_model_len": longest}
    for flags in ({**length, **reported, **dict(known.flags)}, {**length, **dict(known.flags)}):
        for name in (model,) if model else MODELS:
            for gpu in (known.gpu,) if known.gpu else GPUS:
                yield ReferenceServer(
                    gpu=gpu,
                    model=name,
                    engine_version=_version(known.effective),
                    flags=flags,
                    stand_in=not (model and known.gpu),
                    flags_known=BATCH_LIMIT in flags,
                    gpu_known=known.gpu is not None,
                )


def _in_catalogue(model: str) -> str | None:
    try:
        model_facts(model)
    except RooftuneError:
        return None
    return model


def _version(effective: EffectiveConfig) -> str:
    from rooftune.vllm_rules.versions import parse_version

    try:
        parse_version(effective.engine_version or "")
    except RooftuneError:
        return VERSION
    return effective.engine_version or VERSION


def _distance(candidate: ReferenceServer, plan: RequestPlan, times: LoneTimes | None) -> float:
    """How far the candidate's times without load are from the measured ones.

    Raises:
        RooftuneError: it would not start, or some requests are too long for it.
    """
    engine = candidate.engine()
    if too_long(plan, engine.limits.max_model_len).any():
        raise RooftuneError(f"some requests are longer than max_model_len={engine.limits.max_model_len}")
    if times is None:
        return 0.0
    alone = simulated_times(engine, plan)
    return _apart(times.tpot_s, alone.tpot_s) + TTFT_WEIGHT * _apart(times.ttft_s, alone.ttft_s)


def simulated_times(engine: EmulatedEngine, plan: RequestPlan) -> LoneTimes:
    """How long a prompt and a token take on an engine that serves one request at a time."""
    few = select(plan, np.arange(len(plan)) < LONE)
    spread = APART_S * np.arange(len(few), dtype=np.float64)
    nobody = np.full(len(few), -1, np.int32)
    alone = replace(few, arrival_s=spread, turn=np.zeros(len(few), np.int32), conversation=nobody)
    run = run_fast(
        alone, engine.step_time, engine.limits, ClientSettings(), acceptance=engine.acceptance, runs=MANY_RUNS
    )
    several = run.generated > 1
    each = (run.last_s - run.first_s)[several] / (run.generated[several] - 1)
    return LoneTimes(float(np.median(run.first_s - run.due_s)), float(np.median(each)) if several.any() else None)


def _apart(measured: float | None, simulated: float | None) -> float:
    """Distance of two times in the logarithm; 0 where one is not known."""
    return abs(math.log(measured / simulated)) if measured and simulated else 0.0
