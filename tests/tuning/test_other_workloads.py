"""The configurations of a run on other workloads, as the simulator predicts them."""

from __future__ import annotations

from pathlib import Path

import guided_world
import pytest
import synthetic_run as made

from rooftune.errors import RooftuneError
from rooftune.files import read_model
from rooftune.report.run_data import read_run
from rooftune.tuning import other_workloads
from rooftune.tuning.case import TargetRequest, target_for
from rooftune.tuning.other_workloads import (
    FILE,
    OtherWorkloads,
    options_of,
    predict_others,
    write_other_workloads,
)
from rooftune.tuning.search import decide
from rooftune.vllm_rules.config import EngineConfig

BASE = EngineConfig(model="TheBloke/Llama-2-7B-AWQ").with_change(
    {"quantization": "awq", "dtype": "half", "max_model_len": 2048, "enforce_eager": True}
)
FASTER = BASE.with_change({"quantization": "awq_marlin"})


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(other_workloads, "REQUESTS", 300)
    monkeypatch.setattr(other_workloads, "DESCRIPTIONS", {"chat-low": "Few", "burst": "Bursts"})


def test_configurations_are_compared_on_every_workload_but_their_own() -> None:
    target = target_for(TargetRequest())
    found = predict_others({"baseline": BASE, "awq-marlin": FASTER}, "burst", target)
    (low,) = found.workloads
    assert low.workload == "chat-low"
    carried = {row.option: row.capacity_per_s for row in low.rows}
    assert carried["awq-marlin"] > 2 * carried["baseline"] > 0
    assert low.refused == ""


def test_a_workload_that_does_not_fit_has_its_reason() -> None:
    tiny = BASE.with_change({"max_model_len": 64})
    found = predict_others({"baseline": tiny}, "burst", target_for(TargetRequest()))
    (low,) = found.workloads
    assert low.rows == []
    assert "do not fit into --max-model-len 64" in low.refused


def test_a_machine_that_is_not_simulated_has_no_predictions() -> None:
    target = target_for(TargetRequest()).model_copy(update={"gpu": "cpu"})
    with pytest.raises(RooftuneError, match="GPUs only"):
        predict_others({"baseline": BASE}, "burst", target)


def test_a_reader_chooses_from_few_configurations() -> None:
    plan = guided_world.plan()
    decision = decide(plan, guided_world.GuidedWorld(plan, seed=4).search(budget=340, cost=14))
    options = options_of(plan, decision)
    assert list(options)[:2] == ["baseline", decision.incumbent]
    assert decision.search is not None
    assert decision.search.same_answers in options
    assert len(options) <= other_workloads.MOST_OPTIONS
    assert options[decision.incumbent].flags() == decision.incumbent_flags


def test_the_file_is_read_with_the_run(tmp_path: Path) -> None:
    load = made.workload()
    world = made.World(made.plan_of(load))
    run = made.write_run(tmp_path, world, world.search(budget=100.0), load)
    decision = decide(world.plan, world.search(budget=100.0))
    path = write_other_workloads(run, world.plan, decision)
    assert path == run.path / FILE
    assert read_run(run).other_workloads == read_model(run.path / FILE, OtherWorkloads)
