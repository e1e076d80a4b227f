"""Gates: true for the engine version, read from the running engine, quoting their rule."""

from __future__ import annotations

import pytest
import synthetic_run as made

from rooftune.engines.server import EffectiveConfig
from rooftune.errors import InputError
from rooftune.hardware.accelerator import Capability
from rooftune.models.catalogue import model_facts
from rooftune.tuning.case import TargetRequest, target_for
from rooftune.tuning.gates import capability_gates, gate_effective, predicted_effective, with_listed_flags
from rooftune.tuning.plan import Gate
from rooftune.tuning.playbook import build_plan
from rooftune.vllm_rules.config import EngineConfig, FlagValue


def plan(version: str = "0.15.1", **capabilities: bool):  # type: ignore[no-untyped-def]
    target = target_for(TargetRequest()).model_copy(update={"engine_version": version})
    facts = model_facts("llama-2-7b", quantization="awq")
    return build_plan(made.workload(), target, made.hardware(version, **capabilities), facts, predict=False)


@pytest.mark.parametrize("name", ["chunked-prefill", "prefix-caching", "async-scheduling", "attention-flashinfer"])
def test_defaults_of_the_version_are_predicted_and_marked_so(name: str) -> None:
    gates = plan().candidate(name).gates
    assert [g.verdict for g in gates] == ["already on"]
    assert "predicted from the defaults of vLLM 0.15.1" in gates[0].reason


def test_flags_that_the_installed_engine_does_not_list_close_a_gate_or_stop_the_plan() -> None:
    listed = frozenset(plan().candidates[0].config.flags()) | {"max_num_seqs"}
    found = with_listed_flags(plan(), listed)
    assert found.candidate("batch-8").runnable
    closed = found.candidate("fp8-kv").gates[-1]
    assert closed.verdict == "not supported"
    assert closed.reason == "the installed vLLM does not list --kv-cache-dtype"
    assert found.candidate("cuda-graphs").gates == plan().candidate("cuda-graphs").gates, "removing a flag needs none"
    with pytest.raises(InputError, match="does not list --enforce-eager; leave out such flags"):
        with_listed_flags(plan(), listed - {"enforce_eager"})
    assert with_listed_flags(plan(), None) == plan()


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


MARLIN = EffectiveConfig(linear_kernel="MarlinLinearKernel", quantization="awq")
STATES: list[tuple[dict[str, FlagValue | None], EffectiveConfig, str]] = [
    ({"enable_chunked_prefill": True}, EffectiveConfig(chunked_prefill=True), "chunked prefill on"),
    ({"enable_chunked_prefill": False}, EffectiveConfig(chunked_prefill=False), "chunked prefill off"),
    ({"enable_chunked_prefill": False}, EffectiveConfig(chunked_prefill=True), ""),
    ({"enable_prefix_caching": True}, EffectiveConfig(prefix_caching=True), "prefix caching on"),
    ({"async_scheduling": True}, EffectiveConfig(async_scheduling=True), "asynchronous scheduling on"),
    ({"async_scheduling": True}, EffectiveConfig(async_scheduling=False), ""),
    ({"enforce_eager": False}, EffectiveConfig(cuda_graphs=True), "CUDA graphs captured"),
    ({"enforce_eager": False}, EffectiveConfig(cuda_graphs=False, enforce_eager=False), ""),
    ({"enforce_eager": False}, EffectiveConfig(attention_backend="CPU_ATTN", enforce_eager=False), "eager mode off"),
    ({"enforce_eager": False}, EffectiveConfig(attention_backend="CPU_ATTN", enforce_eager=True), ""),
    ({"enforce_eager": False}, EffectiveConfig(attention_backend="CPU_ATTN"), ""),
    ({"enforce_eager": True}, EffectiveConfig(enforce_eager=True, cuda_graphs=False), "eager mode on"),
    ({"enforce_eager": True}, EffectiveConfig(enforce_eager=False, cuda_graphs=True), ""),
    ({"quantization": "awq"}, EffectiveConfig(quantization="awq"), "quantization awq"),
    ({"quantization": "awq"}, EffectiveConfig(quantization="fp8"), ""),
    ({"quantization": "awq"}, EffectiveConfig(), ""),
    ({"quantization": "awq"}, MARLIN, ""),
    ({"quantization": "awq_marlin"}, MARLIN, "the kernel MarlinLinearKernel for the linear layers"),
    ({"quantization": "awq_marlin"}, EffectiveConfig(linear_kernel="MacheteLinearKernel"), "the kernel Machete"),
    ({"quantization": "awq_marlin"}, EffectiveConfig(quantization="awq_marlin"), "quantization awq_marlin"),
    ({"quantization": "awq_marlin"}, EffectiveConfig(quantization="awq"), ""),
    ({"quantization": "awq_marlin"}, EffectiveConfig(quantization="a"), ""),
    ({"speculative_config": {"method": "ngram"}}, EffectiveConfig(speculative="ngram"), "speculative decoding"),
    ({"speculative_config": {"method": "ngram"}}, EffectiveConfig(speculative="eagle"), ""),
    ({"speculative_config": None}, EffectiveConfig(), ""),
    ({"kv_cache_dtype": "fp8_e4m3"}, EffectiveConfig(kv_cache_dtype="fp8"), "kv_cache_dtype fp8"),
    ({"dtype": "half"}, EffectiveConfig(dtype="float16"), "dtype float16"),
    ({"max_num_seqs": 8}, EffectiveConfig(max_num_seqs=8), "max_num_seqs 8"),
    ({"max_num_seqs": 8}, EffectiveConfig(max_num_seqs=16), ""),
    ({"max_num_seqs": 8}, EffectiveConfig(max_num_seqs=9), ""),
    ({"max_num_seqs": None}, EffectiveConfig(max_num_seqs=16), ""),
    ({}, MARLIN, ""),
]


@pytest.mark.parametrize(("change", "effective", "phrase"), STATES)
def test_the_gate_is_closed_only_by_what_the_engine_reports(
    change: dict[str, FlagValue | None], effective: EffectiveConfig, phrase: str
) -> None:
    candidate = plan().candidate("chunked-prefill").model_copy(update={"change": change})
    found = gate_effective(candidate, effective, "0.15.1")
    if phrase:
        assert found[0].reason.startswith(f"vLLM 0.15.1 reports {phrase}")
    else:
        assert found == []


def test_the_version_that_the_engine_reports_is_quoted() -> None:
    candidate = plan().candidate("chunked-prefill")
    effective = EffectiveConfig(engine_version="0.15.2", chunked_prefill=True)
    assert gate_effective(candidate, effective, "0.15.1")[0].reason.startswith("vLLM 0.15.2 reports")


def predicted(config: EngineConfig, *, version: str = "0.15.1", **accelerator: object) -> EffectiveConfig:
    hardware = made.hardware(version)
    hardware = hardware.model_copy(update={"accelerator": hardware.accelerator.model_copy(update=accelerator)})
    return predicted_effective(config, hardware, model_facts("llama-2-7b", quantization="awq"), version)


def test_the_prediction_follows_the_flags() -> None:
    plain = predicted(EngineConfig(model="m"))
    assert (plain.chunked_prefill, plain.prefix_caching, plain.enforce_eager) == (True, True, False)
    off = EngineConfig(model="m", enable_chunked_prefill=False, enable_prefix_caching=False, enforce_eager=True)
    found = predicted(off)
    assert (found.chunked_prefill, found.prefix_caching, found.enforce_eager) == (False, False, True)
    assert (plain.cuda_graphs, found.cuda_graphs) == (True, False)
    on = EngineConfig(model="m", enable_chunked_prefill=True, enable_prefix_caching=True)
    assert (predicted(on).chunked_prefill, predicted(on).prefix_caching) == (True, True)


def test_nothing_is_predicted_for_a_gpu_of_unknown_generation_or_a_backend_that_does_not_run() -> None:
    known = predicted(EngineConfig(model="m"))
    assert known.attention_backend
    assert known.linear_kernel
    unknown = predicted(EngineConfig(model="m"), compute_capability=None)
    assert unknown.attention_backend is None
    assert unknown.linear_kernel is None
    cpu = predicted(EngineConfig(model="m"), kind="cpu", compute_capability=None)
    assert cpu.attention_backend == "CPU_ATTN"
    assert cpu.linear_kernel is None
    assert predicted(EngineConfig(model="m", attention_backend="FLASH_ATTN")).attention_backend is None, "a T4"


def test_a_capability_is_named_once() -> None:
    def gate(name: str, reason: str) -> Gate:
        capability = Capability(id="x", name=name, available=False, reason=reason)
        hardware = made.hardware().model_copy(update={"capabilities": [capability]})
        return capability_gates(["x"], [], hardware)[0]

    assert gate("FP8", "fp8 needs 8.9").reason == "fp8 needs 8.9"
    assert gate("FP8", "needs 8.9").reason == "FP8: needs 8.9"


def test_one_of_several_capabilities_is_enough() -> None:
    def gates(**available: bool) -> list[Gate]:
        found = [Capability(id=k, name=k, available=v, reason=f"{k} is missing") for k, v in available.items()]
        return capability_gates([], ["a", "b"], made.hardware().model_copy(update={"capabilities": found}))

    assert gates(a=False, b=True) == []
    assert gates(c=False) == []
    assert [g.reason for g in gates(a=False, b=False)] == ["a is missing; b is missing"]
