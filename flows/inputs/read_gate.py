"""A gate on a run that is there already: nothing is measured."""

from __future__ import annotations

from pathlib import Path

from flows.inputs.gate import GateRequest
from rooftune.errors import InputError
from rooftune.gate.judge import judge_loss
from rooftune.gate.loss import Design, parse_loss
from rooftune.gate.outcome import Measured, NewConfiguration, result_of
from rooftune.gate.reference import Case, Reference, check_comparable, from_history, from_run
from rooftune.gate.result import GATE_JSON, GateResult
from rooftune.run_names import find_run
from rooftune.runfolder import RunFolder
from rooftune.tuning.goal import goal_of
from tasks.run_files import short_path, workload_of


def judge_run(request: GateRequest, run: str) -> GateResult:
    """Judge the recommended configuration of a run.

    Raises:
        InputError: there is no such run, or it cannot be compared.
    """
    root, gate = Path(request.artifacts), request.gate
    folder = find_run(run, root)
    new, max_loss = from_run(folder, None), parse_loss(gate.max_loss)
    first = new.newest
    _check_workload(folder, request.workload)
    case = Case(first.workload, first.workload_hash, first.engine, first.model, first.gpu)
    goal = goal_of(workload_of(folder))
    reference: Reference | None
    if gate.against:
        reference = from_run(find_run(gate.against, root), first.flags, gate.configuration)
        check_comparable(case, reference.newest, reference.run)
        if reference.run == new.run and reference.configuration == new.configuration:
            raise InputError(f"{new.run} would be compared with itself; name another run with --against or --run.")
    else:
        reference = from_history(root / "history", case, first.flags, goal.metric, without=folder.path.name)
    design: Design = "apart" if (folder.path / GATE_JSON).is_file() else "given"
    finding = judge_loss(new.trials, reference, goal, max_loss, design) if reference is not None else None
    return result_of(
        Measured(
            case=case,
            design="given",
            reference=reference,
            finding=finding,
            objective=goal.metric,
            configured=NewConfiguration(new.configuration, first.engine_version, first.flags, first.simulated),
            trials=new.trials,
            run=new.run,
            folder=short_path(folder.path),
        )
    )


def _check_workload(folder: RunFolder, workload: str) -> None:
    made_for = workload_of(folder).name
    if Path(workload).stem != made_for:
        raise InputError(f"{folder.path} is a run of {made_for}, not of {workload}; name that workload.")
