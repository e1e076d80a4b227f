"""Task of the roofline phase: writes roofline.json and its figure."""

from __future__ import annotations

import asyncio

from prefect import task

from rooftune.errors import RooftuneError
from rooftune.evidence.records.trial_files import read_trials
from rooftune.files import write_json
from rooftune.models.catalogue import model_facts
from rooftune.models.facts import ModelFacts
from rooftune.roofline.model import Roofline
from rooftune.runfolder import RunFolder
from tasks.retrying import retry_unexpected
from tasks.run_files import facts_of, hardware_of, plan_of


@task(
    name="roofline",
    task_run_name="draw the roofline",
    retries=1,
    retry_delay_seconds=2,
    retry_condition_fn=retry_unexpected,
    timeout_seconds=300,
)
async def draw_roofline(run: RunFolder) -> Roofline | None:
    """Place every believed trial under the ceilings; None if the facts of the model are unknown."""
    return await asyncio.to_thread(place_trials, run)


def place_trials(run: RunFolder) -> Roofline | None:
    """Write roofline.json and its figure from the files of the run."""
    from rooftune.report.figures.roofline import draw
    from rooftune.roofline.points import roofline

    plan = plan_of(run)
    facts = facts_of(plan.target)
    if facts is None:
        return None
    trials = read_trials(run)
    others = {t.model: served for t in trials if t.model != plan.target.model and (served := _facts(t.model))}
    found = roofline(hardware_of(run), facts, plan.candidate("baseline").config, trials, others)
    write_json(run.roofline_json, found.model_dump(mode="json"))
    draw(found, run.figures / "roofline.png")
    return found


def _facts(model: str) -> ModelFacts | None:
    """Facts of a checkpoint that a trial served; None where they are not known."""
    try:
        return model_facts(model)
    except RooftuneError:
        return None


def describe(found: Roofline | None) -> str:
    """What bounds the configurations, in one line."""
    if found is None:
        return "the model's architecture is unknown, so no trial can be placed"
    decode = [p for p in found.points if p.stage == "decode"]
    if not decode:
        return "no trusted trial could be placed"
    last = decode[-1]
    bound = f"decode bound by {last.bound}, {100 * last.share:.0f} % of the ceiling"
    return f"{len(found.points)} points; {last.candidate}: {bound}"
