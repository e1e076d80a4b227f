"""Flow of the roofline phase: ceilings, a point for every believed trial, the bottleneck by name."""

from __future__ import annotations

from prefect import flow

from rooftune.run_names import find_run
from tasks import story
from tasks.inputs import short
from tasks.refs import Done
from tasks.roofline import draw_roofline, sentence


@flow(name="roofline", flow_run_name="roofline {run}", timeout_seconds=900)
async def roofline(run: str) -> Done:
    """Place every believed trial of a run under the ceilings of its hardware.

    Args:
        run: Run folder, for example artifacts/chat-medium/latest.
    """
    folder = find_run(run)
    story.listener().phase("roofline")
    told = sentence(await draw_roofline(folder))
    story.listener().phase("roofline", told)
    return Done(run=short(folder.path), files=[folder.roofline_json.name, "figures/roofline.png"], sentence=told)
