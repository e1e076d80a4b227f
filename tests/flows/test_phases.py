"""The phase flows on a run folder, without a server to load: probe, plan, roofline, report; each alone and again."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.inputs.parameters import TargetOptions
from flows.inputs.targets import resolve_target
from flows.inputs.workloads import changed_workload
from rooftune.errors import InputError, RooftuneError
from rooftune.runfolder import RunFolder

pytestmark = pytest.mark.usefixtures("prefect")


@pytest.fixture
async def fresh(tmp_path: Path) -> RunFolder:
    """A run folder in which no phase has run."""
    target, spec = await resolve_target(TargetOptions()), changed_workload("chat-low")
    about = {"target": target.model_dump(mode="json"), "workload_spec": spec.model_dump(mode="json"), "settings": {}}
    return RunFolder.create(tmp_path / "artifacts", spec.name, about)


@pytest.mark.slow
async def test_probe_then_plan_then_plan_again(fresh: RunFolder) -> None:
    from flows.plan import plan
    from flows.probe import probe

    done = await probe(str(fresh.path))
    assert fresh.hardware_json.is_file()
    assert "simulated" in done.sentence
    first = await plan(str(fresh.path))
    assert first.files == ["plan.json"]
    before = fresh.plan_json.read_text()
    assert await plan(str(fresh.path)) == first
    assert fresh.plan_json.read_text() == before


async def test_a_phase_says_what_it_needs(fresh: RunFolder) -> None:
    from flows.plan import plan
    from flows.report import report

    with pytest.raises(RooftuneError, match=r"hardware\.json is missing"):
        await plan(str(fresh.path))
    with pytest.raises(RooftuneError, match=r"plan\.json is missing"):
        await report(str(fresh.path))


async def test_an_error_that_explains_itself_is_not_tried_again(fresh: RunFolder) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName

    from flows.plan import plan

    state = await plan(str(fresh.path), return_state=True)
    assert state.is_failed()
    async with get_client() as client:
        named = FlowRunFilter(name=FlowRunFilterName(any_=[f"plan {fresh.path}"]))
        (run,) = await client.read_flow_runs(flow_run_filter=named)
        (task,) = await client.read_task_runs(flow_run_filter=named)
    assert run.name.startswith("plan ")
    assert task.run_count == 1
    assert task.name == "plan the candidates"


async def test_a_run_that_is_not_there() -> None:
    from flows.probe import probe

    with pytest.raises(InputError, match="no run"):
        await probe("nowhere")
