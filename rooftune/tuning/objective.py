"""What a run makes better: the workload's objective and SLO as a metric, a direction and limits."""

from __future__ import annotations

from statistics import median

from rooftune.evidence.records.trial import TrialResult
from rooftune.tuning.plan import Objective
from rooftune.workloads.spec import Workload


def lower_is_better(metric: str) -> bool:
    """True for times, False for rates."""
    return metric.endswith("_ms")


def objective_of(workload: Workload) -> Objective:
    """The objective of a workload."""
    metric = workload.objective.metric
    return Objective(
        metric=metric,
        direction="lower" if lower_is_better(metric) else "higher",
        slo=workload.slo.limits_ms(),
        slo_share=workload.slo.share,
        asked_rate_per_s=getattr(workload.arrivals, "rate_per_s", None),
        seed=workload.seed,
    )


THROUGHPUTS = ("output_throughput", "request_throughput", "total_token_throughput")
UNSATURATED_METRIC = "median_e2el_ms"


def metric_between(objective: Objective, a: list[TrialResult], b: list[TrialResult]) -> str:
    """The metric that two configurations are compared by.

    When both are overloaded by the load, latencies and goodput tell how long the load lasted and not how good the
    server is, so the saturated metric (throughput) decides. When neither is, throughput is the load's and the same on
    both sides (and so is goodput where both keep the SLO), so the time to the last token decides.
    """
    if any(t.overloaded for t in a) and any(t.overloaded for t in b):
        return objective.saturated_metric
    metric = objective.metric
    served = not any(t.overloaded for t in [*a, *b])
    kept = metric == "request_goodput" and not slo_broken(objective, a) and not slo_broken(objective, b)
    if served and (metric in THROUGHPUTS or kept):
        metric = UNSATURATED_METRIC
    everywhere = all(t.metrics.get(metric) for t in [*a, *b])
    return metric if everywhere else objective.saturated_metric


def slo_kept_share(trials: list[TrialResult]) -> float | None:
    """Share of the requests of the window that met the whole SLO, median of the trials; None when it cannot be told."""
    shares = [t.metrics["slo_attainment"] for t in trials if "slo_attainment" in t.metrics]
    return median(shares) if shares else None


def slo_broken(objective: Objective, trials: list[TrialResult]) -> str | None:
    """How the trials break the SLO, in words; None when they keep it, or there is none, or it cannot be told."""
    share = slo_kept_share(trials)
    if not objective.slo or share is None or share >= objective.slo_share:
        return None
    return f"{100 * share:.1f} % of the requests meet it, {100 * objective.slo_share:g} % are promised"
