"""Candidates and baselines that would not start: gates and refusals of a plan."""

from __future__ import annotations

from typing import Any

import pytest
import synthetic_run as made

from rooftune.engines.target import EngineKind
from rooftune.hardware.accelerator import Hardware
from rooftune.hardware.named import accelerator
from rooftune.models.catalogue import model_facts
from rooftune.tuning.case import TargetRequest, target_for
from rooftune.tuning.plan import Plan
from rooftune.tuning.playbook import build_plan
from rooftune.vllm_rules.capabilities import with_capabilities


def plan(gpu: str, model: str, version: str = "0.32.0", engine: EngineKind = "simulated", **flags: Any) -> Plan:
    target = target_for(TargetRequest(engine=engine, gpu=gpu, model=model, engine_version=version, flags=flags))
    card = accelerator(gpu)
    hardware = with_capabilities(Hardware(accelerator=card, simulated=engine == "simulated", engine_version=version))
    return build_plan(
        made.workload(), target, hardware, model_facts(model, quantization=flags.get("quantization")), predict=False
    )


def test_the_baseline_gets_the_context_of_the_workload_and_its_candidates_too() -> None:
    found = plan("L4", "llama-3.1-8b")
    assert found.context is not None
    assert found.refusal is None
    assert found.memory is not None
    assert {c.config.max_model_len for c in found.candidates} == {2048}


def test_a_context_that_fits_or_that_the_user_set_is_left_alone() -> None:
    assert plan("H100", "llama-3.1-8b").candidate("baseline").config.max_model_len is None
    assert plan("L4", "llama-3.1-8b", max_model_len=4096).candidate("baseline").config.max_model_len == 4096


@pytest.mark.parametrize(("engine", "blocked"), [("simulated", True), ("vllm", False)])
def test_an_estimate_of_memory_blocks_the_simulated_engine_alone(engine: EngineKind, blocked: bool) -> None:
    found = plan("L4", "llama-3.1-8b", engine=engine, max_model_len=131072)
    assert found.refusal is not None
    assert (found.refusal.rule, found.refusal.estimated) == ("longest-request", True)
    assert found.blocked is blocked
    batch = found.candidate("batch-8")
    assert batch.runnable is not blocked
    assert [g.reason for g in batch.gates if g.id.startswith("start-")] == ["it would not start, as the baseline"]


@pytest.mark.parametrize("engine", ["simulated", "vllm"])
def test_a_missing_kernel_blocks_every_engine(engine: EngineKind) -> None:
    found = plan("A10G", "llama-3.1-8b", "0.29.0", engine, quantization="fp8", max_model_len=2048)
    assert found.blocked
    assert found.refusal is not None
    assert found.refusal.way_out is not None
    assert found.refusal.way_out.change == {"linear_backend": "marlin"}


def test_an_endpoint_is_never_refused() -> None:
    target = target_for(TargetRequest(engine="endpoint", gpu="L4", model="llama-3.1-8b", url="http://127.0.0.1:1"))
    hardware = Hardware(accelerator=accelerator("L4"), simulated=False, engine_version="0.32.0")
    found = build_plan(made.workload(), target, hardware, model_facts("llama-3.1-8b"), predict=False)
    assert (found.refusal, found.memory, found.context) == (None, None, None)
