"""No flag is passed over in silence: each is modelled, which is proved here, or neutral for a reason, or named."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from rooftune.hardware.named import accelerator
from rooftune.models.catalogue import model_facts
from rooftune.simulator.engine.core import limits
from rooftune.simulator.steptime.model import StepTime
from rooftune.vllm_rules.config import EngineConfig
from rooftune.vllm_rules.effects import sentence, unmodelled
from rooftune.vllm_rules.flag_entries import registry
from rooftune.vllm_rules.memory import kv_cache_tokens
from rooftune.vllm_rules.resolve import resolve
from rooftune.vllm_rules.validation import validate

NEWEST = "0.33.0"
MODELLED = sorted(name for name, flag in registry().items() if flag.effect == "modelled")


@dataclass(frozen=True)
class Case:
    """A valid change of one flag that must change what is predicted."""

    value: Any
    base: dict[str, Any] = field(default_factory=dict)
    gpu: str = "L4"
    quantization: str | None = None
    version: str = "0.32.0"
    model: str = "llama-3.1-8b"


NGRAM = {"method": "ngram", "num_speculative_tokens": 3}
CASES = {
    "dtype": Case("float16"),
    "quantization": Case("fp8"),
    "linear_backend": Case("marlin", quantization="fp8"),
    "max_model_len": Case(1024),
    "gpu_memory_utilization": Case(0.85),
    "kv_cache_memory_bytes": Case(2**30),
    "kv_cache_dtype": Case("fp8"),
    "num_gpu_blocks_override": Case(900),
    "enable_prefix_caching": Case(False),
    "max_num_seqs": Case(8),
    "max_num_active_seqs": Case(8),
    "max_num_batched_tokens": Case(4096),
    "max_num_scheduled_tokens": Case(1024),
    "enable_chunked_prefill": Case(False),
    "long_prefill_token_threshold": Case(512),
    "scheduling_policy": Case("priority"),
    "async_scheduling": Case(False),
    "scheduler_reserve_full_isl": Case(False),
    "watermark": Case(0.05),
    "performance_mode": Case("throughput"),
    "enforce_eager": Case(True),
    "compilation_config": Case({"cudagraph_mode": "NONE"}),
    "optimization_level": Case(0),
    "cudagraph_capture_sizes": Case("1,2,4,8"),
    "max_cudagraph_capture_size": Case(64),
    "attention_backend": Case("TRITON_ATTN"),
    "speculative_config": Case(NGRAM),
    "spec_method": Case("ngram", base={"spec_tokens": 3}),
    "spec_model": Case("llama-3.2-1b", base={"spec_method": "draft_model", "spec_tokens": 3}),
    "spec_tokens": Case(3, base={"spec_method": "ngram"}),
    "max_loras": Case(4, base={"enable_lora": True}),
    "max_lora_rank": Case(64, base={"enable_lora": True}),
    "tensor_parallel_size": Case(2),
    "distributed_executor_backend": Case("ray"),
    "disable_hybrid_kv_cache_manager": Case(True, gpu="H100", model="gemma-2-9b"),
}
"""One case for each flag that is called modelled. ray: it turns asynchronous scheduling off before 0.33."""


def prediction(case: Case, flags: dict[str, Any]) -> tuple[Any, ...]:
    """Everything that a prediction is computed from."""
    gpu, config = accelerator(case.gpu), EngineConfig(model="m", max_model_len=2048).with_change({**case.base, **flags})
    facts = model_facts(case.model, quantization=str(flags.get("quantization") or case.quantization or "none"))
    resolved = resolve(gpu, facts, config, case.version)
    tokens, step = kv_cache_tokens(gpu, facts, resolved), StepTime(gpu, facts, resolved)
    tables = (step.linear_decode, step.linear_mixed, step.head, step.host_decode, step.host_mixed)
    return resolved, tokens, limits(resolved, tokens, config), tuple(t.tobytes() for t in tables), tuple(step.cost)


def test_every_flag_that_is_called_modelled_has_a_case() -> None:
    assert sorted(CASES) == MODELLED


@pytest.mark.parametrize("name", MODELLED)
def test_a_modelled_flag_changes_what_is_predicted(name: str) -> None:
    case = CASES[name]
    config = EngineConfig(model="m", max_model_len=2048).with_change({**case.base, name: case.value})
    validate(config, case.version)
    assert prediction(case, {name: case.value}) != prediction(case, {})
    assert name not in [flag.name for flag in unmodelled(config, case.version)]


VALUES: dict[str, Any] = {"bool": True, "int": 3, "float": 2.5, "str": "something", "json": {"key": 1}, "list": "a,b"}


@pytest.mark.parametrize("name", sorted(set(registry()) - set(MODELLED)))
def test_any_other_flag_is_neutral_for_a_reason_or_named(name: str) -> None:
    flag = registry()[name]
    value = VALUES[flag.type] if flag.default is not True else False
    found = unmodelled(EngineConfig(model="m").with_change({name: value}), NEWEST)
    if flag.effect == "neutral":
        assert found == []
        assert len(flag.why.split()) > 1
    else:
        assert [f.name for f in found] == [name]
        assert f"not modelled: {name} ({flag.why})" in sentence(found)


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ({"data_parallel_size": 2, "pipeline_parallel_size": 2}, ["data_parallel_size", "pipeline_parallel_size"]),
        ({"data_parallel_size": 1, "block_size": 32}, ["block_size"]),
        ({"quantization": "mxfp4", "linear_backend": "cutlass"}, ["quantization=mxfp4", "linear_backend=cutlass"]),
        ({"dtype": "float32"}, ["dtype=float32"]),
        ({"kv_cache_dtype": "nvfp4", "attention_backend": "FLASH_ATTN"}, ["kv_cache_dtype=nvfp4"]),
        ({"compilation_config": {"mode": 0, "backend": "eager"}}, ["compilation_config.backend"]),
        ({"speculative_config": {**NGRAM, "quantization": "fp8"}}, ["speculative_config.quantization"]),
        ({"some_flag_of_tomorrow": 1}, ["some_flag_of_tomorrow"]),
        ({"max_num_seqs": 8, "seed": 3, "enable_chunked_prefill": True}, []),
    ],
)
def test_what_is_left_out_is_named(flags: dict[str, Any], named: list[str]) -> None:
    found = unmodelled(EngineConfig(model="m").with_change(flags), "0.32.0")
    assert sorted(f.name for f in found) == sorted(named)
    assert bool(sentence(found)) == bool(named)


def test_the_simulated_server_does_more_than_virtual_time() -> None:
    config = EngineConfig(model="m", stream_interval=4).with_change({"max_num_queued_reqs": 9, "block_size": 32})
    assert [f.name for f in unmodelled(config, "0.32.0", server=True)] == ["block_size"]
    assert len(unmodelled(config, "0.32.0")) == 3
