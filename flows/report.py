"""Flow of the report phase: the decision, and everything that a person reads."""

from __future__ import annotations

from prefect import flow

from flows.runs import find_run
from tasks import story
from tasks.inputs import short
from tasks.refs import Done
from tasks.report import show, write_files


@flow(name="report", flow_run_name="report {run}", timeout_seconds=1800)
async def report(run: str) -> Done:
    """Write decision, upgrade path, report, figures and start scripts, and show verdicts and report in the UI.

    Args:
        run: Run folder, for example artifacts/chat-medium/latest.
    """
    folder = find_run(run)
    story.listener().phase("report")
    files = await write_files(folder)
    await show(folder)
    told = short(folder.report)
    story.listener().phase("report", told)
    return Done(run=short(folder.path), files=files, sentence=told)
