"""Flow of the plan phase: candidates with hypothesis, gates, expected effect and command line."""

from __future__ import annotations

from prefect import flow

from rooftune.run_names import find_run
from tasks import run_listener
from tasks.plan import SLOW, describe, plan_candidates, slow_predictions
from tasks.results import PhaseResult
from tasks.run_files import short_path
from tasks.telemetry.spans import span


@flow(name="plan", flow_run_name="plan {run}", timeout_seconds=1500)
async def plan(run: str) -> PhaseResult:
    """Decide what to try. Needs hardware.json, which the probe writes.

    Args:
        run: Run folder, for example artifacts/chat-medium/latest.
    """
    folder = find_run(run)
    run_listener.current().phase("plan")
    if slow_predictions():
        run_listener.current().waiting(SLOW)
    with span("phase plan"):
        found = await plan_candidates(folder)
    sentence = describe(found)
    run_listener.current().phase("plan", sentence)
    return PhaseResult(run=short_path(folder.path), files=[folder.plan_json.name], sentence=sentence)
