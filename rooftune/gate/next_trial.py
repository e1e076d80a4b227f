"""Which trial the gate measures next: fresh seeds beside the reference's, palindromes where both sides are measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from rooftune.evidence.comparison.balanced_order import balanced_order
from rooftune.evidence.records.trial import TrialResult
from rooftune.gate.loss import Design
from rooftune.gate.reference import BASELINE, Reference
from rooftune.trial_order import TrialLoad, TrialOrder
from rooftune.tuning.forecast import Forecast
from rooftune.tuning.trial_load import by_chance
from rooftune.vllm_rules.config import EngineConfig
from rooftune.workloads.spec import CAPACITY

REFERENCE = "reference"
"""Name of the reference's configuration where it is measured again."""
RETRIES = 2
"""How many trials in a row may fail or not be trusted, beyond the first."""


@dataclass(frozen=True)
class Side:
    """One configuration that the gate measures."""

    name: str
    config: EngineConfig
    seeds: tuple[int, ...]
    """Of its trials in order. Seeds that both sides draw allow a paired comparison."""


@dataclass(frozen=True)
class GatePlan:
    """What the gate may measure."""

    sides: tuple[Side, ...]
    most_trials: int
    """Per side; an even number where there is a reference, since comparisons look at pairs."""

    @property
    def order(self) -> list[str]:
        """Names of the sides in the order of their trials."""
        return balanced_order([side.name for side in self.sides], self.most_trials)


def gate_plan(
    config: EngineConfig, reference: Reference | None, design: Design, most_trials: int, first_seed: int
) -> GatePlan:
    """The trials that the gate may make.

    Args:
        first_seed: of the workload. Unless the reference is measured again, its seeds come first, then fresh ones.
    """
    most = most_trials + most_trials % 2 if reference is not None else most_trials
    if design == "beside":
        assert reference is not None
        fresh = tuple(range(first_seed, first_seed + most))
        before = EngineConfig(model=config.model).with_change(reference.newest.flags)
        return GatePlan((Side(REFERENCE, before, fresh), Side(BASELINE, config, fresh)), most)
    known = list(dict.fromkeys(t.seed for t in reference.trials)) if reference is not None else []
    start = max([first_seed - 1, *known]) + 1
    seeds = (*known, *range(start, start + most))[:most]
    return GatePlan((Side(BASELINE, config, seeds),), most)


def next_order(
    plan: GatePlan, results: Sequence[TrialResult], forecast: Forecast | None, rate: float | None
) -> TrialOrder | None:
    """The next trial; None when all are made, or when one failed too often.

    Args:
        rate: expected capacity, where trials measure it.
    """
    sides = {side.name: side for side in plan.sides}
    trusted = [t for t in sorted(results, key=lambda t: t.position) if t.believed]
    if len(trusted) >= len(plan.order) or failed_in_a_row(results) > RETRIES:
        return None
    name = plan.order[len(trusted)]
    side, own = sides[name], [t for t in results if t.candidate == name]
    done = [t for t in own if t.believed]
    known = [t.metrics[CAPACITY] for t in done if t.metrics.get(CAPACITY)]
    expected = median(known) if known else rate
    return TrialOrder(
        candidate=name,
        n=max((t.n for t in own), default=0) + 1,
        position=max((t.position for t in results), default=-1) + 1,
        config=side.config,
        seed=side.seeds[len(done)],
        phase=BASELINE,
        why=f"trial {len(done) + 1} of at most {plan.most_trials}",
        load=_load(forecast, side.config, expected, slower=any(map(by_chance, own))),
    )


def _load(forecast: Forecast | None, config: EngineConfig, rate: float | None, *, slower: bool) -> TrialLoad | None:
    """The load at a rate; after a trial that came too late, with a slower clock of the simulated engine."""
    if forecast is None or not rate:
        return None
    load = forecast.load(config, rate)
    if load.time_scale is None or not slower:
        return load
    return load.model_copy(update={"time_scale": max(1.0, load.time_scale / 2)})


def failed_in_a_row(results: Sequence[TrialResult]) -> int:
    """How many of the last trials failed or are not trusted."""
    count = 0
    for trial in sorted(results, key=lambda t: t.position, reverse=True):
        if trial.believed:
            break
        count += 1
    return count


def is_a_look(plan: GatePlan, results: Sequence[TrialResult]) -> bool:
    """Whether each side has an even number of trials, at which the comparison looks."""
    counts = [sum(t.believed and t.candidate == side.name for t in results) for side in plan.sides]
    return min(counts) > 0 and len(set(counts)) == 1 and counts[0] % 2 == 0
