"""How a configuration behaves at and beyond its capacity, in virtual time: the tie rule, and the front of TPOT.

In a long load above the capacity the queue grows until no request of any configuration meets its TTFT, so goodput says
nothing there. What distinguishes configurations is how they get through the first minute, so that is what is compared.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rooftune.search.options import Beyond
from rooftune.simulator.fastpath.run import run_fast
from rooftune.simulator.runs import ClientSettings, SimulatedRun
from rooftune.simulator.virtual.capacity import SETTLING, Sample, slo_ratios
from rooftune.simulator.virtual.predict import EmulatedEngine, select, too_long
from rooftune.workloads.request_plan import RequestPlan

BEYOND = 1.5
"""Rate, relative to the capacity, at which equal configurations are compared."""
OVERLOAD_S = 60.0
"""Length of a load beyond the capacity. It starts with an empty server."""
LEAST_REQUESTS = 20
"""Requests of such a load at least, however slow the server is."""
RUNS = 1_000
"""Runs that the caller makes, as far as compiling is concerned: it always pays."""


def behaviour_at(engine: EmulatedEngine, drawn: Sample, rate_per_s: float) -> Beyond:
    """Median TPOT and goodput of a sample of requests at a rate."""
    plan = select(drawn.at(rate_per_s), ~too_long(drawn.plan, engine.limits.max_model_len))
    run = _run(engine, plan)
    judged = slice(int(SETTLING * len(plan)), None)
    return Beyond(_median_ms(_tpots_s(run)[judged]), rate_per_s * float(_kept(run, drawn)[judged].mean()))


def beyond_capacity(engine: EmulatedEngine, drawn: Sample, capacity_per_s: float) -> Beyond:
    """How it gets through a minute at 1.5 times its capacity, over as many such minutes as the sample has."""
    rate = BEYOND * capacity_per_s
    plan = select(drawn.at(rate), ~too_long(drawn.plan, engine.limits.max_model_len))
    each = min(max(round(rate * OVERLOAD_S), LEAST_REQUESTS), len(plan))
    place = _first_turns(plan) // each
    runs = [_run(engine, select(plan, place == minute)) for minute in range(len(plan) // each)]
    kept = np.concatenate([_kept(run, drawn) for run in runs])
    return Beyond(_median_ms(np.concatenate([_tpots_s(run) for run in runs])), rate * float(kept.mean()))


def _first_turns(plan: RequestPlan) -> npt.NDArray[np.int64]:
    """Place of each request, or of the first turn of its conversation, which keeps conversations whole."""
    place = np.arange(len(plan), dtype=np.int64)
    _, first, which = np.unique(plan.conversation, return_index=True, return_inverse=True)
    return np.where(plan.conversation >= 0, first[which.reshape(-1)], place)


def _run(engine: EmulatedEngine, plan: RequestPlan) -> SimulatedRun:
    return run_fast(plan, engine.step_time, engine.limits, ClientSettings(), acceptance=engine.acceptance, runs=RUNS)


def _kept(run: SimulatedRun, drawn: Sample) -> npt.NDArray[np.bool_]:
    """Which requests met every limit."""
    return np.asarray(np.max(np.stack(list(slo_ratios(run, drawn.slo).values())), axis=0) <= 1)


def _tpots_s(run: SimulatedRun) -> npt.NDArray[np.float64]:
    """TPOT of each request; not a number where there is none."""
    tokens = run.generated - 1
    return np.where(tokens > 0, (run.last_s - run.first_s) / np.maximum(tokens, 1), np.nan)


def _median_ms(times_s: npt.NDArray[np.float64]) -> float:
    known = times_s[np.isfinite(times_s)]
    return 1000 * float(np.median(known)) if len(known) else 0.0
