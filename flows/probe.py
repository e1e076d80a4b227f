"""Flow of the probe phase: what serves, and what it can and cannot do."""

from __future__ import annotations

from prefect import flow

from rooftune.run_names import find_run
from tasks import story
from tasks.inputs import short
from tasks.probe import probe_hardware, sentence
from tasks.refs import Done


@flow(name="probe", flow_run_name="probe {run}", timeout_seconds=900)
async def probe(run: str, measure: bool = True) -> Done:
    """Find out what serves a run: accelerator, ceilings, capabilities by engine version.

    Args:
        run: Run folder, for example artifacts/chat-medium/latest.
        measure: Measure ceilings where the accelerator is in this machine (some seconds).
    """
    folder = find_run(run)
    story.listener().phase("probe")
    found = await probe_hardware(folder, measure)
    told = sentence(found)
    story.listener().phase("probe", told)
    return Done(run=short(folder.path), files=[folder.hardware_json.name], sentence=told)
