"""What a decision needs a simulation for: the worth of each knob of the winner, and the front of capacity and TPOT."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rooftune.errors import RooftuneError
from rooftune.evidence.records.trial import TrialResult
from rooftune.hardware.accelerator import Hardware
from rooftune.knobs.configuration import Configuration
from rooftune.knobs.context import Named, SpaceContext
from rooftune.knobs.space import Undone, undone
from rooftune.search.explain import FrontPoint, front, knobs_worth
from rooftune.tuning.guided.deciding import knob_effect
from rooftune.tuning.guided.predicted_space import predicted_values, tpots_at
from rooftune.tuning.guided.progress import Progress
from rooftune.tuning.guided.search_plan import PlannedOption
from rooftune.tuning.plan import Decision, FrontRow, KnobEffect, Plan
from rooftune.workloads.spec import CAPACITY, Workload, lower_is_better

MOST_ON_FRONT = 40
"""Configurations whose TPOT is predicted for the front."""
APART = 1.01
"""Capacity over that of the front's point before, below which a point is left out."""


@dataclass(frozen=True)
class Explained:
    """A run whose decision is explained."""

    plan: Plan
    workload: Workload
    hardware: Hardware
    results: Sequence[TrialResult]

    @property
    def context(self) -> SpaceContext:
        """The space of the run, as far as single configurations need it."""
        target, search = self.plan.target, self.plan.search
        own = search.own if search is not None else []
        return SpaceContext(
            gpu=self.hardware.accelerator,
            engine_version=target.engine_version,
            workload=self.workload,
            baseline=self.plan.candidates[0].config,
            count=self.hardware.count,
            engine=target.engine,
            named=tuple(Named(name, self.plan.candidate(name).change) for name in own),
        )

    def with_options(self, more: Sequence[PlannedOption]) -> Progress:
        """The search as if it had had these options too."""
        assert self.plan.search is not None
        search = self.plan.search.model_copy(update={"options": [*self.plan.search.options, *more]})
        return Progress.of(self.plan.model_copy(update={"search": search}), self.results)


def explained(decision: Decision, run: Explained) -> Decision:
    """The decision of a run that has ended, with the worth of every knob and the fronts."""
    if decision.search is None or run.plan.search is None:
        return decision
    update: dict[str, object] = {}
    if not decision.complete:
        update["reason"] = "the budget ended"
    if decision.incumbent != "baseline":
        update["knobs"] = _knobs(decision, run)
    if run.plan.objective.metric == CAPACITY and run.plan.search.predicts:
        update["front"] = capacity_front(run, decision.incumbent)
    return decision.model_copy(update={"search": decision.search.model_copy(update=update)})


def _knobs(decision: Decision, run: Explained) -> list[KnobEffect]:
    """The worth of each knob; what the search had no option for is predicted, or has the rule that excludes it."""
    search, summary, metric = run.plan.search, decision.search, run.plan.objective.metric
    assert search is not None
    assert summary is not None
    best = search.option(decision.incumbent)
    open_ones = {k.knob for k in summary.knobs if k.ratio is None}
    if best is None or not open_ones:
        return summary.knobs
    context = run.context
    found = [u for u in undone(context, _configuration(best, search.options[0])) if u.knob in open_ones]
    options = _predicted(run, context, best, found)
    usable = [o for o in options.values() if o.predicted]
    worths = {w.knob: w for w in knobs_worth(run.with_options(usable).look, decision.incumbent)}
    reasons = {u.knob: u.reason for u in found if u.configuration is None}
    nothing = {knob for knob, option in options.items() if option.predicted == 0}
    effects = [
        effect
        if effect.knob not in open_ones
        else _without_figure(effect, reasons.get(effect.knob, ""), nothing=effect.knob in nothing)
        if worths[effect.knob].ratio is None
        else knob_effect(worths[effect.knob], metric)
        for effect in summary.knobs
    ]
    sign = 1.0 if lower_is_better(metric) else -1.0
    return sorted(effects, key=lambda effect: sign * effect.ratio.estimate if effect.ratio is not None else 0.0)


def _without_figure(effect: KnobEffect, reason: str, *, nothing: bool) -> KnobEffect:
    what = f"{effect.knob}={effect.value}"
    if nothing:
        words = f"{what} instead of {effect.undone}: without it the SLO is kept at no rate (predicted)"
    elif reason:
        words = f"{what} cannot be set back to {effect.undone} alone: {reason}"
    else:
        words = f"{what} instead of {effect.undone}: not known, because the simulator does not model it"
    return effect.model_copy(update={"sentence": words})


def _configuration(option: PlannedOption, baseline: PlannedOption) -> Configuration:
    labels = {k: f"{k} {v}" for k, v in option.knobs.items() if v != baseline.knobs.get(k)}
    return Configuration(change=option.change, labels=labels, values=option.knobs, families=tuple(option.families))


def _predicted(
    run: Explained, context: SpaceContext, best: PlannedOption, found: Sequence[Undone]
) -> dict[str, PlannedOption]:
    """An option for each configuration with a knob set back, with its prediction on the scale of the plan's."""
    able = {u.knob: u.configuration for u in found if u.configuration is not None}
    assert run.plan.search is not None
    baseline = run.plan.search.options[0]
    configurations = [_configuration(best, baseline), *able.values()]
    try:
        values = predicted_values(context, run.plan.target, run.plan.objective.metric, configurations)
    except RooftuneError:
        values = None
    if values is None or not values[0] or not best.predicted:
        return {}
    scale = best.predicted / values[0]
    return {
        knob: PlannedOption(
            id=f"{best.id}-without-{knob.replace(' ', '-')}",
            name=configuration.name,
            phase=best.phase,
            change=dict(configuration.change),
            knobs={k: v for k, v in {**best.knobs, knob: baseline.knobs.get(knob)}.items() if v is not None},
            families=list(configuration.families),
            predicted=scale * value,
            changes_outputs=configuration.changes_outputs,
            predictable=configuration.predictable,
        )
        for (knob, configuration), value in zip(able.items(), values[1:], strict=True)
    }


def capacity_front(run: Explained, recommended: str = "") -> list[FrontRow]:
    """The configurations that no other beats in both capacity and TPOT at that capacity.

    Without trials it is the front as predicted.
    """
    progress, context = Progress.of(run.plan, run.results), run.context
    look, options = progress.look, {o.id: o for o in progress.search.options}
    carried = {
        o.id: math.exp(look.posterior.mean[i]) for i, o in enumerate(progress.problem.options) if look.starts[i] > 0.5
    }
    names = _of_each_limit(carried, options, recommended)
    baseline = progress.search.options[0]
    rates = [(_configuration(options[name], baseline), carried[name]) for name in names]
    tpots = tpots_at(context, run.plan.target, rates)
    points = [FrontPoint(n, carried[n], tpot) for n, tpot in zip(names, tpots, strict=True) if tpot is not None]
    return [
        FrontRow(
            option=point.option,
            capacity=point.benefit,
            tpot_ms=point.burden,
            measured=bool(look.measured[progress.problem.at(point.option)]),
            changes_outputs=options[point.option].changes_outputs,
        )
        for point in _apart(front(points), recommended)
    ]


def _apart(points: Sequence[FrontPoint], recommended: str) -> list[FrontPoint]:
    """The points that carry at least a little more than the one before, and the recommended one."""
    found: list[FrontPoint] = []
    for point in points:
        if not found or point.benefit >= APART * found[-1].benefit:
            found.append(point)
        elif point.option == recommended:
            found[-1] = point
    return found


def _of_each_limit(carried: Mapping[str, float], options: Mapping[str, PlannedOption], recommended: str) -> list[str]:
    """The best configurations of each batch limit, because that limit moves TPOT most."""
    ordered = sorted(carried, key=lambda name: -carried[name])
    groups: dict[object, list[str]] = {}
    for name in ordered:
        groups.setdefault(options[name].knobs.get("max_num_seqs"), []).append(name)
    each = max(1, MOST_ON_FRONT // max(len(groups), 1))
    chosen = {name for group in groups.values() for name in group[:each]} | ({recommended} & set(carried))
    return [name for name in ordered if name in chosen]
