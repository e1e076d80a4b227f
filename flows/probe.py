"""Flow of the probe phase: the hardware, and what it can and cannot do."""

from __future__ import annotations

from prefect import flow

from rooftune.run_names import find_run
from tasks import run_listener
from tasks.probe import describe, probe_hardware
from tasks.results import PhaseResult
from tasks.run_files import short_path
from tasks.telemetry.spans import span


@flow(name="probe", flow_run_name="probe {run}", timeout_seconds=900)
async def probe(run: str, measure: bool = True) -> PhaseResult:
    """Find out what a run is served by: accelerator, ceilings, and capabilities of the engine version.

    Args:
        run: Run folder, for example artifacts/chat-medium/latest.
        measure: Measure ceilings if the accelerator is in this machine (a few seconds).
    """
    folder = find_run(run)
    run_listener.current().phase("probe")
    with span("phase probe"):
        found = await probe_hardware(folder, measure)
    sentence = describe(found)
    run_listener.current().phase("probe", sentence)
    return PhaseResult(run=short_path(folder.path), files=[folder.hardware_json.name], sentence=sentence)
