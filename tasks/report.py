"""Tasks of the report phase: write decision.json, upgrade.json and the report, and show it in the UI."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import task

from rooftune.errors import RooftuneError
from rooftune.evidence.records.trial_files import read_trials
from rooftune.files import write_json
from rooftune.runfolder import RunFolder
from rooftune.tuning.plan import Decision, Plan
from tasks import run_listener
from tasks.retrying import retry_unexpected
from tasks.run_files import decision_of, hardware_of, plan_of, workload_of
from tasks.trial_time import time_spent_s

if TYPE_CHECKING:
    from rooftune.tuning.guided.progress import Progress


def write_decision(run: RunFolder, progress: Progress | None = None, *, ended: bool = False) -> Decision:
    """Decide from the trials so far, and write decision.json.

    Args:
        progress: the state of the search after these trials, where it is known.
        ended: add what takes a simulation: how the asked rate fares on one server fewer and one more, what each knob is
            worth, and the front of capacity and TPOT.
    """
    from rooftune.tuning.search import decide

    found = decide(plan_of(run), read_trials(run), budget_spent_s=time_spent_s(run), progress=progress)
    if ended:
        found = _explained(run, found)
    if ended and found.replicas is not None:
        found = _with_rows(run, found)
    write_json(run.decision_json, found.model_dump(mode="json"))
    return found


def _explained(run: RunFolder, decision: Decision) -> Decision:
    """The decision of a search over the whole space with what explains it; any other decision as it is."""
    from rooftune.tuning.guided.explaining import Explained, explained

    if decision.search is None or not run.hardware_json.is_file():
        return decision
    try:
        return explained(decision, Explained(plan_of(run), workload_of(run), hardware_of(run), read_trials(run)))
    except RooftuneError as error:
        run_listener.log(f"the knobs have no predictions: {error}")
        return decision


def _with_rows(run: RunFolder, decision: Decision) -> Decision:
    """The decision with a row for each number of servers; without a simulation it stays as it is."""
    from rooftune.capacity.trial import reference_of
    from rooftune.tuning.decision import believed
    from rooftune.tuning.server_rows import with_rows

    trials = believed(read_trials(run), decision.incumbent)
    try:
        server = reference_of(run.trial(decision.incumbent, trials[-1].n))
        return with_rows(decision, workload_of(run), server, trials)
    except RooftuneError as error:
        run_listener.log(f"no figures for other numbers of servers: {error}")
        return decision


def bring_up_to_date(run: RunFolder) -> None:
    """Write what a report needs from the files of a run: decision, roofline, upgrade path."""
    from tasks.roofline import place_trials

    decision = write_decision(run, ended=True)
    if run.hardware_json.is_file():
        place_trials(run)
    _simulate(run, decision)


def _simulate(run: RunFolder, decision: Decision) -> None:
    """Write what the simulator adds to a report."""
    _upgrade(run, decision)
    _others(run, decision)
    _curves(run, decision)
    _steps(run, decision)
    _levers(run)


def _curves(run: RunFolder, decision: Decision) -> None:
    """Simulate the response of the baseline and of the incumbent to the rate; the report's figures show it."""
    from rooftune.capacity.trial import reference_of
    from rooftune.report.curves import CURVES, ReferenceCurves, reference_curve
    from rooftune.tuning.decision import believed

    if decision.capacity is None:
        return
    results, workload, curves = read_trials(run), workload_of(run), {}
    for name in dict.fromkeys(("baseline", decision.incumbent)):
        trials = believed(results, name)
        try:
            if trials and (found := reference_curve(reference_of(run.trial(name, trials[-1].n)), workload, trials)):
                curves[name] = found
        except RooftuneError as error:
            run_listener.log(f"no curve of {name}: {error}")
    write_json(run.path / CURVES, ReferenceCurves(curves=curves).model_dump(mode="json"))


def _steps(run: RunFolder, decision: Decision) -> None:
    """Write where the time of a step goes, for the baseline and the incumbent; a figure of the report shows it."""
    from rooftune.report.step_parts import STEPS, StepBreakdown, step_parts
    from rooftune.tuning.decision import believed

    if not run.hardware_json.is_file():
        return
    results, target, steps = read_trials(run), plan_of(run).target, {}
    gpu = target.gpu or hardware_of(run).accelerator.name
    for name in dict.fromkeys(("baseline", decision.incumbent)):
        try:
            if (found := step_parts(target, gpu, believed(results, name))) is not None:
                steps[name] = found
        except RooftuneError as error:
            run_listener.log(f"no parts of a step of {name}: {error}")
    write_json(run.path / STEPS, StepBreakdown(steps=steps).model_dump(mode="json"))


def _levers(run: RunFolder) -> None:
    """Write what weights, KV cache type and speculation give at several loads."""
    from rooftune.report.lever_gains import write_levers

    try:
        if run.hardware_json.is_file():
            write_levers(run, workload_of(run))
    except RooftuneError as error:
        run_listener.log(f"no gains of weights, KV cache type and speculation by load: {error}")


def _upgrade(run: RunFolder, decision: Decision) -> None:
    """Predict the workload on other accelerators; without a prediction the report omits the section."""
    from rooftune.tuning.upgrade import write_upgrade

    plan = plan_of(run)
    try:
        write_upgrade(run, workload_of(run), plan, decision)
    except RooftuneError as error:
        run_listener.log(f"no upgrade path: {error}")


def _others(run: RunFolder, decision: Decision) -> None:
    """Predict the best configurations on other workloads; without a prediction the report says "not measured"."""
    from rooftune.tuning.other_workloads import write_other_workloads

    try:
        write_other_workloads(run, plan_of(run), decision)
    except RooftuneError as error:
        run_listener.log(f"no predictions for other workloads: {error}")


@task(
    name="report",
    task_run_name="write the report",
    retries=1,
    retry_delay_seconds=2,
    retry_condition_fn=retry_unexpected,
    timeout_seconds=600,
)
async def write_files(run: RunFolder) -> list[str]:
    """Write report.md, report.html, figures and start scripts; returns their names below the run folder."""
    from rooftune.report.writing import write_report

    decision = await asyncio.to_thread(write_decision, run, ended=True)
    await asyncio.to_thread(_simulate, run, decision)
    await asyncio.to_thread(write_report, run)
    made = [
        run.report,
        run.path / "report.html",
        *sorted(run.figures.glob("*.png")),
        *sorted(run.figures.glob("*.svg")),
    ]
    made += sorted(run.path.glob("start_vllm*.sh"))
    return [str(p.relative_to(run.path)) for p in made if p.is_file()]


@task(name="show", task_run_name="show the report in the UI", retries=1, retry_delay_seconds=2, persist_result=False)
async def show(run: RunFolder) -> None:
    """The verdicts as a table artifact and the report as a Markdown artifact."""
    from prefect.artifacts import acreate_markdown_artifact, acreate_table_artifact

    plan, decision = plan_of(run), decision_of(run)
    await acreate_table_artifact(
        key=_key(f"verdicts-{plan.workload}"), table=verdict_rows(plan, decision), description=decision.first_sentence
    )
    text = run.report.read_text(encoding="utf-8")
    await acreate_markdown_artifact(
        key=_key(f"report-{plan.workload}"), markdown=for_the_ui(text, run.path), description=f"Report of {run.path}"
    )


def verdict_rows(plan: Plan, decision: Decision) -> list[dict[str, str]]:
    """One row per candidate: what it changes, expected effect, measured effect, verdict and reason."""
    from rooftune.tuning.configuration import describe

    rows = []
    for v in decision.verdicts:
        interval = v.ratios.get(v.metric)
        expected = plan.candidate(v.candidate).expected
        rows.append(
            {
                "phase": v.phase,
                "candidate": v.candidate,
                "changes": describe(plan.candidate(v.candidate).change),
                "expected": expected.sentence if expected else "",
                "actual": f"{interval.estimate:.3f} ({interval.low:.3f} to {interval.high:.3f})" if interval else "",
                "verdict": v.verdict,
                "reason": v.reason,
            }
        )
    return rows


def for_the_ui(text: str, folder: Path) -> str:
    """A report as the UI can show it: the path of each picture, and a heading where a section is folded."""
    text = re.sub(r"!\[[^\]]*\]\(([^)]*)\)", lambda m: f"Figure: `{folder / m[1]}`", text)
    text = re.sub(r"<details>\n<summary>([^<]*)</summary>", r"### \1", text)
    return text.replace("</details>\n", "")


def _key(text: str) -> str:
    """A key that Prefect accepts: lower case, digits, dashes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


__all__ = ["bring_up_to_date", "show", "verdict_rows", "write_decision", "write_files"]
