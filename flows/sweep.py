"""Optimise one workload after the other, and list the results: what runs at night."""

from __future__ import annotations

import re
from typing import Annotated

from prefect import flow
from prefect.artifacts import acreate_table_artifact
from typer import Option

from flows.inputs import options
from flows.inputs.flat import flat_flow
from flows.inputs.parameters import OptimizeRequest, TargetOptions, TrialOptions
from flows.optimize import optimize
from rooftune.errors import RooftuneError
from tasks import run_lines, run_listener
from tasks.results import OptimizeResult
from tasks.telemetry.spans import span

WORKLOADS = "Names of workloads. Default: every file in ./workloads, or else those that come with rooftune."


@flow(name="sweep", flow_run_name="sweep")
@flat_flow
async def sweep(
    target: TargetOptions,
    workloads: Annotated[list[str] | None, Option(help=WORKLOADS)] = None,
    budget: options.Budget = "4m",
    artifacts: options.Artifacts = options.ARTIFACTS,
) -> list[OptimizeResult]:
    """Optimise several workloads, one after the other: a machine serves one run at a time.

    If one fails, the others still run; the sweep then fails at its end.
    """
    run_lines.follow_in_log()
    names = workloads or _all()
    with span("sweep", {"workloads": names}):
        results = await _all_of(names, target, budget, artifacts)
    await acreate_table_artifact(
        key="sweep", table=[_row(r) for r in results], description="The result for each workload"
    )
    failed = [r.workload for r in results if r.failed]
    if failed:
        raise RooftuneError(f"{len(failed)} of {len(results)} workloads failed: {', '.join(failed)}; see the table.")
    return results


async def _all_of(names: list[str], target: TargetOptions, budget: str | None, artifacts: str) -> list[OptimizeResult]:
    """Optimise each workload; one that fails does not keep the others from running."""
    results: list[OptimizeResult] = []
    for place, name in enumerate(names, start=1):
        run_listener.current().phase("workload", f"{name}, {place} of {len(names)}")
        request = OptimizeRequest(name, target, trials=TrialOptions(budget=budget), artifacts=artifacts)
        try:
            result = await optimize(**request.parameters())
        except RooftuneError as error:
            run_listener.current().phase("workload", f"{name} failed: {error}")
            result = OptimizeResult(run="", workload=name, failed=str(error), complete=False)
        else:
            run_listener.current().phase("workload", f"{name}: {result.first_sentence}")
        results.append(result)
    return results


def _all() -> list[str]:
    """The workloads in ``./workloads``, or those that come with rooftune where there are none."""
    from rooftune.workloads.load import own_workload_files, workload_files

    return sorted(own_workload_files() or workload_files())


def _row(r: OptimizeResult) -> dict[str, str]:
    sentence = re.sub(r"\s+", " ", r.failed or r.first_sentence)
    return {"workload": r.workload, "run": r.run, "recommended": r.incumbent, "answer": sentence}
