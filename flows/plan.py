"""Flow of the plan phase: candidates with hypothesis, gates, expected effect and command line."""

from __future__ import annotations

from prefect import flow

from rooftune.run_names import find_run
from tasks import story
from tasks.inputs import short
from tasks.plan import plan_candidates, sentence
from tasks.refs import Done


@flow(name="plan", flow_run_name="plan {run}", timeout_seconds=900)
async def plan(run: str) -> Done:
    """Decide what is to be tried. Needs the probe's hardware.json.

    Args:
        run: Run folder, for example artifacts/chat-medium/latest.
    """
    folder = find_run(run)
    story.listener().phase("plan")
    found = await plan_candidates(folder)
    told = sentence(found)
    story.listener().phase("plan", told)
    return Done(run=short(folder.path), files=[folder.plan_json.name], sentence=told)
