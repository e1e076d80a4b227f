"""Task of the probe phase: writes hardware.json."""

from __future__ import annotations

import asyncio

from prefect import task

from rooftune.files import write_json
from rooftune.hardware.accelerator import Hardware
from rooftune.runfolder import RunFolder
from tasks.retrying import retry_unexpected
from tasks.run_files import target_of


@task(
    name="probe",
    task_run_name="probe the hardware",
    retries=2,
    retry_delay_seconds=[1, 5],
    retry_condition_fn=retry_unexpected,
    timeout_seconds=300,
)
async def probe_hardware(run: RunFolder, measure: bool) -> Hardware:
    """Probe the hardware and write hardware.json. Ceilings are measured if the accelerator is in this machine."""
    from rooftune.hardware.probe import probe
    from rooftune.vllm_rules.capabilities import with_capabilities

    target = target_of(run)
    found = await asyncio.to_thread(
        probe,
        engine=target.engine,
        gpu=target.gpu,
        engine_version=target.engine_version,
        vllm_python=_interpreter(target.engine, target.vllm_python),
        measure=measure,
    )
    found = with_capabilities(found)
    write_json(run.hardware_json, found.model_dump(mode="json"))
    return found


def _interpreter(engine: str, named: str | None) -> str | None:
    if engine != "vllm":
        return None
    from rooftune.engines.interpreter import vllm_python

    return vllm_python(named)


def describe(found: Hardware) -> str:
    """The hardware in one line."""
    a = found.accelerator
    simulated = " (simulated)" if found.simulated else ""
    can = sum(1 for c in found.capabilities if c.available)
    memory, flow = a.memory_bytes / 2**30, a.bandwidth_bytes_per_s / 1e9
    times = f"{found.count} x " if found.count > 1 else ""
    return (
        f"{times}{a.name}{simulated}, {memory:.1f} GiB, {flow:,.0f} GB/s, "
        f"{can} of {len(found.capabilities)} features for vLLM {found.engine_version}"
    )
