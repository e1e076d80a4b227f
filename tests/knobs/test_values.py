"""The rules that propose values, on several devices, versions and workloads."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cases import LLAMA, context, published

from rooftune.hardware.host import FastDtype
from rooftune.knobs import values
from rooftune.knobs.checkpoints import Checkpoint
from rooftune.knobs.context import SpaceContext
from rooftune.knobs.entry import Knob, knobs
from rooftune.knobs.explanation import values_here
from rooftune.knobs.space import configurations, space
from rooftune.speculation.candidates import DraftModel
from rooftune.vllm_rules import capabilities
from rooftune.vllm_rules.config import EngineConfig

GPUS = ("T4", "L4", "A100-80", "H100", "cpu")
SEARCHED = [k for k in knobs() if k.status == "searched"]


def slow_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "fast_dtype", lambda: FastDtype("float32", "bfloat16 products are slow"))


def where_it_matters(k: Knob, monkeypatch: pytest.MonkeyPatch) -> SpaceContext:
    """A context in which a knob has something to offer."""
    newest = {"engine": "vllm", "version": "0.33.0"}
    if k.name == "tensor_parallel_size":
        return context("A100-80", count=2, **newest)
    if k.name == "moe_backend":
        return context("H100", "Qwen/Qwen3-30B-A3B", **newest)
    if k.name == "dtype":
        slow_bfloat16(monkeypatch)
        return context("cpu", "Qwen/Qwen2.5-0.5B-Instruct", **newest)
    if k.name == "prefix_caching":
        return context("H100", workload="chat-medium", **newest)
    if k.name == "speculation":
        return context("H100", has_texts=True, draft_models=(DraftModel("some/head", "eagle3"),), **newest)
    return context("H100", **newest)


@pytest.mark.parametrize("k", [k for k in SEARCHED if k.name != "scheduling_policy"], ids=lambda k: k.name)
def test_every_searched_knob_has_values_somewhere(k: Knob, monkeypatch: pytest.MonkeyPatch) -> None:
    assert values_here(k, where_it_matters(k, monkeypatch)).values


@pytest.mark.parametrize("gpu", GPUS)
@pytest.mark.parametrize("version", ["0.11.0", "0.15.1", "0.32.0", "0.33.0"])
def test_a_rule_sets_only_the_flags_of_its_knob(gpu: str, version: str) -> None:
    c = context(gpu, version=version, engine="vllm", checkpoints=(Checkpoint("some/model-AWQ", "awq"),))
    for k in knobs():
        for setting in values.RULES[k.name](c) if k.name in values.RULES else []:
            assert set(setting.change) <= {*k.flags, "model", "tokenizer"}, k.name
            assert setting.words(k.name)


@pytest.mark.parametrize("gpu", GPUS)
@pytest.mark.parametrize("k", SEARCHED, ids=lambda k: k.name)
def test_outputs_change_only_where_the_entry_says_so(gpu: str, k: Knob, monkeypatch: pytest.MonkeyPatch) -> None:
    c = context(gpu, engine="vllm", model="Qwen/Qwen2.5-0.5B-Instruct")
    alone = {other.name: (None,) for other in knobs() if other.name != k.name and other.flags}
    found = configurations(replace(c, values=alone))
    assert k.changes_outputs or not any(x.changes_outputs for x in found)


def test_a_cpu_without_fast_bfloat16_gets_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    slow_bfloat16(monkeypatch)
    c = context("cpu", "Qwen/Qwen2.5-0.5B-Instruct", engine="vllm")
    found = configurations(c)
    assert any(x.change == {"dtype": "float32"} and not x.changes_outputs for x in found)
    assert any(x.change == {"dtype": "float32", "max_num_seqs": 16} for x in found)
    assert len(found) >= 60
    already = replace(c, baseline=EngineConfig(model=c.baseline.model, dtype="float32"))
    assert not any("dtype" in x.change for x in configurations(already))


def test_a_cpu_with_fast_bfloat16_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "fast_dtype", lambda: FastDtype("bfloat16", "AMX multiplies bfloat16"))
    c = context("cpu", "Qwen/Qwen2.5-0.5B-Instruct", engine="vllm")
    assert values.dtype(c) == []


@pytest.mark.parametrize(("units", "has"), [({"avx2"}, False), ({"avx2", "avx512f"}, True)])
def test_an_fp8_kv_cache_on_a_cpu_needs_its_vector_units(
    monkeypatch: pytest.MonkeyPatch, units: set[str], has: bool
) -> None:
    monkeypatch.setattr(capabilities, "cpu_flags", lambda: frozenset(units))
    found = space(context("cpu", "Qwen/Qwen2.5-0.5B-Instruct", engine="vllm"))
    assert any(x.change.get("kv_cache_dtype") == "fp8" for x in found.configurations) == has
    assert any("needs AVX-512 or AMX" in d.reason for d in found.dropped) != has


def test_a_cpu_without_graphs_still_compiles_or_not() -> None:
    found = configurations(context("cpu", "Qwen/Qwen2.5-0.5B-Instruct", engine="vllm"))
    assert any(x.change == {"enforce_eager": True} for x in found)


def test_a_gpu_without_bfloat16_gets_the_type_that_the_model_takes() -> None:
    asked = context("T4", flags={"dtype": "bfloat16"})
    assert [s.value for s in values.dtype(asked)] == ["half"]
    gemma = context("T4", "google/gemma-2-2b-it", engine="vllm")
    assert {x.change.get("dtype") for x in configurations(gemma)[1:]} == {"float32"}
    assert values.dtype(context("A100-80", "google/gemma-2-2b-it")) == []


@pytest.mark.parametrize(
    ("gpu", "version", "expected"),
    [
        ("T4", "0.15.1", {"FP8 KV cache"}),
        ("T4", "0.32.0", {"INT8 KV cache"}),
        ("A100-80", "0.15.1", {"FP8 KV cache"}),
        ("L4", "0.32.0", {"FP8 KV cache", "INT8 KV cache"}),
        ("H100", "0.33.0", {"FP8 KV cache", "INT8 KV cache"}),
    ],
)
def test_kv_types_by_device_and_version(gpu: str, version: str, expected: set[str]) -> None:
    found = configurations(context(gpu, "Qwen/Qwen2.5-0.5B-Instruct", version))
    assert {x.labels["kv_cache_dtype"] for x in found if "kv_cache_dtype" in x.labels} == expected


def test_fp8_below_8_9_needs_marlin_in_0_29_and_is_called_weight_only() -> None:
    (fp8, *_) = values.weights(context("A100-80", version="0.29.0"))
    assert fp8.change == {"quantization": "fp8", "linear_backend": "marlin"}
    assert fp8.label == "FP8 weights (weight-only)"
    (fp8, *_) = values.weights(context("A100-80", version="0.32.0"))
    assert fp8.change == {"quantization": "fp8"}


def test_forced_awq_gets_marlin_where_the_gpu_has_it() -> None:
    assert [s.value for s in values.weights(published())] == ["awq_marlin"]
    newer = replace(published(), engine_version="0.32.0")
    assert values.weights(newer) == []


def test_all_memory_but_a_margin_is_never_more_than_is_free() -> None:
    for gpu in ("T4", "L4", "A100-80", "H100"):
        c = context(gpu, "Qwen/Qwen2.5-0.5B-Instruct")
        (setting,) = values.memory_utilization(c)
        share = setting.change["gpu_memory_utilization"]
        assert isinstance(share, float)
        assert c.start is not None
        assert c.start.memory is not None
        left = c.start.memory.free_bytes - share * c.gpu.memory_bytes
        assert left >= values.MARGIN_BYTES


def test_budgets_follow_the_prompts() -> None:
    long, short = context(workload="rag-medium"), context(workload="chat-medium")
    budgets = [[s.value for s in values.max_num_batched_tokens(c)] for c in (long, short)]
    assert max(budgets[0]) > max(budgets[1])
    assert min(budgets[0]) == 256
    assert values.long_prefill_token_threshold(long)


def test_prefix_caching_goes_off_only_where_nothing_is_shared() -> None:
    assert values.prefix_caching(context(workload="rag-medium")) == []
    assert [s.value for s in values.prefix_caching(context(workload="chat-medium"))] == [False]


def test_prefill_interval_waits_for_the_release_in_which_one_engine_has_it() -> None:
    assert values.prefill_schedule_interval(context(version="0.32.0")) == []
    assert values.prefill_schedule_interval(context(version="0.33.0"))


def test_the_simulated_engine_is_offered_only_what_it_shows() -> None:
    simulated = {x for c in configurations(context()) for x in c.knobs}
    real = {x for c in configurations(context(engine="vllm")) for x in c.knobs}
    assert {"api_server_count", "kv_offload"} <= real - simulated
    assert all(
        c.predictable or c.knobs == ("stream_interval",) or "stream_interval" in c.knobs
        for c in configurations(context())
    )


def test_a_checkpoint_is_another_model_without_the_flags_of_the_old_one() -> None:
    c = published(checkpoints=(Checkpoint("TheBloke/Llama-2-7B-GPTQ", "gptq"),))
    found = next(x for x in configurations(c) if x.labels.get("weights", "").startswith("GPTQ"))
    config = found.config(c.baseline)
    assert (config.model, config.quantization, config.max_model_len) == ("TheBloke/Llama-2-7B-GPTQ", None, 2048)
    assert found.changes_outputs
    assert found.name == "GPTQ checkpoint Llama-2-7B-GPTQ"


def test_a_kind_of_weights_without_step_times_is_for_real_engines() -> None:
    other = (Checkpoint(LLAMA, "none"),)
    assert not [x for x in configurations(context(checkpoints=other)) if "model" in x.change]
