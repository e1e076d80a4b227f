"""What speculative decoding gains against the load: from acceptance, which does not depend on the load, and step times,
which do.

At few streams a step waits for the weights, so verifying a few more tokens costs almost nothing and each accepted one
saves a step. At many streams a step is bound by arithmetic, and a rejected token costs as much as any other. One trial,
or a replay of recorded answers, gives the acceptance; the simulator gives the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rooftune.errors import InputError
from rooftune.knobs.entry import knob
from rooftune.simulator.calibration.files import Calibration
from rooftune.simulator.fastpath.run import run_fast
from rooftune.simulator.runs import ClientSettings, SimulatedRun
from rooftune.simulator.virtual.predict import EmulatedEngine, engine_of, select, too_long
from rooftune.speculation.acceptance import AcceptanceLike
from rooftune.vllm_rules.config import FlagValue
from rooftune.workloads.draw import draw
from rooftune.workloads.request_plan import RequestPlan
from rooftune.workloads.spec import Workload

ROUNDS = 8
"""Answers of each stream in a run."""
FEWEST_ANSWERS = 64
SETTLED = 0.2
"""Share of a run at its start that is not counted."""
STREAMS = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class StreamFigures:
    """A server with a number of requests always in flight. Simulated."""

    tokens_per_s: float
    tpot_ms: float
    """Median of the requests."""


@dataclass(frozen=True)
class GainAtLoad:
    """One load without and with speculation."""

    streams: int
    plain: StreamFigures
    drafting: StreamFigures

    @property
    def gain(self) -> float:
        """Throughput with speculation over that without: above 1 where it helps."""
        return self.drafting.tokens_per_s / self.plain.tokens_per_s


def draft_gains(
    workload: Workload,
    *,
    gpu: str,
    model: str,
    engine_version: str,
    flags: Mapping[str, FlagValue],
    acceptance: AcceptanceLike,
    streams: Sequence[int] = STREAMS,
    calibration: Calibration | None = None,
) -> list[GainAtLoad]:
    """The gain for each number of streams, with the lengths of the workload's requests.

    Raises:
        InputError: the flags ask for no speculation, a number of streams is below 1, or no request fits.
        StartRefused: vLLM would refuse to start with or without it.
    """
    speculative = knob("speculation").flags
    if not any(flags.get(name) for name in speculative):
        raise InputError("the flags ask for no speculative decoding; add --set speculative_config='{...}'.")
    if min(streams, default=1) < 1:
        raise InputError("each load needs at least one stream; write 1,4,40 or 1:64.")
    plan = draw(workload)
    if not len(plan):
        raise InputError(f"the workload {workload.name} has no requests; make its window longer.")
    without = {name: value for name, value in flags.items() if name not in speculative}
    plain, drafting = (
        engine_of(gpu, model, engine_version, chosen, acceptance, calibration, plan.longest_request)
        for chosen in (without, flags)
    )
    return [GainAtLoad(n, figures_at(plain, plan, n), figures_at(drafting, plan, n)) for n in streams]


def worth_up_to(gains: Sequence[GainAtLoad], least: float = 1.0) -> int | None:
    """The most streams up to which speculation gains at every load; None where it never does."""
    found = None
    for row in gains:
        if row.gain <= least:
            break
        found = row.streams
    return found


def figures_at(engine: EmulatedEngine, plan: RequestPlan, streams: int) -> StreamFigures:
    """What a server does with this many requests always in flight, with the lengths of the plan's requests.

    Raises:
        InputError: no request of the plan fits into the server's context.
    """
    wanted = max(FEWEST_ANSWERS, ROUNDS * streams)
    longest = engine.limits.max_model_len
    kept = select(plan, ~too_long(plan, longest))
    if not len(kept):
        raise InputError(f"max_model_len={longest} is shorter than every request of the workload; raise it.")
    load = _alone(kept, wanted)
    client = ClientSettings(users=streams)
    run = run_fast(load, engine.step_time, engine.limits, client, acceptance=engine.acceptance, runs=len(STREAMS) * 2)
    return _steady(run)


def _alone(plan: RequestPlan, wanted: int) -> RequestPlan:
    """This many requests of the plan, each independent of the others."""
    rows = np.arange(wanted) % len(plan)
    return replace(
        plan.take(rows),
        arrival_s=np.zeros(wanted),
        prompt_seed=plan.prompt_seed[rows] + (np.arange(wanted) // len(plan) << 40),
        turn=np.zeros(wanted, np.int32),
        conversation=np.full(wanted, -1, np.int32),
        think_s=np.zeros(wanted),
        concurrency=None,
        blocks=None,
        texts=None,
    )


def _steady(run: SimulatedRun) -> StreamFigures:
    """Figures between the first answers and the moment when the last request begins."""
    begun = np.sort(run.due_s)
    start, end = SETTLED * float(begun[-1]), float(begun[-1])
    made = run.generated * np.clip(
        (np.minimum(run.last_s, end) - np.maximum(run.first_s, start)) / np.maximum(run.last_s - run.first_s, 1e-9),
        0,
        1,
    )
    several = run.generated > 1
    tpot = (run.last_s - run.first_s)[several] / (run.generated[several] - 1)
    return StreamFigures(float(made.sum() / (end - start)), 1000 * float(np.median(tpot)))
