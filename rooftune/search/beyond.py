"""How a configuration behaves at and beyond its capacity, in virtual time: the tie rule, and the front of TPOT."""

from __future__ import annotations

import numpy as np

from rooftune.search.options import Beyond
from rooftune.simulator.fastpath.run import run_fast
from rooftune.simulator.runs import ClientSettings
from rooftune.simulator.virtual.capacity import SETTLING, Sample, slo_ratios
from rooftune.simulator.virtual.predict import EmulatedEngine, select, too_long

BEYOND = 1.5
"""Rate, relative to the capacity, at which equal configurations are compared."""
RUNS = 1_000
"""Runs that the caller makes, as far as compiling is concerned: it always pays."""


def behaviour_at(engine: EmulatedEngine, drawn: Sample, rate_per_s: float) -> Beyond:
    """Median TPOT and goodput of a sample of requests at a rate.

    Beyond the capacity the queue grows as long as the sample lasts, so only figures of one sample can be compared.
    """
    plan = select(drawn.at(rate_per_s), ~too_long(drawn.plan, engine.limits.max_model_len))
    run = run_fast(plan, engine.step_time, engine.limits, ClientSettings(), acceptance=engine.acceptance, runs=RUNS)
    judged = slice(int(SETTLING * len(plan)), None)
    worst = np.max(np.stack([ratio[judged] for ratio in slo_ratios(run, drawn.slo).values()]), axis=0)
    several = run.generated[judged] > 1
    spans = (run.last_s[judged] - run.first_s[judged])[several] / (run.generated[judged][several] - 1)
    spans = spans[np.isfinite(spans)]
    tpot_ms = 1000 * float(np.median(spans)) if len(spans) else 0.0
    return Beyond(tpot_ms, rate_per_s * float((worst <= 1).mean()))


def beyond_capacity(engine: EmulatedEngine, drawn: Sample, capacity_per_s: float) -> Beyond:
    """How it behaves at 1.5 times its capacity."""
    return behaviour_at(engine, drawn, BEYOND * capacity_per_s)
