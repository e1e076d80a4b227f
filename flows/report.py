"""Flow of the report phase: the decision, and everything that a person reads."""

from __future__ import annotations

from prefect import flow

from rooftune.run_names import find_run
from tasks import story
from tasks.inputs import short
from tasks.refs import Done
from tasks.report import show, write_files


@flow(name="report", flow_run_name="report {run}", timeout_seconds=1800)
async def report(run: str, in_ui: bool = True) -> Done:
    """Write decision, upgrade path, report, figures and start scripts, and show verdicts and report in the UI.

    Args:
        run: Run folder, for example artifacts/chat-medium/latest.
        in_ui: Show verdicts and report among the artifacts of this flow run; a run of all phases shows them among its own.
    """
    folder = find_run(run)
    story.listener().phase("report")
    files = await write_files(folder)
    if in_ui:
        await show(folder)
    told = short(folder.report)
    story.listener().phase("report", told)
    return Done(run=short(folder.path), files=files, sentence=told)
