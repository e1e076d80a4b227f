"""From a plan to its search: the space, the predictions, and the method that chooses the trials."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from rooftune.capacity.reference import LEAST_WINDOW_S
from rooftune.capacity.steps import judged_requests
from rooftune.errors import InputError
from rooftune.hardware.accelerator import Hardware
from rooftune.knobs.checkpoints import in_catalogue, known_checkpoints
from rooftune.knobs.configuration import Configuration, Space
from rooftune.knobs.context import Named, SpaceContext
from rooftune.knobs.draft_models import draft_models, named_draft_models
from rooftune.knobs.space import space
from rooftune.search.from_space import TrialCost
from rooftune.search.trial_cost import LoadTime
from rooftune.tuning.entries import Playbook, default_playbook
from rooftune.tuning.gates import with_listed_flags
from rooftune.tuning.goal import THROUGHPUTS
from rooftune.tuning.guided.ids import ids_of
from rooftune.tuning.guided.predicted_space import PredictedSpace, predicted_space
from rooftune.tuning.guided.search_plan import LeftOut, PlannedOption, SearchMethod, SearchPlan
from rooftune.tuning.plan import Candidate, Gate, Plan
from rooftune.workloads.spec import CAPACITY, Workload

EASY_WINS = {
    "dtype", "weights", "graphs", "max_num_seqs", "attention_backend", "async_scheduling", "gpu_memory_utilization",
    "performance_mode", "stream_interval",
}  # fmt: skip
"""Knobs of the phase ``easy-wins``, as long as the answers stay the same; all others are ``medium-term``."""
AROUND_S = 40.0
"""Seconds of a load beside its judged window, to estimate how it grows with the window."""
EQUAL = 0.99
"""Share of the highest throughput from which another is treated as the same."""


def with_search(
    plan: Plan,
    workload: Workload,
    hardware: Hardware,
    playbook: Playbook,
    method: SearchMethod | None,
    cost: TrialCost,
    engine_flags: Callable[[], frozenset[str] | None] = lambda: None,
) -> Plan:
    """The plan with what its search may measure; the ladder needs nothing beyond the plan's candidates.

    Args:
        method: None = guided where the simulator predicts the objective, else the ladder.
        engine_flags: asks the installed engine which flags it lists; None = not known. Takes up to a minute.

    Raises:
        InputError: the playbook narrows something unknown, or the method cannot be used here.
    """
    wanted = method or ("guided" if _suits(plan) else "ladder")
    listed = None if plan.target.engine == "endpoint" or plan.blocked else engine_flags()
    plan = with_listed_flags(plan, listed)
    if wanted == "ladder" or plan.target.engine == "endpoint" or plan.blocked:
        if plan.target.engine == "endpoint":
            _refuse_method(playbook, method)
        else:
            _refuse_narrowing(playbook, wanted)
        return plan
    context = _context(plan, workload, hardware, playbook, listed)
    whole = space(context)
    _refuse_nothing_left(playbook, whole)
    rungs = _rungs(plan, whole.configurations, context)
    metric = plan.objective.metric
    foreseen = predicted_space(context, whole.configurations, plan.target, rungs, metric)
    useful = foreseen is not None and foreseen.worth_it and _binds(plan, foreseen)
    if not useful and method is None:
        _refuse_narrowing(playbook, "ladder")
        return plan
    kept = foreseen.configurations if foreseen is not None and useful else whole.configurations
    known = foreseen if useful else None
    options = _options(kept, _rungs(plan, kept, context), plan, known, _load_factors(plan, workload, known))
    return plan.model_copy(
        update={
            "candidates": _with_reasons(plan.candidates, context.named, whole),
            "search": SearchPlan(
                method=wanted,
                options=options,
                space=len(whole.configurations),
                left_out=_left_out(whole, context),
                own=[named.id for named in context.named],
                start_s=cost.start_s,
                load_s=cost.load_s,
                error_within_90=plan.predicted_error,
            ),
        }
    )


def check_search(
    plan: Plan, workload: Workload, hardware: Hardware, playbook: Playbook, method: SearchMethod | None
) -> None:
    """Refuse what ``with_search`` refuses whatever is predicted. Takes a moment, where predictions take a while.

    Args:
        plan: made without predictions.

    Raises:
        InputError: the playbook narrows something unknown, or the method cannot be used here.
    """
    if plan.blocked:
        return
    if plan.target.engine == "endpoint" or method == "ladder":
        _refuse_method(playbook, method)
    elif playbook.knobs or playbook.checkpoints or playbook.draft_models:
        _refuse_nothing_left(playbook, space(_context(plan, workload, hardware, playbook, None)))


def _refuse_method(playbook: Playbook, method: SearchMethod | None) -> None:
    """Refuse a search of the space where only the ladder can be used, and what the ladder cannot use."""
    if method not in (None, "ladder"):
        raise InputError(f"--search {method} needs an engine that rooftune starts; an endpoint is only measured.")
    _refuse_narrowing(playbook, "ladder")


def _refuse_narrowing(playbook: Playbook, method: str) -> None:
    """Refuse what only a search over the whole space can use.

    Raises:
        InputError: the playbook narrows knobs or names checkpoints.
    """
    asked = [word for word, given in (("knobs", playbook.knobs), ("checkpoints", playbook.checkpoints)) if given]
    if asked:
        raise InputError(
            f"the {method} tries its own candidates only, so it cannot use your {' and '.join(asked)}; add "
            "--search guided."
        )


def _refuse_nothing_left(playbook: Playbook, whole: Space) -> None:
    """Refuse values of a playbook outside of what can run.

    Raises:
        InputError: no configuration besides the baseline has them.
    """
    own = {entry.id for entry in playbook.candidates}
    if not playbook.knobs or any(not set(c.knobs) <= own for c in whole.configurations[1:]):
        return
    named = [f"{d.what}: {d.reason}" for d in whole.dropped if d.knob in playbook.knobs]
    why = [*named, *(d.reason for d in whole.dropped if not d.knob)]
    raise InputError(
        f"with the knobs of your playbook nothing is left to try besides the baseline"
        f"{f' ({why[0]})' if why else ''}; name other values for {', '.join(playbook.knobs)}."
    )


def _suits(plan: Plan) -> bool:
    """Whether the model can lead a search for this objective."""
    metric = plan.objective.metric
    if plan.target.gpu is None or not plan.predicted.get("baseline"):
        return False
    values = [metrics[metric] for metrics in plan.predicted.values() if metric in metrics]
    return metric == CAPACITY or (metric in THROUGHPUTS and bool(values) and _differ(values))


def _binds(plan: Plan, foreseen: PredictedSpace) -> bool:
    """Whether the objective differs between configurations: a throughput does only where the load is more than some
    serve. Where all serve it, the ladder compares the time to the last token."""
    return plan.objective.metric == CAPACITY or _differ(foreseen.objective)


def _differ(values: Sequence[float]) -> bool:
    return min(values) < EQUAL * max(values)


def _context(
    plan: Plan, workload: Workload, hardware: Hardware, playbook: Playbook, engine_flags: frozenset[str] | None
) -> SpaceContext:
    known = {entry.id: entry for entry in default_playbook().candidates}
    own = {entry.id for entry in playbook.candidates if known.get(entry.id) != entry}
    mine = [Named(c.id, c.change) for c in plan.candidates[1:] if c.id in own and c.runnable]
    context = SpaceContext(
        gpu=hardware.accelerator,
        engine_version=plan.target.engine_version,
        workload=workload,
        baseline=plan.candidates[0].config,
        engine=plan.target.engine,
        values={name: tuple(values) for name, values in playbook.knobs.items()},
        named=tuple(mine),
        engine_flags=engine_flags,
        has_texts=plan.target.texts,
        drafts=plan.target.known_drafts,
    )
    if plan.target.texts:
        drafting = draft_models(context.facts, plan.target.model, playbook.draft_models)
    else:  # only speculation uses them, and it needs texts
        drafting = named_draft_models(context.facts, playbook.draft_models)
    checkpoints = known_checkpoints(context.facts, playbook.checkpoints)
    return replace(context, checkpoints=checkpoints, draft_models=drafting)


def _rungs(plan: Plan, configurations: Sequence[Configuration], context: SpaceContext) -> dict[int, str]:
    """Places of the configurations that a candidate of the ladder describes, with the candidate's id."""
    own = {named.id for named in context.named}
    candidates = sorted(plan.candidates, key=lambda c: c.id not in own)  # of equal ones, the user's gives the name
    by_flags = {repr(sorted(c.config.flags().items())): c for c in reversed(candidates) if c.runnable}
    found = {0: plan.candidates[0].id}
    for i, configuration in enumerate(configurations[1:], start=1):
        candidate = by_flags.get(repr(sorted(configuration.config(context.baseline).flags().items())))
        if candidate is not None and candidate.id not in found.values():
            found[i] = candidate.id
    return found


def _load_factors(plan: Plan, workload: Workload, foreseen: PredictedSpace | None) -> Sequence[float] | None:
    """By option: how long its load takes relative to the best one's; None where all take the same time.

    The clock of a simulated engine is set by the tokens that pass, so there every load takes about the same time.
    """
    if foreseen is None or not plan.objective.by_capacity or plan.target.simulated:
        return None
    return LoadTime(AROUND_S, LEAST_WINDOW_S, judged_requests(workload.slo.share)).factors(foreseen.objective)


def _options(
    kept: Sequence[Configuration],
    rungs: Mapping[int, str],
    plan: Plan,
    foreseen: PredictedSpace | None,
    load_factors: Sequence[float] | None,
) -> list[PlannedOption]:
    phases = {candidate.id: candidate.phase for candidate in plan.candidates}
    found = []
    for i, (name, configuration) in enumerate(zip(ids_of(kept, rungs), kept, strict=True)):
        behaviour = foreseen.behaviour.get(i) if foreseen is not None else None
        beyond = behaviour.beyond if behaviour is not None else None
        found.append(
            PlannedOption(
                id=name,
                name=configuration.name,
                phase=phases.get(name) or _phase(configuration),
                change=dict(configuration.change),
                knobs=dict(configuration.values),
                families=list(configuration.families),
                predicted=foreseen.objective[i] if foreseen is not None else None,
                tpot_ms=behaviour.tpot_ms if behaviour is not None else None,
                beyond_tpot_ms=beyond.tpot_ms if beyond is not None else None,
                beyond_goodput_per_s=beyond.goodput_per_s if beyond is not None else None,
                speed_slope=round(foreseen.speed_slopes.get(i, 1.0), 3) if foreseen is not None else 1.0,
                load_factor=round(load_factors[i], 3) if load_factors is not None else 1.0,
                changes_outputs=configuration.changes_outputs,
                predictable=configuration.predictable,
            )
        )
    return found


def _with_reasons(candidates: Sequence[Candidate], own: Sequence[Named], whole: Space) -> list[Candidate]:
    """The candidates; those of the user that are not in the space have a gate with the reason."""
    reasons = {d.what: d.reason for d in whole.dropped if d.what in {named.id for named in own}}
    return [
        c.model_copy(update={"gates": [*c.gates, Gate(id="space", verdict="not supported", reason=reasons[c.id])]})
        if c.id in reasons
        else c
        for c in candidates
    ]


def _phase(configuration: Configuration) -> str:
    easy = set(configuration.labels) <= EASY_WINS and not configuration.changes_outputs
    return "easy-wins" if easy else "medium-term"


def _left_out(whole: Space, context: SpaceContext) -> list[LeftOut]:
    """What is not in the space, and published checkpoints of the model that the user could name."""
    found = [LeftOut(what=d.what, reason=d.reason, count=d.count) for d in whole.dropped]
    known = {context.baseline.model, *(c.model for c in context.checkpoints)}
    kinds = {c.kind for c in context.checkpoints}
    kinds.add((context.facts.quantization or "none") if context.facts is not None else "")
    published = in_catalogue(context.facts) if context.facts is not None else ()
    return found + [
        LeftOut(what=c.label, reason=f"not on this machine by its name; add --checkpoint {c.model} to try it")
        for c in published
        if c.model not in known and c.kind not in kinds
    ]
