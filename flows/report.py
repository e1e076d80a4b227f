"""Flow of the report phase: the decision, and everything that a person reads."""

from __future__ import annotations

from prefect import flow

from rooftune.run_names import find_run
from tasks import run_listener
from tasks.report import show, write_files
from tasks.results import PhaseResult
from tasks.run_files import short_path
from tasks.telemetry.spans import span


@flow(name="report", flow_run_name="report {run}", timeout_seconds=1800)
async def report(run: str, in_ui: bool = True) -> PhaseResult:
    """Write decision, upgrade path, report, figures and start scripts, and show verdicts and report in the UI.

    Args:
        run: Run folder, for example artifacts/chat-medium/latest.
        in_ui: Show verdicts and report among the artifacts of this flow run.
    """
    folder = find_run(run)
    run_listener.current().phase("report")
    with span("phase report"):
        files = await write_files(folder)
        if in_ui:
            await show(folder)
    sentence = short_path(folder.report)
    run_listener.current().phase("report", sentence)
    return PhaseResult(run=short_path(folder.path), files=files, sentence=sentence)
