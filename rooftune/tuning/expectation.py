"""Expected effects of a plan's candidates, from the simulator where it knows GPU and model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rooftune.engines.target import Target
from rooftune.errors import RooftuneError
from rooftune.models.facts import ModelFacts
from rooftune.tuning.plan import Effect, Objective
from rooftune.vllm_rules.config import EngineConfig
from rooftune.workloads.spec import Workload


@dataclass(frozen=True)
class Predictions:
    """What the simulator predicts for each configuration of a plan; empty where it cannot."""

    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    overloaded: dict[str, bool] = field(default_factory=dict)
    error: float | None = None
    """Relative error band of the predictions: 0.1 = within 10 %."""

    @property
    def baseline_effect(self) -> Effect | None:
        """What is expected of the baseline itself."""
        found = self.metrics.get("baseline")
        if not found:
            return None
        words = f"about {found.get('output_throughput', 0):,.0f} output tokens/s"
        return Effect(metric="output_throughput", sentence=words, source="simulator")


def predictions(
    workload: Workload, target: Target, facts: ModelFacts | None, configs: dict[str, EngineConfig]
) -> Predictions:
    """Predict every configuration in virtual time. A GPU or model that the simulator does not know gives none."""
    if target.gpu is None or facts is None:
        return Predictions()
    from rooftune.simulator.calibration.files import opened
    from rooftune.simulator.virtual.predict import predict

    calibration = opened(target.calibration)
    metrics: dict[str, dict[str, float]] = {}
    overloaded: dict[str, bool] = {}
    error: float | None = None
    for name, config in configs.items():
        if config.speculative_config:
            continue  # nobody knows how many guesses will be right
        try:
            found = predict(
                workload,
                gpu=target.gpu,
                model=target.model,
                engine_version=target.engine_version,
                flags=config.flags(),
                calibration=calibration,
                runs=len(configs),
            )
        except RooftuneError:
            continue
        metrics[name] = dict(found.metrics)
        overloaded[name] = bool(found.overloaded)
        error = _band(found) if error is None else error
    return Predictions(metrics, overloaded, error)


def effect_of(candidate: str, foreseen: Predictions, objective: Objective) -> Effect | None:
    """The predicted ratio of a candidate to the baseline, with the simulator's error band; None if not predicted."""
    ours, base = foreseen.metrics.get(candidate), foreseen.metrics.get("baseline")
    if not ours or not base:
        return None
    both = foreseen.overloaded.get(candidate) and foreseen.overloaded.get("baseline")
    metric = objective.saturated_metric if both else objective.metric
    if not base.get(metric) or metric not in ours:
        metric = objective.saturated_metric
    if not base.get(metric) or metric not in ours:
        return None
    ratio = ours[metric] / base[metric]
    band = foreseen.error or 0.0
    low, high = ratio * (1 - band), ratio * (1 + band)
    sentence = f"{metric} {_percent(ratio)} against the baseline"
    return Effect(metric=metric, ratio=ratio, low=low, high=high, sentence=sentence, source="simulator")


def _percent(ratio: float) -> str:
    return f"{(ratio - 1) * 100:+.0f} %".replace("-", "−")


def _band(found: Any) -> float | None:
    band = getattr(found, "error_band", None)
    if isinstance(band, (int, float)):
        return float(band)
    if isinstance(band, dict):
        return float(band.get("output_throughput") or max(band.values(), default=0.0)) or None
    return None
