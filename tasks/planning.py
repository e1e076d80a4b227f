"""Makes the plan of a run, and says what its trials are expected to cost. Without Prefect, so it loads quickly."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from rooftune.engines.target import Target
from rooftune.errors import InputError
from rooftune.files import write_json
from rooftune.formatting import quantity
from rooftune.runfolder import RunFolder
from rooftune.search.from_space import TrialCost
from rooftune.tuning.guided.budget import Room
from rooftune.tuning.guided.search_plan import SearchMethod, SearchPlan
from rooftune.tuning.plan import Plan
from rooftune.workloads.spec import Workload
from tasks.run_files import facts_of, hardware_of, plan_of, settings_of, target_of, workload_of
from tasks.trial_time import START_S, real_seconds

if TYPE_CHECKING:
    from rooftune.hardware.accelerator import Hardware
    from rooftune.tuning.entries import Playbook
    from rooftune.tuning.forecast import SimulatedForecast


def make_plan(run: RunFolder) -> Plan:
    """The candidates of a run with their gates and expected effects, and what its search may measure."""
    from rooftune.tuning.drafts import drafts_of_prompts
    from rooftune.tuning.guided.build import with_search
    from rooftune.tuning.playbook import asked_playbook

    workload, hardware = workload_of(run), hardware_of(run)
    if workload.prompts is not None and not run.drafts_json.is_file():
        before = target_of(run)
        cuda = hardware.accelerator.kind == "cuda"
        found = drafts_of_prompts(workload, before, facts_of(before), cuda=cuda)
        found.write(run.drafts_json)
    target, settings = target_of(run), settings_of(run)
    playbook = asked_playbook(settings, target.engine_version)
    plan = candidates_of(workload, target, hardware, playbook, settings.search)
    plan = plan.model_copy(update={"quality": settings.quality})
    cost = planned_cost(plan, workload)
    return with_search(plan, workload, hardware, playbook, settings.search, cost, lambda: listed_flags(target))


def candidates_of(
    workload: Workload, target: Target, hardware: Hardware, playbook: Playbook, method: SearchMethod | None
) -> Plan:
    """The candidates of a playbook with their gates and expected effects.

    Raises:
        InputError: the objective cannot be measured here, the playbook narrows something wrongly, or the method cannot
            be used here. Nothing has been predicted by then.
    """
    from rooftune.tuning.guided.build import check_search
    from rooftune.tuning.playbook import build_plan

    facts = facts_of(target)
    if method or playbook.knobs or playbook.checkpoints or playbook.draft_models:
        unpredicted = build_plan(workload, target, hardware, facts, playbook, predict=False)
        check_search(unpredicted, workload, hardware, playbook, method)
    return build_plan(workload, target, hardware, facts, playbook)


def learn_from_baseline(run: RunFolder) -> bool:
    """Replay the answers that the baseline gave to the run's prompts, once, before anything else is measured.

    Returns:
        Whether the plan has to be made again, because its search may now try proposers that draft from the text.
    """
    from rooftune.answers.answer import FILE, Answers
    from rooftune.evidence.records.trial_files import floor_folder, read_trials
    from rooftune.tuning.drafts import RunDrafts

    known = RunDrafts.read(run.drafts_json) if run.drafts_json.is_file() else RunDrafts(texts=False)
    if known.learned or known.plays or not known.texts:
        return False
    plan, kept = plan_of(run), floor_folder(run)
    if kept is None or plan.search is None or not plan.search.predicts:
        return False
    answers, others = kept.path / FILE, any(trial.candidate != "baseline" for trial in read_trials(run))
    if others or not answers.is_file():
        return False
    cuda = hardware_of(run).accelerator.kind == "cuda"
    learned = known.learned_from(Answers.read(answers), plan.target, cuda=cuda)
    learned.write(run.drafts_json)
    return bool(learned.drafts or known.drafts)


def learn_from_drafts(run: RunFolder) -> bool:
    """Correct the predictions by the acceptance that the trials so far have shown.

    On the simulated engine the acceptance is what rooftune gave it, so there is nothing to learn.

    Returns:
        Whether plan.json has changed.
    """
    from rooftune.evidence.records.trial_files import read_trials
    from rooftune.tuning.drafts import RunDrafts, measured_drafts
    from rooftune.tuning.guided.redrafted import with_measured_drafts

    plan = plan_of(run)
    if plan.target.simulated or plan.search is None or not plan.search.predicts:
        return False
    measured = measured_drafts(read_trials(run))
    corrected = with_measured_drafts(plan, workload_of(run), measured)
    if corrected is plan:
        return False
    known = RunDrafts.read(run.drafts_json) if run.drafts_json.is_file() else RunDrafts(texts=False)
    known.model_copy(update={"measured": measured}).write(run.drafts_json)
    write_json(run.plan_json, corrected.model_dump(mode="json"))
    return True


def forecast_of(plan: Plan, workload: Workload) -> SimulatedForecast | None:
    """What the rates of the trials are chosen by; None where the load is the workload's own."""
    from rooftune.tuning.forecast import SimulatedForecast

    if not plan.objective.by_capacity:
        return None
    return SimulatedForecast(plan.target, workload, plan.candidates[0].config.model)


def planned_cost(plan: Plan, workload: Workload) -> TrialCost:
    """Real seconds of a trial as the plan keeps them: start and load. They are the same on every machine."""
    return _start_and_load(plan, workload, forecast_of(plan, workload))


def expected_cost(plan: Plan, workload: Workload) -> TrialCost:
    """Real seconds of the baseline's first trial on this machine, which decides how long its figures take."""
    forecast = forecast_of(plan, workload)
    cost = _start_and_load(plan, workload, forecast)
    if forecast is None:
        return cost
    return replace(cost, figures_s=forecast.figures_s(plan.candidates[0].config))


def _start_and_load(plan: Plan, workload: Workload, forecast: SimulatedForecast | None) -> TrialCost:
    target, config = plan.target, plan.candidates[0].config
    rate = forecast.capacity(config) if forecast is not None else None
    if forecast is None or not rate:
        return TrialCost(START_S[target.engine], real_seconds(workload, target.time_scale))
    load = forecast.load(config, rate)
    loaded_s = load.settle_s + load.requests / rate + load.settle_s  # the last answers take about as long as the first
    return TrialCost(START_S[target.engine], loaded_s / (load.time_scale or 1.0))


def room_of(plan: Plan, workload: Workload, budget_s: float) -> Room:
    """What a budget has room for, by the cost of a trial before any was measured."""
    return Room(budget_s, expected_cost(plan, workload).seconds)


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


def search_words(search: SearchPlan) -> str:
    """The space and the method in one line."""
    words = f"{search.method} search over {quantity(search.space, 'configuration')}"
    return words + (f", {len(search.options):,} of them predicted" if search.predicts else "")
