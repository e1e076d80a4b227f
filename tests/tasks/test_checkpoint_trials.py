"""A trial of another checkpoint: the server, the forecast and the record are those of its weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.inputs.parameters import TargetOptions
from flows.inputs.targets import resolve_target
from rooftune.engines.launch_spec import server_command
from rooftune.files import write_json
from rooftune.runfolder import RunFolder
from rooftune.trial_order import TrialOrder
from rooftune.tuning.configuration import describe, difference
from rooftune.tuning.forecast import SimulatedForecast
from rooftune.tuning.playbook import build_plan
from rooftune.workloads.load import load_workload
from tasks.run_files import facts_of, target_of_order

AWQ = "Qwen/Qwen2.5-0.5B-Instruct-AWQ"


@pytest.fixture
async def run(tmp_path: Path) -> RunFolder:
    """A run folder with a plan for a small model."""
    from rooftune.hardware.probe import probe

    target = await resolve_target(TargetOptions(gpu="L4", model="qwen2.5-0.5b", flags=["max_model_len=4096"]))
    spec = load_workload("chat-low")
    about = {"target": target.model_dump(mode="json"), "workload_spec": spec.model_dump(mode="json"), "settings": {}}
    folder = RunFolder.create(tmp_path / "artifacts", spec.name, about)
    hardware = probe(
        engine="simulated", gpu="L4", engine_version=target.engine_version, vllm_python=None, measure=False
    )
    plan = build_plan(spec, target, hardware, facts_of(target), predict=False)
    write_json(folder.plan_json, plan.model_dump(mode="json"))
    return folder


def order(run: RunFolder, change: dict[str, str]) -> TrialOrder:
    from tasks.run_files import plan_of

    config = plan_of(run).candidates[0].config.with_change(change)
    return TrialOrder(candidate="awq" if change else "baseline", n=1, position=0, config=config, seed=1, phase="own")


async def test_the_server_of_a_trial_has_the_weights_of_its_checkpoint(run: RunFolder) -> None:
    plain, awq = order(run, {}), order(run, {"model": AWQ})
    assert target_of_order(run, plain).model == "qwen2.5-0.5b"
    target = target_of_order(run, awq)
    assert target.model == AWQ
    command = server_command(target, awq.config, host="127.0.0.1", port=1)
    assert command[command.index("--model") + 1] == AWQ
    assert describe(difference(awq.config, plain.config)) == f"--model {AWQ}"


async def test_the_forecast_of_a_trial_knows_the_weights_of_its_checkpoint(run: RunFolder) -> None:
    plain, awq = order(run, {}), order(run, {"model": AWQ})
    forecast = SimulatedForecast(target_of_order(run, plain), load_workload("chat-low"), plain.config.model)
    first, second = forecast.capacity(plain.config), forecast.capacity(awq.config)
    assert first is not None
    assert second is not None
    assert second > 1.05 * first
