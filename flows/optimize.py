"""The whole pipeline: probe, plan, trials until the search or the budget ends, decision, roofline, report."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path

from prefect import flow
from prefect.runtime import flow_run

from flows.inputs import options
from flows.inputs.durations import seconds
from flows.inputs.flat import flat_flow
from flows.inputs.parameters import (
    CandidateOptions,
    GoalOptions,
    QualityOptions,
    TargetOptions,
    TextOptions,
    TrialOptions,
    WorkloadOptions,
)
from flows.inputs.quality import check_resumed, quality_rules
from flows.inputs.targets import for_workload, resolve_target
from flows.inputs.workloads import changed_workload
from flows.plan import plan
from flows.probe import probe
from flows.report import report
from flows.roofline import roofline
from flows.trial import ORDER, trial
from rooftune.engines.prompt_lengths import keep_prompts, write_prompt_lengths
from rooftune.engines.target import Target
from rooftune.errors import InputError, RooftuneError
from rooftune.evidence.records.trial_files import read_trial, read_trials
from rooftune.files import read_json
from rooftune.run_names import find_run
from rooftune.runfolder import RunFolder
from rooftune.trial_order import TrialOrder
from rooftune.tuning.guided.budget import Room
from rooftune.workloads.spec import Workload
from tasks import kept_server, run_files, run_lines, run_listener
from tasks.labels import label_run
from tasks.machine import exclusive_machine
from tasks.plan import check_start
from tasks.planning import expected_cost, forecast_of, learn_from_baseline, learn_from_drafts
from tasks.quality import refuse_failed_evaluation
from tasks.report import show, write_decision
from tasks.results import OptimizeResult
from tasks.run_files import RunSettings
from tasks.telemetry.run_spans import record_decision, record_trial, run_attributes, trial_attributes, verdict_of
from tasks.telemetry.span import Span
from tasks.telemetry.spans import span
from tasks.trial_time import BUDGET_S, expected_trial_s, time_spent_s


@flow(name="optimize", flow_run_name="optimize {workload}", persist_result=True)
@flat_flow
async def optimize(
    target: TargetOptions,
    changes: WorkloadOptions,
    added: CandidateOptions,
    trials: TrialOptions,
    goal: GoalOptions,
    texts: TextOptions,
    quality: QualityOptions,
    workload: options.WorkloadName = "chat-medium",
    artifacts: options.Artifacts = options.ARTIFACTS,
    resume: options.Resume = None,
) -> OptimizeResult:
    """Find the configuration that serves a workload best, and report why."""
    run_lines.follow_in_log()
    root = Path(artifacts)
    budget_s = seconds(trials.budget) if trials.budget else None
    if resume is not None:
        check_resumed(quality)
    folder = _continued(root, resume, workload)
    if folder is None:
        spec = changed_workload(workload, changes, goal=goal, prompts=texts.prompts)
        chosen = for_workload(await resolve_target(target, trials.time_scale), spec)
        settings = RunSettings(
            budget_s=budget_s or BUDGET_S[chosen.engine],
            playbook=added.playbook,
            candidates=added.candidates or [],
            checkpoints=added.checkpoints or [],
            draft_models=added.draft_models or [],
            search=added.search,
            client_processes=trials.client_processes,
            ready_timeout_s=trials.ready_timeout_s,
            quality=quality_rules(quality, chosen.engine),
        )
        folder = _created(root, spec, chosen, settings)
    elif quality.accept_quality_loss:
        run_files.accept_quality_loss(folder)
    return await _run(folder, budget_s)


async def _run(folder: RunFolder, budget_s: float | None) -> OptimizeResult:
    """All phases on one run folder."""
    with span("run", run_attributes(folder, "optimize")) as recorded:
        return await _phases(folder, budget_s, recorded)


async def _phases(folder: RunFolder, budget_s: float | None, recorded: Span) -> OptimizeResult:
    target, spec, run = run_files.target_of(folder), run_files.workload_of(folder), run_files.short_path(folder.path)
    if spec.prompts is not None and not folder.prompt_lengths.is_file():
        await asyncio.to_thread(write_prompt_lengths, spec, target, folder.prompt_lengths)
        keep_prompts(spec, folder.path)
        spec = run_files.workload_of(folder)
    run_listener.current().phase("run", run)
    await label_run([spec.name, target.engine, *([target.gpu] if target.gpu else [])])
    async with exclusive_machine(target, run):
        if not folder.hardware_json.is_file():
            await probe(run)
        if not folder.plan_json.is_file():
            await plan(run)
        check_start(run_files.plan_of(folder))
        with span("phase search"):
            async with kept_server.keeping():
                await _search(folder, run, spec, budget_s)
    await roofline(run)
    await report(run, in_ui=False)
    await show(folder)
    decision = run_files.decision_of(folder)
    record_decision(recorded, decision, run_files.plan_of(folder))
    unmeasured = next((v for v in decision.verdicts[:1] if v.verdict in ("failed", "not trusted")), None)
    if unmeasured is not None:
        why = unmeasured.reason.rstrip(".")
        raise RooftuneError(f"{spec.name} could not be measured: {why}; see report.md in {run}.")
    return OptimizeResult(
        run=run,
        workload=spec.name,
        incumbent=decision.incumbent,
        command=decision.command,
        first_sentence=decision.first_sentence,
        trials=len(read_trials(folder)),
        complete=decision.complete,
    )


async def _search(folder: RunFolder, run: str, spec: Workload, budget_s: float | None) -> None:
    """Trial after trial, until the search needs no more or the budget does not allow another."""
    from rooftune.tuning.configuration import described_difference
    from rooftune.tuning.search import RunState, run_state

    await asyncio.to_thread(learn_from_drafts, folder)  # a killed run may have ended between a trial and this
    planned, listener = run_files.plan_of(folder), run_listener.current()
    budget = budget_s if budget_s is not None else run_files.settings_of(folder).budget_s
    forecast = forecast_of(planned, spec)
    cost = await asyncio.to_thread(expected_cost, planned, spec)
    if budget is not None and planned.search is not None:
        each = expected_trial_s(folder, cost.seconds)
        listener.phase("budget", Room(budget, each, time_spent_s(folder)).words)
    done: set[tuple[str, int]] = set()
    for made in _measured_before_a_retry(folder):
        await trial(run, made)
    baseline = planned.candidates[0].config

    async def evaluated() -> RunState:
        """Where the run is after the trials so far."""
        left = None if budget is None else budget - time_spent_s(folder)
        expected = expected_trial_s(folder, cost.seconds)
        return await asyncio.to_thread(run_state, planned, read_trials(folder), left, expected, forecast)

    state = await evaluated()
    while True:
        listener.standing(state.standing)
        order = state.next
        if order is None or (order.candidate, order.n) in done:
            break
        done.add((order.candidate, order.n))
        listener.trial(order, state.standing.trial_s, described_difference(order.config, baseline))
        with span("trial", trial_attributes(order, baseline)) as recorded:
            await trial(run, order)
            refuse_failed_evaluation(folder, order)
            again = await asyncio.to_thread(learn_from_baseline, folder)
            if again:
                await plan(run)
            if again or await asyncio.to_thread(learn_from_drafts, folder):
                planned = run_files.plan_of(folder)
                forecast = forecast_of(planned, spec)
            state = await evaluated()
            verdict = verdict_of(write_decision(folder, state.progress), order.candidate)
            record_trial(recorded, read_trial(folder.trial(order.candidate, order.n)), verdict)
    if state.ending:
        listener.phase("search", state.ending)


def _measured_before_a_retry(folder: RunFolder) -> list[TrialOrder]:
    """Trials that this flow run made before it was retried, in their order.

    Prefect identifies a subflow by the order of calls. Unless all are called again, it takes the next trial for the
    first one.
    """
    if flow_run.id is None or (flow_run.run_count or 0) <= 1:
        return []
    found = []
    for result in read_trials(folder):
        path = folder.trial(result.candidate, result.n).path / ORDER
        with contextlib.suppress(RooftuneError, ValueError):
            found.append(TrialOrder.model_validate(read_json(path)))
    return found


def _continued(root: Path, resume: str | None, workload: str) -> RunFolder | None:
    """The run folder to continue: the one that is named, or the one that this flow run made before it was retried."""
    if resume is not None:
        folder = find_run(resume, root)
        made_for = folder.about().get("workload")
        if workload not in (made_for, "") and Path(workload).stem != made_for:
            raise InputError(
                f"{folder.path} is a run of {made_for}, not of {workload}; name that workload to resume it."
            )
        return folder
    if flow_run.id is None or (flow_run.run_count or 0) <= 1:
        return None
    for path in root.glob("*/*/run.json"):
        try:
            folder = RunFolder.open(path.parent.resolve())
        except RooftuneError:
            continue
        if folder.about().get("flow_run_id") == str(flow_run.id):
            return folder
    return None


def _created(root: Path, spec: Workload, target: Target, settings: RunSettings) -> RunFolder:
    about = {
        "target": target.model_dump(mode="json"),
        "workload_spec": spec.model_dump(mode="json"),
        "settings": settings.model_dump(mode="json"),
        "flow_run_id": str(flow_run.id) if flow_run.id else None,
        "started": time.time(),
    }
    return RunFolder.create(root.absolute(), spec.name, about)
