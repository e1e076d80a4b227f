"""Gates: true for the engine version, read from the running engine, quoting their rule."""

from __future__ import annotations

import pytest
import synthetic_run as made

from rooftune.engines.server import EffectiveConfig
from rooftune.models.catalogue import model_facts
from rooftune.tuning.case import target_for
from rooftune.tuning.gates import gate_effective
from rooftune.tuning.playbook import build_plan


def plan(version: str = "0.15.1", **capabilities: bool):  # type: ignore[no-untyped-def]
    target = target_for().model_copy(update={"engine_version": version})
    facts = model_facts("llama-2-7b", quantization="awq")
    return build_plan(made.workload(), target, made.hardware(version, **capabilities), facts, predict=False)


@pytest.mark.parametrize("name", ["chunked-prefill", "prefix-caching", "async-scheduling", "attention-flashinfer"])
def test_defaults_of_the_version_are_predicted_and_marked_so(name: str) -> None:
    gates = plan().candidate(name).gates
    assert [g.verdict for g in gates] == ["already on"]
    assert "predicted from the defaults of vLLM 0.15.1" in gates[0].reason


def test_not_supported_quotes_the_capability_table() -> None:
    found = plan(fp8_kv=False).candidate("fp8-kv")
    assert not found.runnable
    assert found.gates[0].verdict == "not supported"
    assert "the rule about fp8_kv" in found.gates[0].reason


def test_fp8_kv_runs_where_the_table_says_so() -> None:
    assert plan(fp8_kv=True).candidate("fp8-kv").runnable


def test_no_artefact_names_what_is_missing() -> None:
    gate = plan().candidate("spec-draft").gates[0]
    assert gate.verdict == "no artefact"
    assert "32,000 tokens" in gate.reason
    assert "draft_model" in gate.reason


def test_a_trap_warns_and_is_still_measured() -> None:
    found = plan().candidate("cuda-graphs")
    assert [g.verdict for g in found.gates] == ["trap"]
    assert found.runnable


def test_marlin_is_automatic_from_0_32() -> None:
    modern = plan("0.32.0")
    assert modern.candidate("awq-marlin").gates[0].verdict == "already on"
    assert modern.candidate("cuda-graphs").gates == []
    assert "awq-marlin-graphs" not in [c.id for c in modern.candidates]


def test_a_flag_that_the_version_lacks_closes_the_gate() -> None:
    gates = plan("0.9.0").candidate("async-scheduling").gates
    assert gates[0].verdict == "not supported"
    assert "0.9.0" in gates[0].reason


def test_the_running_engine_decides_what_is_on() -> None:
    candidate = plan().candidate("chunked-prefill")
    on = EffectiveConfig(engine_version="0.15.1", chunked_prefill=True)
    off = EffectiveConfig(engine_version="0.15.1", chunked_prefill=False)
    silent = EffectiveConfig(engine_version="0.15.1")
    assert gate_effective(candidate, on, "0.15.1")[0].verdict == "already on"
    assert gate_effective(candidate, off, "0.15.1") == []
    assert gate_effective(candidate, silent, "0.15.1") == []


def test_all_flags_of_a_change_must_be_on() -> None:
    candidate = plan().candidate("awq-marlin-graphs")
    marlin = EffectiveConfig(linear_kernel="MarlinLinearKernel", cuda_graphs=False, enforce_eager=True)
    both = EffectiveConfig(linear_kernel="MarlinLinearKernel", cuda_graphs=True, enforce_eager=False)
    assert gate_effective(candidate, marlin, "0.15.1") == []
    assert gate_effective(candidate, both, "0.15.1")[0].verdict == "already on"
