"""How long a step takes: what must hold for any GPU, and what is known of single kernels."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rooftune.errors import InputError
from rooftune.hardware.catalogue import accelerators
from rooftune.hardware.named import accelerator
from rooftune.models.catalogue import model_facts
from rooftune.simulator.engine.shape import StepShape
from rooftune.simulator.steptime.constants import ROOMS, constants_for, generation, table
from rooftune.simulator.steptime.durations import decode_seconds, prefill_seconds
from rooftune.simulator.steptime.model import StepTime
from rooftune.vllm_rules.config import EngineConfig

GPUS = ["T4", "L4", "A10G", "A100-80", "L40S", "H100", "H200", "B200", "RTX 4090"]
CASES = [("llama-2-7b", None), ("llama-2-7b", "awq"), ("llama-3.1-8b", "fp8"), ("qwen3-30b-a3b", None)]


def step(
    gpu: str, model: str = "llama-2-7b", quantization: str | None = "awq", version: str = "0.32.0", **flags: Any
) -> StepTime:
    flags.setdefault("max_model_len", 4096)
    facts = model_facts(model, quantization=quantization or "none")
    constants = constants_for(accelerator(gpu), table())
    return StepTime(accelerator(gpu), facts, EngineConfig(model=model, **flags), version, constants=constants)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(GPUS), st.sampled_from(CASES), st.integers(1, 200), st.integers(1, 3000))
def test_more_sequences_and_more_context_never_take_less(
    gpu: str, case: tuple[str, str | None], batch: int, context: int
) -> None:
    s = step(gpu, *case)
    here = decode_seconds(s, batch, context)
    assert 0 < here < 60
    assert decode_seconds(s, batch + 8, context) >= here
    assert decode_seconds(s, batch, context + 500) >= here
    assert prefill_seconds(s, context + 64) >= prefill_seconds(s, context)


@pytest.mark.parametrize("gpu", [a.name for a in accelerators()])
def test_no_gpu_beats_its_own_ceilings(gpu: str) -> None:
    card = accelerator(gpu)
    s = step(gpu, "qwen2.5-1.5b", None, version="0.15.1")
    weights = 2.0 * (s.facts.linear_parameters + s.facts.embedding_parameters)
    assert decode_seconds(s, 1, 100) > weights / card.bandwidth_bytes_per_s
    fastest = max(card.flops_per_s.get("fp16", 0), card.flops_per_s.get("bf16", 0))
    assert prefill_seconds(s, 2048) > 2048 * 2.0 * s.facts.linear_parameters / fastest


@pytest.mark.parametrize("gpu", [a.name for a in accelerators()])
def test_every_constant_of_every_gpu_is_positive_and_no_share_exceeds_the_whole(gpu: str) -> None:
    c = constants_for(accelerator(gpu), table())
    for room in ROOMS:
        for name, entry in getattr(c, room).items():
            for key, value in entry.items() if isinstance(entry, dict) else [(name, entry)]:
                assert value > 0, (room, name, key)
                if key in ("memory", "compute", "pass_memory", "pass_compute", "dequantise_memory"):
                    assert value <= 1, (room, name, key)


def test_old_awq_kernel_pays_a_pass_for_each_16_rows() -> None:
    s = _forced({"enforce_eager": True})
    at = {n: decode_seconds(s, n, 64) for n in (8, 15, 16, 17, 32, 33)}
    assert at[17] - at[16] > 4 * (at[16] - at[15])
    assert at[33] - at[32] > 4 * (at[16] - at[15])


def _forced(flags: dict[str, Any]) -> StepTime:
    facts = model_facts("llama-2-7b", quantization="awq")
    config = EngineConfig(model="x", quantization="awq", dtype="half", max_model_len=2048, **flags)
    return StepTime(accelerator("T4"), facts, config, "0.15.1", constants=constants_for(accelerator("T4"), table()))


def test_from_256_rows_on_dequantising_is_cheaper_and_the_graph_trap_pays_it_always() -> None:
    eager, trapped = _forced({"enforce_eager": True}), _forced({})
    assert eager.linear_mixed[256] < eager.linear_mixed[255]
    assert trapped.r.awq_graph_trap
    assert decode_seconds(trapped, 4, 100) > 2 * decode_seconds(eager, 4, 100)
    assert decode_seconds(trapped, 128, 100) < decode_seconds(eager, 128, 100)


def test_marlin_beats_the_old_kernel_most_at_many_rows() -> None:
    old, marlin = _forced({"enforce_eager": True}), step("T4", enforce_eager=True)
    assert marlin.r.kernel == "marlin"
    gains = [decode_seconds(old, n, 100) / decode_seconds(marlin, n, 100) for n in (1, 16, 64)]
    assert 1.2 < gains[0] < gains[1] < gains[2] < 6


def test_an_l4_decodes_no_faster_than_a_t4_alone_but_prefills_faster() -> None:
    t4, l4, a10g = (step(g, version="0.15.1", attention_backend="FLASHINFER") for g in ("T4", "L4", "A10G"))
    assert decode_seconds(l4, 1, 64) > 0.85 * decode_seconds(t4, 1, 64)
    assert prefill_seconds(l4, 1024) < 0.6 * prefill_seconds(t4, 1024)
    assert 1.5 < decode_seconds(t4, 1, 64) / decode_seconds(a10g, 1, 64) < 2.3


def test_asynchronous_scheduling_hides_the_scheduler_and_old_engines_take_longer() -> None:
    now, sync = step("H100"), step("H100", async_scheduling=False)
    first = step("H100", version="0.7.2", quantization="awq")
    assert decode_seconds(now, 1, 64) < decode_seconds(sync, 1, 64) < decode_seconds(first, 1, 64) + 1e-3


def test_graphs_help_where_launching_takes_longer_than_the_work() -> None:
    graphs, eager = step("H100", "qwen2.5-0.5b", None), step("H100", "qwen2.5-0.5b", None, enforce_eager=True)
    assert decode_seconds(eager, 1, 64) > 1.5 * decode_seconds(graphs, 1, 64)


def test_two_gpus_are_faster_than_one_but_not_twice() -> None:
    one, two = step("A100-80", "llama-2-13b", None), step("A100-80", "llama-2-13b", None, tensor_parallel_size=2)
    assert 1.3 < decode_seconds(one, 8, 512) / decode_seconds(two, 8, 512) < 2.0


def test_a_mixture_reads_few_experts_for_one_row_and_all_for_many() -> None:
    s = step("H100", "qwen3-30b-a3b", None)
    dense = step("H100", "qwen3-32b", None)
    assert decode_seconds(s, 1, 64) < 0.35 * decode_seconds(dense, 1, 64)
    assert decode_seconds(s, 64, 64) > 3 * decode_seconds(s, 1, 64)


def test_a_window_bounds_only_the_layers_that_have_it() -> None:
    """gemma-2-9b: 21 of 42 layers look back 4,096 tokens, so 64 sequences at 8,192 read half as much again."""
    s = step("H100", "gemma-2-9b", None, max_model_len=8192)
    at = {n: decode_seconds(s, 64, n) for n in (2048, 4096, 8192)}
    assert at[8192] - at[4096] == pytest.approx(at[4096] - at[2048], rel=0.02)
    every = step("H100", "mistral-7b", None, max_model_len=32768)
    assert decode_seconds(every, 8, 8192) == pytest.approx(decode_seconds(every, 8, 4096))
    prefill = {n: prefill_seconds(every, n) for n in (16384, 24576, 32768)}
    assert prefill[32768] - prefill[24576] == pytest.approx(prefill[24576] - prefill[16384], rel=0.02)


def test_parts_add_up_to_the_step() -> None:
    s = step("L40S")
    for shape in (
        StepShape(decode_seqs=16, decode_tokens=16, decode_context=16 * 400, sampled=16),
        StepShape(
            decode_seqs=4, decode_tokens=4, decode_context=900, prefill_tokens=512, prefill_pairs=131072, sampled=5
        ),
    ):
        parts = s.parts(shape)
        gpu = parts["linear"] + parts["attention"] + parts["head"]
        assert max(gpu, parts["host"]) + parts["exposed"] == pytest.approx(s.seconds(shape))


def test_generations_and_unknown_constants() -> None:
    assert [generation(accelerator(g)) for g in ("T4", "A10G", "A100-80", "L4", "H100", "B200")] == [
        "turing", "ampere", "ampere_hbm", "ada", "hopper", "blackwell_hbm",
    ]  # fmt: skip
    with pytest.raises(InputError, match=r"no constant 'linear\.marlin\.speed'"):
        constants_for(accelerator("L4")).replaced({"linear.marlin.speed": 1.0})
