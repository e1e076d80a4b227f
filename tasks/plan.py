"""Task of the plan phase: writes plan.json."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from prefect import task

from rooftune.engines.target import Target
from rooftune.errors import EngineError, InputError
from rooftune.files import write_json
from rooftune.formatting import quantity
from rooftune.runfolder import RunFolder
from rooftune.search.from_space import TrialCost
from rooftune.tuning.guided.budget import Room
from rooftune.tuning.guided.search_plan import SearchPlan
from rooftune.tuning.plan import Plan
from rooftune.workloads.spec import Workload
from tasks.load import real_seconds
from tasks.retrying import retry_unexpected
from tasks.run_files import facts_of, hardware_of, settings_of, target_of, workload_of
from tasks.trial_time import START_S

if TYPE_CHECKING:
    from rooftune.tuning.forecast import SimulatedForecast


SLOW = "predicting takes some minutes, because numba is not installed (pip install 'rooftune[fast]')"


def slow_predictions() -> bool:
    """Whether the plan's predictions run as plain Python."""
    from rooftune.simulator.fastpath.compilation import wanted

    return not wanted()


@task(
    name="plan",
    task_run_name="plan the candidates",
    retries=1,
    retry_delay_seconds=2,
    retry_condition_fn=retry_unexpected,
    timeout_seconds=1200,
)
async def plan_candidates(run: RunFolder) -> Plan:
    """Choose the candidates, with their gates and expected effects, and write plan.json."""
    found = await asyncio.to_thread(_plan, run)
    write_json(run.plan_json, found.model_dump(mode="json"))
    return found


def _plan(run: RunFolder) -> Plan:
    from rooftune.tuning.guided.build import with_search
    from rooftune.tuning.playbook import build_plan, load_playbook, with_candidates, with_checkpoints

    target, settings = target_of(run), settings_of(run)
    playbook = with_candidates(load_playbook(settings.playbook), settings.candidates, target.engine_version)
    playbook = with_checkpoints(playbook, settings.checkpoints)
    workload, hardware = workload_of(run), hardware_of(run)
    plan = build_plan(workload, target, hardware, facts_of(target), playbook)
    cost = expected_cost(plan, workload)
    return with_search(plan, workload, hardware, playbook, settings.search, cost, lambda: listed_flags(target))


def forecast_of(plan: Plan, workload: Workload) -> SimulatedForecast | None:
    """What the rates of the trials are chosen by; None where the load is the workload's own."""
    from rooftune.tuning.forecast import SimulatedForecast

    if not plan.objective.by_capacity:
        return None
    return SimulatedForecast(plan.target, workload, plan.candidates[0].config.model)


def expected_cost(plan: Plan, workload: Workload) -> TrialCost:
    """Real seconds of a trial before any was measured: those of the baseline's first load."""
    forecast, target = forecast_of(plan, workload), plan.target
    config = plan.candidates[0].config
    rate = forecast.capacity(config) if forecast is not None else None
    if forecast is None or not rate:
        return TrialCost(START_S[target.engine], real_seconds(workload, target.time_scale))
    load = forecast.load(config, rate)
    return TrialCost(START_S[target.engine], (2 * load.settle_s + load.requests / rate) / (load.time_scale or 1.0))


def room_of(plan: Plan, workload: Workload, budget_s: float) -> Room:
    """What a budget has room for, by the cost of a trial before any was measured."""
    cost = expected_cost(plan, workload) if plan.search is None else plan.search
    return Room(budget_s, cost.start_s + cost.load_s)


def check_start(planned: Plan) -> None:
    """Refuse a baseline that cannot start before a server is started.

    Raises:
        EngineError: why it would not start, and what to change.
    """
    if planned.blocked and planned.refusal is not None:
        raise EngineError(f"the baseline would not start: {planned.refusal.sentence}", planned.refusal.rule)


def listed_flags(target: Target) -> frozenset[str] | None:
    """The flags of the installed engine; None where it is not a vLLM, or does not list them."""
    if target.engine != "vllm":
        return None
    from rooftune.engines.interpreter import vllm_python
    from rooftune.knobs.installed import engine_flags

    try:
        return engine_flags(vllm_python(target.vllm_python))
    except InputError:
        return None


def describe(plan: Plan) -> str:
    """The plan in one line."""
    runnable = sum(1 for c in plan.candidates if c.runnable)
    closed = len(plan.candidates) - runnable
    used = plan.target.calibration
    fitted = f"; predictions calibrated with {used.path}" if used else ""
    counts = f"{runnable} to measure, {closed} ruled out with a reason"
    if plan.blocked:
        counts = "the baseline would not start"
    context = f"; {plan.context.sentence}" if plan.context else ""
    if plan.search is not None:
        return f"{search_words(plan.search)}{context}{fitted}"
    return f"{len(plan.candidates)} candidates in {len(plan.phases)} phases: {counts}{context}{fitted}"


def search_words(search: SearchPlan) -> str:
    """The space and the method in one line."""
    words = f"{search.method} search over {quantity(search.space, 'configuration')}"
    return words + (f", {len(search.options):,} of them predicted" if search.predicts else "")
