"""Predictions of options with speculative decoding, corrected by the acceptance that trials have shown.

Acceptance does not depend on the load, so what one trial counts holds for every batch limit, every length of the same
proposer and every other knob beside it. For each length the best predicted option with it is simulated with the old and
with the new acceptance. The ratio corrects all options of that length.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from rooftune.engines.target import Target
from rooftune.errors import RooftuneError
from rooftune.machine_code import wanted
from rooftune.simulator.virtual.judging import Judged, Round, judge_all
from rooftune.speculation.acceptance import AcceptanceLike, step_drafts
from rooftune.speculation.known import KnownDraft
from rooftune.tuning.guided.foresight import COMPILED, PLAIN
from rooftune.tuning.guided.predicted_space import objective_of, server_of
from rooftune.tuning.guided.search_plan import PlannedOption
from rooftune.tuning.plan import Plan
from rooftune.vllm_rules.config import EngineConfig
from rooftune.vllm_rules.speculation import speculation
from rooftune.workloads.spec import Workload

ONE_SAMPLE = 0.99
"""Below 1, so that one sample decides: both sides of the ratio are simulated on the same requests."""
CHANGED = 0.01
"""Relative change of the tokens per step from which options are predicted again: more trials change it by less."""


def with_measured_drafts(plan: Plan, workload: Workload, measured: Sequence[KnownDraft]) -> Plan:
    """The plan with corrected predictions; the same plan where the trials show nothing new."""
    value = objective_of(plan.objective.metric, workload)
    if plan.search is None or plan.target.gpu is None or value is None or not measured:
        return plan
    after = plan.target.model_copy(update={"measured_drafts": list(measured)})
    groups: dict[str, list[PlannedOption]] = {}
    for option in plan.search.options:
        asked = option.change.get("speculative_config")
        if isinstance(asked, Mapping) and option.predicted:
            groups.setdefault(json.dumps(asked, sort_keys=True), []).append(option)
    factors: dict[str, float] = {}
    base = plan.candidates[0].config
    for options in groups.values():
        best = max(options, key=lambda option: option.predicted or 0.0)
        config = base.with_change(best.change)
        if _differs(plan.target, after, config):
            old, new = (_objective(t, config, base.model, workload, value) for t in (plan.target, after))
            factors |= dict.fromkeys((o.id for o in options), new / old if old > 0 and new > 0 else 1.0)
    if not factors:
        return plan
    corrected = [
        o.model_copy(update={"predicted": (o.predicted or 0.0) * factors[o.id], "before_trials": o.foreseen})
        if o.id in factors
        else o
        for o in plan.search.options
    ]
    search = plan.search.model_copy(update={"options": corrected})
    return plan.model_copy(update={"target": after, "search": search})


def _differs(before: Target, after: Target, config: EngineConfig) -> bool:
    """Whether a step is now known to give another number of tokens."""
    old, new = (_tokens(target.known_drafts.acceptance(config.flags()), config) for target in (before, after))
    return abs(new / old - 1) > CHANGED


def _tokens(acceptance: AcceptanceLike, config: EngineConfig) -> float:
    spec = speculation(config)
    return step_drafts(acceptance, spec.tokens).tokens if spec is not None else 1.0


def _objective(
    target: Target, config: EngineConfig, baseline: str, workload: Workload, value: Callable[[Judged], float]
) -> float:
    """The predicted objective with what a target knows of drafts; 0 where there is none."""
    server = replace(server_of(target), model=target.serving(config.model, baseline).model)
    rounds = (Round((COMPILED if wanted() else PLAIN).quick, ONE_SAMPLE),)
    try:
        return value(judge_all(server, workload, [config.flags()], rounds=rounds, processes=1)[0])
    except RooftuneError:
        return 0.0
