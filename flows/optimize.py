"""The whole of it: probe, plan, trials until search or budget ends, decision, roofline, report."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any, Literal

from prefect import flow
from prefect.runtime import flow_run

from flows.inputs.targets import seconds, target_of, workload_with
from flows.plan import plan
from flows.probe import probe
from flows.report import report
from flows.roofline import roofline
from flows.trial import ORDER, trial
from rooftune.engines.target import Target
from rooftune.errors import InputError, RooftuneError
from rooftune.evidence.records.trial_files import read_trials
from rooftune.files import read_json
from rooftune.run_names import find_run
from rooftune.runfolder import RunFolder
from rooftune.trial_order import TrialOrder
from rooftune.workloads.spec import Workload
from tasks import run_files, run_listener
from tasks.labels import label_run
from tasks.load import real_seconds
from tasks.machine import exclusive_machine
from tasks.report import show, write_decision
from tasks.results import OptimizeResult
from tasks.trial_time import expected_trial_s, time_spent_s

BUDGET_S = {"simulated": 340.0, "vllm": 3600.0, "endpoint": 900.0}
"""Real seconds for all trials when no budget is named."""
START_S = {"simulated": 3.0, "vllm": 120.0, "endpoint": 1.0}
"""What a server takes to start, for the cost of a trial before one has been made."""


@flow(name="optimize", flow_run_name="optimize {workload}", persist_result=True)
async def optimize(
    workload: str = "chat-medium",
    engine: Literal["simulated", "vllm", "endpoint"] = "simulated",
    gpu: str | None = None,
    model: str | None = None,
    engine_version: str | None = None,
    flags: list[str] | None = None,
    url: str | None = None,
    vllm_python: str | None = None,
    budget: str | None = None,
    playbook: str | None = None,
    candidates: list[str] | None = None,
    duration_s: float | None = None,
    warmup_s: float | None = None,
    rate_per_s: float | None = None,
    seed: int | None = None,
    time_scale: float | None = None,
    client_processes: int | None = None,
    ready_timeout_s: float | None = None,
    calibration: str | None = None,
    artifacts: str = "artifacts",
    resume: str | None = None,
) -> OptimizeResult:
    """Find the configuration that serves a workload best, and report why.

    Args:
        workload: Name of a file in workloads/, or a path to a YAML file.
        engine: simulated (no GPU needed), vllm (a real process), or endpoint (a URL that someone else runs).
        gpu: Catalogue name such as T4, L4, A100-80; left out, a T4 (simulated) or what is in the machine.
        model: Catalogue name, folder with a config.json, or hub id.
        engine_version: vLLM version, for example 0.15.1.
        flags: vLLM flags of the baseline as FLAG=VALUE, for example max_num_seqs=8.
        url: Address of the endpoint engine.
        vllm_python: Interpreter that has vLLM; default .venv-vllm.
        budget: Real time for all trials together: 10m, 90s, 1h. Default 340s simulated, 15m endpoint, 1h vllm.
        playbook: YAML file that adds to or replaces candidates of the built-in playbook.
        candidates: Configurations of your own as NAME=FLAG=VALUE,FLAG=VALUE.
        duration_s: Measured window in workload seconds, instead of the workload's.
        warmup_s: Warm-up in workload seconds, instead of the workload's.
        rate_per_s: Requests per second, instead of the workload's.
        seed: Seed of the workload.
        time_scale: Simulated engine: its clock runs this much faster (default 25).
        client_processes: Client processes; default as many as the rate needs.
        ready_timeout_s: Longest wait for a server to serve, in seconds.
        calibration: File from `rooftune calibrate`, or none; default the newest one for that accelerator.
        artifacts: Folder that runs are written to.
        resume: Run folder to go on with; what it has measured is not measured again.
    """
    changes = {"duration_s": duration_s, "warmup_s": warmup_s, "rate_per_s": rate_per_s, "seed": seed}
    named: dict[str, Any] = {"engine": engine, "gpu": gpu, "model": model, "engine_version": engine_version}
    named |= {
        "flags": flags,
        "url": url,
        "vllm_python": vllm_python,
        "time_scale": time_scale,
        "calibration": calibration,
    }
    settings: dict[str, Any] = {"playbook": playbook, "candidates": candidates or []}
    settings |= {"client_processes": client_processes, "ready_timeout_s": ready_timeout_s}
    root = Path(artifacts)
    folder = _taken_up(root, resume, workload)
    if folder is None:
        spec, target = workload_with(workload, **changes), await target_of(**named)
        settings["budget_s"] = seconds(budget) if budget else BUDGET_S[target.engine]
        folder = _created(root, spec, target, settings)
    return await _run(folder, seconds(budget) if budget else None)


async def _run(folder: RunFolder, budget_s: float | None) -> OptimizeResult:
    """All phases on one run folder."""
    target, spec, run = run_files.target_of(folder), run_files.workload_of(folder), run_files.short_path(folder.path)
    run_listener.current().phase("run", run)
    await label_run([spec.name, target.engine, *([target.gpu] if target.gpu else [])])
    async with exclusive_machine(target, run):
        if not folder.hardware_json.is_file():
            await probe(run)
        if not folder.plan_json.is_file():
            await plan(run)
        await _search(folder, run, target, spec, budget_s)
    await roofline(run)
    await report(run, in_ui=False)
    await show(folder)
    decision = write_decision(folder)
    nothing = next((v for v in decision.verdicts[:1] if v.verdict in ("failed", "not trusted")), None)
    if nothing is not None:
        why = nothing.reason.rstrip(".")
        raise RooftuneError(f"{spec.name} could not be measured: {why}; what there is lies in {run} (report.md).")
    return OptimizeResult(
        run=run,
        workload=spec.name,
        incumbent=decision.incumbent,
        command=decision.command,
        first_sentence=decision.first_sentence,
        trials=len(read_trials(folder)),
        complete=decision.complete,
    )


async def _search(folder: RunFolder, run: str, target: Target, spec: Workload, budget_s: float | None) -> None:
    """Trial after trial, until the search has nothing more to ask or the budget does not hold another."""
    from rooftune.tuning.search import next_trial

    planned = run_files.plan_of(folder)
    budget = budget_s if budget_s is not None else run_files.settings_of(folder).budget_s
    cost = real_seconds(spec, target.time_scale) + START_S[target.engine]
    done: set[tuple[str, int]] = set()
    for order in _measured_before_a_retry(folder):
        await trial(run, order)
    while True:
        left = None if budget is None else budget - time_spent_s(folder)
        expected = expected_trial_s(folder, cost)
        order: TrialOrder | None = next_trial(planned, read_trials(folder), left, expected)
        if order is None or (order.candidate, order.n) in done:
            break
        done.add((order.candidate, order.n))
        run_listener.current().trial(order, expected)
        await trial(run, order)
        write_decision(folder)


def _measured_before_a_retry(folder: RunFolder) -> list[TrialOrder]:
    """Trials that this flow run made before it was retried, in their order.

    Prefect knows a subflow by the place of its call: unless all are called again, the next trial is taken for the first.
    """
    if flow_run.id is None or (flow_run.run_count or 0) <= 1:
        return []
    found = []
    for result in read_trials(folder):
        path = folder.trial(result.candidate, result.n).path / ORDER
        with contextlib.suppress(RooftuneError, ValueError):
            found.append(TrialOrder.model_validate(read_json(path)))
    return found


def _taken_up(root: Path, resume: str | None, workload: str) -> RunFolder | None:
    """The run folder to go on with: the one that is named, or the one that this very flow run made before it was retried."""
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


def _created(root: Path, spec: Workload, target: Target, settings: dict[str, Any]) -> RunFolder:
    about = {
        "target": target.model_dump(mode="json"),
        "workload_spec": spec.model_dump(mode="json"),
        "settings": settings,
        "flow_run_id": str(flow_run.id) if flow_run.id else None,
        "started": time.time(),
    }
    return RunFolder.create(root.absolute(), spec.name, about)
