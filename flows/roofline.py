"""Flow of the roofline phase: ceilings, a point for every believed trial, and the bottleneck."""

from __future__ import annotations

from prefect import flow

from rooftune.run_names import find_run
from tasks import run_listener
from tasks.results import PhaseResult
from tasks.roofline import describe, draw_roofline
from tasks.run_files import short_path
from tasks.telemetry.spans import span


@flow(name="roofline", flow_run_name="roofline {run}", timeout_seconds=900)
async def roofline(run: str) -> PhaseResult:
    """Place every believed trial of a run under the ceilings of its hardware.

    Args:
        run: Run folder, for example artifacts/chat-medium/latest.
    """
    folder = find_run(run)
    run_listener.current().phase("roofline")
    with span("phase roofline"):
        sentence = describe(await draw_roofline(folder))
    run_listener.current().phase("roofline", sentence)
    return PhaseResult(
        run=short_path(folder.path), files=[folder.roofline_json.name, "figures/roofline.png"], sentence=sentence
    )
