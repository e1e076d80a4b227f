"""What checks of answers mean for a search: which configurations spoil them, and when a check is due."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rooftune.evidence.records.quality import Quality
from rooftune.evidence.records.trial import TrialResult
from rooftune.quality.judge import spoils_probabilities
from rooftune.quality.key import answers_key, may_change_answers, model_key
from rooftune.search.confirm import is_fresh
from rooftune.tuning.capacity_figures import capacity_of, share_of_price
from rooftune.tuning.guided.search_plan import SearchPlan
from rooftune.tuning.plan import Goal, Plan
from rooftune.vllm_rules.config import EngineConfig

Due = Literal["floor", "check"]


@dataclass(frozen=True)
class Checks:
    """The verdicts of a run so far, by what decides the answers of a configuration."""

    by_key: dict[str, Quality]
    accept_loss: bool
    spoilt_models: dict[str, Quality]
    """Those that hold with any speculative decoding, by what decides the probabilities of the model."""

    @classmethod
    def of(cls, plan: Plan, results: Sequence[TrialResult]) -> Checks:
        """The checks in the trials of a run, the first of each key."""
        found, models = dict[str, Quality](), dict[str, Quality]()
        for result in sorted(results, key=lambda r: r.position):
            q = result.quality
            if q is None:
                continue
            found.setdefault(q.key, q)
            if q.verdict == "spoilt" and q.model_key and spoils_probabilities(q.measures, q.prompts):
                models.setdefault(q.model_key, q)
        accepts = plan.quality.accept_loss
        return cls(found, accepts, {} if accepts else models)

    def of_config(self, config: EngineConfig) -> Quality | None:
        """The verdict that holds for a configuration; None where no check of it was made."""
        if not self.by_key:
            return None
        own = self.by_key.get(answers_key(config))
        if own is not None and own.verdict != "not judged":
            return own
        return self.spoilt_models.get(model_key(config), own) if self.spoilt_models else own

    @property
    def exclude(self) -> bool:
        """Whether some configurations cannot win, because their answers are spoilt."""
        return not self.accept_loss and any(q.verdict == "spoilt" for q in self.by_key.values())

    def why_not(self, config: EngineConfig) -> str:
        """Why the configuration cannot win: its answers are spoilt. Empty where it can."""
        found = self.of_config(config) if self.exclude else None
        if found is None or found.verdict != "spoilt":
            return ""
        return f"its answers are spoilt ({found.reason}); --accept-quality-loss allows it"


def without_spoilt(search: SearchPlan, plan: Plan, results: Sequence[TrialResult]) -> SearchPlan:
    """The search without options whose answers are known to be spoilt. Options that have a trial stay."""
    checks, tried = Checks.of(plan, results), {r.candidate for r in results}
    if not checks.exclude:
        return search
    base = plan.candidates[0].config
    kept = [o for o in search.options if o.id in tried or not checks.why_not(base.with_change(o.change))]
    return search.model_copy(update={"options": kept})


def due(
    plan: Plan, results: Sequence[TrialResult], candidate: str, config: EngineConfig, *, has_floor: bool
) -> Due | None:
    """What the server of a trial is to be asked once its load has ended, if the trial is promising; None = nothing."""
    baseline = plan.candidates[0]
    if candidate == baseline.id:
        return None if has_floor else "floor"
    if not has_floor or not may_change_answers(config, baseline.config):
        return None
    return None if Checks.of(plan, results).of_config(config) is not None else "check"


def promising(plan: Plan, results: Sequence[TrialResult], trial: TrialResult, config: EngineConfig) -> bool:
    """Whether a trial is good enough for a check: one of the confirmation, or better than the baseline."""
    if is_fresh(trial.seed, plan.objective.seed):
        return True
    if not trial.believed:
        return False
    ours = _worth(plan.objective, trial, config)
    baseline = plan.candidates[0]
    base = [_worth(plan.objective, r, baseline.config) for r in results if r.candidate == baseline.id and r.believed]
    known = [value for value in base if value is not None]
    return ours is not None and (not known or ours > sum(known) / len(known))


def _worth(goal: Goal, trial: TrialResult, config: EngineConfig) -> float | None:
    """The objective of a trial, where more is better."""
    if goal.by_capacity and not goal.at_capacity:
        figures = capacity_of([trial])
        return None if figures is None else figures.estimate / share_of_price(goal, config)
    value = trial.metrics.get(goal.metric)
    return None if value is None else -value if goal.direction == "lower" else value
