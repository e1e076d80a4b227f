"""The figures of a run, in the order in which a report shows them."""

from __future__ import annotations

from rooftune.report.figures.capacity_run import run_attainment, run_latencies
from rooftune.report.figures.distribution import distribution
from rooftune.report.figures.front import front
from rooftune.report.figures.predictions import predictions
from rooftune.report.figures.progression import progression
from rooftune.report.figures.roofline import run_roofline
from rooftune.report.figures.saving import Drawing, Kind, draw_kinds
from rooftune.report.figures.step_time import step_time
from rooftune.report.figures.timeline import timeline
from rooftune.report.run_data import RunData

OVERVIEW = (
    Kind(
        "front",
        "Each dot is a configuration: what it carries against its time per token. No other configuration carries more "
        "at a lower TPOT than those on the line",
        front,
    ),
    Kind("progression", "The best configuration after each phase, with 95 % intervals; dots are trials", progression),
    Kind(
        "attainment",
        "Requests within the SLO against the rate: dots are loads that were measured, curves are the long run of the "
        "simulated reference at the measured speed, bands are 95 % intervals of the capacity",
        run_attainment,
    ),
    Kind(
        "latencies",
        "TTFT and TPOT against the rate: dots are loads, lines are the reference, a triangle is above the axis",
        run_latencies,
    ),
)
DETAILS = (
    Kind(
        "distribution",
        "Distribution of the latencies in the last trial of the baseline and of the recommended configuration",
        distribution,
    ),
    Kind(
        "timeline",
        "The last trial over time: running and waiting requests, KV cache and TTFT; the measured window is shaded",
        timeline,
    ),
    Kind(
        "step_time",
        "Where the time of a step goes: simulated parts at the measured batch and context, and the measured time",
        step_time,
    ),
    Kind(
        "roofline",
        "Roofline: decode and prefill of each trusted configuration under the ceilings of the accelerator",
        run_roofline,
    ),
    Kind("predictions", "What the simulator predicted for each configuration, and what was measured", predictions),
)


def draw_overview(run: RunData) -> list[Drawing]:
    """The figures that belong to the answer."""
    return draw_kinds(run, OVERVIEW)


def draw_details(run: RunData) -> list[Drawing]:
    """The figures that explain the answer."""
    return draw_kinds(run, DETAILS)


def draw_all(run: RunData) -> list[Drawing]:
    """Draw every figure that the records allow."""
    return [*draw_overview(run), *draw_details(run)]
