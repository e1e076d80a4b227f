"""The flow of the gate: probe, then trials of one configuration until the comparison with an earlier run is clear."""

from __future__ import annotations

import time
from pathlib import Path

from prefect import flow
from prefect.runtime import flow_run

from flows.inputs import options
from flows.inputs.flat import flat_flow
from flows.inputs.gate import GateOptions, GateOrder, GateRequest, gate_order
from flows.inputs.parameters import GoalOptions, TargetOptions, TrialOptions, WorkloadOptions
from flows.probe import probe
from flows.trial import trial
from rooftune.errors import InputError, RooftuneError
from rooftune.evidence.records.trial_files import read_trial, read_trials
from rooftune.gate.advice import Effort
from rooftune.gate.loss import Finding
from rooftune.gate.next_trial import failed_in_a_row, gate_plan, is_a_look
from rooftune.gate.outcome import Measured, NewConfiguration, result_of
from rooftune.gate.reference import BASELINE, Reference, check_comparable, from_history
from rooftune.gate.result import GateResult, sentence_of
from rooftune.runfolder import RunFolder
from tasks import run_files, run_lines, run_listener
from tasks.gate import GateState, forecast, plan_baseline, trusted, write_gate
from tasks.labels import label_run
from tasks.machine import exclusive_machine
from tasks.plan import check_start
from tasks.planning import expected_cost
from tasks.report import write_decision
from tasks.run_files import RunSettings
from tasks.telemetry.run_spans import record_trial, run_attributes, trial_attributes
from tasks.telemetry.spans import span
from tasks.trial_time import BUDGET_S, expected_trial_s, time_spent_s

FIRST_RUN_TRIALS = 6
"""Trials of a run that finds no earlier one in the history: enough to be a reference."""


@flow(name="gate", flow_run_name="gate {workload}", persist_result=True)
@flat_flow
async def gate(
    target: TargetOptions,
    changes: WorkloadOptions,
    goal: GoalOptions,
    trials: TrialOptions,
    asked: GateOptions,
    workload: options.WorkloadName = "chat-medium",
    artifacts: options.Artifacts = options.ARTIFACTS,
) -> GateResult:
    """Measure a configuration, and say whether it lost more than a bound compared with an earlier run."""
    run_lines.follow_in_log()
    order = await gate_order(GateRequest(workload, target, changes, goal, trials, asked, artifacts))
    folder = _created(Path(artifacts), order, trials)
    with span("run", run_attributes(folder, "gate")) as recorded:
        result = await _judged(folder, order, Path(artifacts))
        recorded.set({"verdict": result.verdict, "answer": result.sentence, "exit_code": result.exit_code})
    return result


async def _judged(folder: RunFolder, order: GateOrder, artifacts: Path) -> GateResult:
    """All phases on one run folder."""
    run = run_files.short_path(folder.path)
    run_listener.current().phase("run", run)
    await label_run([order.workload.name, order.target.engine, "gate"])
    async with exclusive_machine(order.target, run):
        await probe(run)
        planned = await plan_baseline(folder)
        check_start(planned)
        state = _state(folder, order, artifacts)
        with span("phase trials"):
            found = await _measure(folder, run, order, state)
    result = _result(folder, run, order, state, found)
    write_gate(folder, result)
    write_decision(folder)
    return result


def _created(root: Path, order: GateOrder, trials: TrialOptions) -> RunFolder:
    settings = RunSettings(
        budget_s=order.budget_s or BUDGET_S[order.target.engine],
        search="ladder",
        client_processes=trials.client_processes,
        ready_timeout_s=trials.ready_timeout_s,
    )
    about = {
        "target": order.target.model_dump(mode="json"),
        "workload_spec": order.workload.model_dump(mode="json"),
        "settings": settings.model_dump(mode="json"),
        "flow_run_id": str(flow_run.id) if flow_run.id else None,
        "started": time.time(),
    }
    return RunFolder.create(root.absolute(), order.workload.name, about)


def _state(folder: RunFolder, order: GateOrder, artifacts: Path) -> GateState:
    """The reference, now that the hardware is known, and the trials that may be made.

    Raises:
        InputError: the reference was measured on another GPU, or has the same flags as what --beside compares it with.
    """
    config = run_files.plan_of(folder).candidates[0].config
    case, objective = order.case(run_files.target_of(folder).gpu), run_files.plan_of(folder).objective
    reference = order.reference(config.flags())
    if reference is not None:
        check_comparable(case, reference.newest, reference.run)
        if order.design == "beside" and reference.newest.flags == config.flags():
            raise InputError(
                f"{reference.configuration} of {reference.run} has the same flags, so --beside would compare it with "
                "itself; change a flag with --set, or leave --beside out."
            )
    else:
        reference = from_history(
            artifacts / "history", case, config.flags(), objective.metric, without=folder.path.name
        )
    most = order.most_trials if reference is not None else min(order.most_trials, FIRST_RUN_TRIALS)
    plan = gate_plan(config, reference, order.design, most, order.workload.seed)
    if reference is not None:
        run_listener.current().phase("reference", reference.sentence)
    return GateState(plan, reference, order.design, order.max_loss, forecast(folder))


class _Ended:
    """How the measurement ended."""

    def __init__(self, finding: Finding | None, note: str) -> None:
        self.finding, self.note = finding, note


async def _measure(folder: RunFolder, run: str, order: GateOrder, state: GateState) -> _Ended:
    """Trial after trial, until the answer is clear or the budget has no room for another."""
    planned, budget_s = run_files.plan_of(folder), run_files.settings_of(folder).budget_s
    cost, listener = expected_cost(planned, order.workload), run_listener.current()
    note = ""
    while (following := state.next_trial(folder)) is not None:
        expected_s = expected_trial_s(folder, cost.seconds)
        spent_s = time_spent_s(folder)
        if budget_s is not None and spent_s and spent_s + expected_s > budget_s:
            note = "the budget ended"
            break
        listener.standing(state.standing(folder, expected_s, None if budget_s is None else budget_s - spent_s))
        listener.trial(following, expected_s)
        with span("trial", trial_attributes(following, planned.candidates[0].config)) as recorded:
            await trial(run, following)
            record_trial(recorded, read_trial(folder.trial(following.candidate, following.n)))
        if is_a_look(state.plan, read_trials(folder)):
            found = state.judge(folder)
            if found is not None:
                listener.phase("comparison", sentence_of(found).rstrip("."))
            if found is not None and found.verdict != "not enough evidence":
                return _Ended(found, "")
    _check_measured(folder)
    return _Ended(state.judge(folder), "; ".join(filter(None, (note, _failures(folder)))))


def _check_measured(folder: RunFolder) -> None:
    """Fail if nothing could be measured.

    Raises:
        RooftuneError: why.
    """
    results = read_trials(folder)
    if results and all(t.status == "failed" for t in results):
        raise RooftuneError(f"nothing could be measured: {results[-1].failure}")


def _failures(folder: RunFolder) -> str:
    """Why the last trials did not give a value; empty where they did."""
    if not failed_in_a_row(results := read_trials(folder)):
        return ""
    last = max(results, key=lambda t: t.position)
    failed = ", ".join(c.id for c in last.checks if c.status == "fail")
    why = last.failure or f"their audit failed ({failed})"
    return f"the last trials gave no value: {why}"


def _result(folder: RunFolder, run: str, order: GateOrder, state: GateState, ended: _Ended) -> GateResult:
    reference = state.reference
    if reference is not None and order.design == "beside":
        again = trusted(folder, state.plan.sides[0].name)
        reference = Reference((again,), f"{reference.run}, measured again", reference.configuration)
    return result_of(
        Measured(
            case=order.case(run_files.target_of(folder).gpu),
            design=order.design,
            reference=reference,
            finding=ended.finding,
            objective=run_files.plan_of(folder).objective.metric,
            configured=_new_configuration(folder),
            trials=trusted(folder, BASELINE),
            run=f"{folder.path.parent.name}/{folder.path.name}",
            folder=run,
            effort=_effort(folder, order, state),
            note=ended.note,
        )
    )


def _effort(folder: RunFolder, order: GateOrder, state: GateState) -> Effort:
    return Effort(
        spent_s=time_spent_s(folder),
        made=len(read_trials(folder)),
        sides=len(state.plan.sides),
        most_trials=state.plan.most_trials,
        duration_s=None if order.workload.measures_capacity else order.workload.duration_s,
    )


def _new_configuration(folder: RunFolder) -> NewConfiguration:
    """The new configuration; its version is that of its trials where they report one."""
    planned, results = run_files.plan_of(folder), read_trials(folder)
    version = next((t.engine_version for t in results if t.candidate == BASELINE), planned.target.engine_version)
    return NewConfiguration(BASELINE, version, planned.candidates[0].config.flags(), planned.target.simulated)
