"""What a run optimises: the workload's objective and SLO as a metric, a direction and limits."""

from __future__ import annotations

from statistics import median

from rooftune.engines.price import price_of
from rooftune.engines.target import Target
from rooftune.engines.urls import is_local
from rooftune.errors import InputError
from rooftune.evidence.records.trial import TrialResult
from rooftune.formatting import number, percent
from rooftune.hardware.accelerator import Hardware
from rooftune.hardware.sampler import power_is_read
from rooftune.tuning.metrics import lower_is_better, metric_name, unit_of
from rooftune.tuning.plan import Goal
from rooftune.workloads.spec import CAPACITY, COST, ENERGY, Workload

THROUGHPUTS = ("output_throughput", "request_throughput", "total_token_throughput")
UNSATURATED_METRIC = "median_e2el_ms"
"""Decides between configurations that serve the whole load, where throughput equals the load on both sides."""


def goal_of(workload: Workload) -> Goal:
    """The goal of a workload.

    Raises:
        InputError: the capacity is the objective, and the workload has none.
    """
    metric = workload.decides
    if metric == CAPACITY and not workload.has_capacity:
        raise InputError(
            f"the capacity cannot be the objective of {workload.name}: it needs an SLO (--slo ttft_ms=500), and "
            "poisson, constant, gamma or burst arrivals; name another --objective."
        )
    return Goal(
        metric=metric,
        direction="lower" if lower_is_better(metric) else "higher",
        saturated_metric=metric if metric in (COST, ENERGY) else "output_throughput",
        at_capacity=workload.measures_capacity,
        slo=workload.slo.limits_ms(),
        slo_share=workload.slo.share,
        asked_rate_per_s=getattr(workload.arrivals, "rate_per_s", None),
        constraints=workload.objective.constraints,
        seed=workload.seed,
    )


def check_measurable(workload: Workload, target: Target, hardware: Hardware) -> None:
    """Refuse an objective or a constraint that no trial here can measure.

    Raises:
        InputError: the cost is wanted and no price is known, or the energy and no power can be read.
    """
    wanted = {workload.decides, *(bound.metric for bound in workload.objective.constraints)}
    if COST in wanted and price_of(target) is None:
        name = target.gpu or hardware.accelerator.name
        raise InputError(
            f"{COST} needs a price, and none is known for {name}; give one with --price (US dollars per accelerator "
            "and hour), or name another metric."
        )
    if ENERGY in wanted and (why := _no_power(target, hardware)):
        raise InputError(f"{ENERGY} needs a reading of the power, and {why}.")


def _no_power(target: Target, hardware: Hardware) -> str:
    """Why no power of the server can be read, with the way out; empty where it can."""
    if target.simulated:
        return (
            "the simulated engine has no model of it; measure with --engine vllm on an NVIDIA GPU, or name another "
            "metric"
        )
    if target.url is not None and not is_local(target.url):
        return "the server runs on another machine; run rooftune there, or name another metric"
    if hardware.accelerator.kind == "cpu" or not power_is_read():
        return "NVML reads none here; measure on an NVIDIA GPU whose driver reports it, or name another metric"
    return ""


def metric_between(goal: Goal, a: list[TrialResult], b: list[TrialResult]) -> str:
    """The metric that compares two configurations: the capacity, if it is the objective.

    Otherwise, if both are overloaded, latencies and goodput depend on how long the load lasted, so the saturated metric
    (throughput) decides. If neither is, throughput equals the load on both sides (and so does goodput where both keep
    the SLO), so the time to the last token decides.
    """
    if goal.by_capacity:
        return goal.metric
    if any(t.overloaded for t in a) and any(t.overloaded for t in b):
        return goal.saturated_metric
    metric = goal.metric
    served = not any(t.overloaded for t in [*a, *b])
    kept = metric == "request_goodput" and not slo_broken(goal, a) and not slo_broken(goal, b)
    if served and (metric in THROUGHPUTS or kept):
        metric = UNSATURATED_METRIC
    everywhere = all(t.metrics.get(metric) for t in [*a, *b])
    return metric if everywhere else goal.saturated_metric


def slo_kept_share(trials: list[TrialResult]) -> float | None:
    """Share of the window's requests that met the whole SLO, median of the trials; None if no trial has it."""
    shares = [t.metrics["slo_attainment"] for t in trials if "slo_attainment" in t.metrics]
    return median(shares) if shares else None


def slo_broken(goal: Goal, trials: list[TrialResult]) -> str | None:
    """How the trials break the SLO, in words; None if they keep it, if there is none, or if it was not measured."""
    share = slo_kept_share(trials)
    if not goal.slo or share is None or share >= goal.slo_share:
        return None
    return f"{percent(share, 3)} of the requests meet it instead of {percent(goal.slo_share, 4)}"


def constraint_broken(goal: Goal, trials: list[TrialResult]) -> str | None:
    """The first constraint that the trials break, in words; None if they keep all of them."""
    for bound in goal.constraints:
        values = [t.metrics[bound.metric] for t in trials if bound.metric in t.metrics]
        name, unit = metric_name(bound.metric), unit_of(bound.metric)
        if not values:
            return f"{name} was not measured, so its constraint cannot be checked"
        value = median(values)
        if not bound.allows(value):
            sign, limit = ("≤", bound.at_most) if bound.at_most is not None else ("≥", bound.at_least)
            return f"{name} is {number(value)} {unit} instead of {sign} {number(limit)} {unit}"
    return None
