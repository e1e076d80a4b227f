"""Optimise one workload after the other, and tell how they came out: what runs at night."""

from __future__ import annotations

import re
from typing import Literal

from prefect import flow
from prefect.artifacts import acreate_table_artifact

from flows.optimize import optimize
from rooftune.errors import RooftuneError
from tasks import run_listener
from tasks.results import OptimizeResult


@flow(name="sweep", flow_run_name="sweep")
async def sweep(
    workloads: list[str] | None = None,
    engine: Literal["simulated", "vllm", "endpoint"] = "simulated",
    gpu: str | None = None,
    model: str | None = None,
    engine_version: str | None = None,
    flags: list[str] | None = None,
    vllm_python: str | None = None,
    budget: str = "4m",
    artifacts: str = "artifacts",
) -> list[OptimizeResult]:
    """Optimise several workloads, one after the other: a machine serves one run at a time.

    One that fails does not keep the others from running; the sweep fails at its end when one of them has.

    Args:
        workloads: Names of workloads; by default every file in workloads/.
        engine: simulated, vllm or endpoint.
        gpu: Catalogue name; left out, a T4 (simulated) or what is in the machine.
        model: Catalogue name, folder with a config.json, or hub id.
        engine_version: vLLM version.
        flags: vLLM flags of the baseline as FLAG=VALUE.
        vllm_python: Interpreter that has vLLM.
        budget: Real time for the trials of each workload: 10m, 90s, 1h.
        artifacts: Folder that runs are written to.
    """
    outcomes = []
    for name in workloads or _all():
        try:
            outcome = await optimize(
                workload=name,
                engine=engine,
                gpu=gpu,
                model=model,
                engine_version=engine_version,
                flags=flags,
                vllm_python=vllm_python,
                budget=budget,
                artifacts=artifacts,
            )
        except RooftuneError as error:
            run_listener.log(f"{name} failed: {error}")
            outcome = OptimizeResult(run="", workload=name, failed=str(error), complete=False)
        outcomes.append(outcome)
    await acreate_table_artifact(
        key="sweep", table=[_row(o) for o in outcomes], description="How each workload came out"
    )
    failed = [o.workload for o in outcomes if o.failed]
    if failed:
        raise RooftuneError(f"of {len(outcomes)} workloads these failed: {', '.join(failed)}; see the table artifact.")
    return outcomes


def _all() -> list[str]:
    """The workloads in ``./workloads``, or those that come with rooftune where there are none."""
    from rooftune.workloads.load import own_workload_files, workload_files

    return sorted(own_workload_files() or workload_files())


def _row(o: OptimizeResult) -> dict[str, str]:
    sentence = re.sub(r"\s+", " ", o.failed or o.first_sentence)
    return {"workload": o.workload, "run": o.run, "recommended": o.incumbent, "answer": sentence}
