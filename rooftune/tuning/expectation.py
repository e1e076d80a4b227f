"""Expected effects of a plan's candidates, from the simulator if it knows the GPU and the model."""

from __future__ import annotations

from dataclasses import dataclass, field

from rooftune.engines.price import price_of, usd_per_hour, usd_per_million
from rooftune.engines.target import Target
from rooftune.errors import RooftuneError
from rooftune.formatting import change, rate
from rooftune.models.facts import ModelFacts
from rooftune.tuning.forecast import SimulatedForecast, acceptance_is_known
from rooftune.tuning.metrics import metric_name
from rooftune.tuning.plan import ExpectedEffect, Goal
from rooftune.vllm_rules.config import EngineConfig
from rooftune.workloads.spec import CAPACITY, COST, Workload


@dataclass(frozen=True)
class Predictions:
    """The simulator's predictions for the configurations of a plan; empty where it has none."""

    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    overloaded: dict[str, bool] = field(default_factory=dict)
    error: float | None = None
    """Relative error band of the predictions: 0.1 = within 10 %."""
    unmodelled: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Flags of each configuration that its prediction leaves out, with the reason."""

    @property
    def baseline_effect(self) -> ExpectedEffect | None:
        """The expected effect of the baseline itself: its throughput."""
        found = self.metrics.get("baseline")
        if not found:
            return None
        if CAPACITY in found:
            carried = f"about {rate(found[CAPACITY], 'request', 3)} within the SLO"
            words = carried if found[CAPACITY] > 0 else "breaks the SLO even with one request at a time"
            return ExpectedEffect(metric=CAPACITY, sentence=words, source="simulator")
        words = f"about {rate(found.get('output_throughput', 0.0), 'output token')}"
        return ExpectedEffect(metric="output_throughput", sentence=words, source="simulator")


def predictions(
    workload: Workload, target: Target, facts: ModelFacts | None, configs: dict[str, EngineConfig]
) -> Predictions:
    """Predict every configuration in virtual time. There are none for an unknown GPU or model."""
    if target.gpu is None or facts is None:
        return Predictions()
    from rooftune.simulator.calibration.files import opened
    from rooftune.simulator.virtual.predict import predict

    calibration = opened(target.calibration)
    metrics: dict[str, dict[str, float]] = {}
    overloaded: dict[str, bool] = {}
    left_out: dict[str, tuple[str, ...]] = {}
    error: float | None = None
    base = configs["baseline"].model
    forecast = SimulatedForecast(target, workload, base) if workload.measures_capacity else None
    price = price_of(target)
    for name, config in configs.items():
        if not acceptance_is_known(target, config):
            continue
        try:
            found = predict(
                workload,
                gpu=target.gpu,
                model=target.model,
                engine_version=target.engine_version,
                flags=config.flags(),
                acceptance=target.known_drafts.acceptance(config.flags()),
                calibration=calibration,
                runs=len(configs),
            )
        except RooftuneError:
            continue
        metrics[name] = dict(found.metrics)
        carried = forecast.capacity(config) if forecast is not None else None
        if carried is not None:
            metrics[name][CAPACITY] = carried
        rate = metrics[name]["output_throughput"] if forecast is None else (carried or 0.0) * forecast.output_tokens
        each = usd_per_hour(price, config.flags())
        cost = usd_per_million(each, rate) if each is not None else None
        metrics[name] |= {COST: cost} if cost is not None else {}
        overloaded[name] = bool(found.overloaded)
        left_out[name] = found.unmodelled
        if error is None and isinstance(found.error_band, float):
            error = found.error_band
    return Predictions(metrics, overloaded, error, left_out)


def effect_of(candidate: str, foreseen: Predictions, objective: Goal) -> ExpectedEffect | None:
    """The predicted ratio of a candidate to the baseline, with the simulator's error band, if predicted."""
    ours, base = foreseen.metrics.get(candidate), foreseen.metrics.get("baseline")
    if not ours or not base:
        return None
    if set(foreseen.unmodelled.get(candidate, ())) - set(foreseen.unmodelled.get("baseline", ())):
        return None  # the change itself is not modelled
    metric = _shown_metric(candidate, foreseen, objective, ours, base)
    if metric is None:
        return None
    ratio = ours[metric] / base[metric]
    band = foreseen.error
    low, high = (None, None) if band is None else (ratio * (1 - band), ratio * (1 + band))
    sentence = f"{metric_name(metric)} {change(ratio)} compared with the baseline"
    if ratio <= 0:
        sentence = "breaks the SLO even with one request at a time"
    return ExpectedEffect(metric=metric, ratio=ratio, low=low, high=high, sentence=sentence, source="simulator")


def _shown_metric(
    candidate: str, foreseen: Predictions, objective: Goal, ours: dict[str, float], base: dict[str, float]
) -> str | None:
    """The metric of the objective, or the saturated one where it has no meaning or was not predicted."""

    def known(metric: str) -> bool:
        return bool(base.get(metric)) and metric in ours

    if objective.by_capacity:
        return objective.metric if known(objective.metric) else None
    both = foreseen.overloaded.get(candidate) and foreseen.overloaded.get("baseline")
    metric = objective.saturated_metric if both or not known(objective.metric) else objective.metric
    return metric if known(metric) else None
