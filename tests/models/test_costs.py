"""What a model costs: bytes and floating point operations, checked against published sizes and against each other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rooftune.models import costs
from rooftune.models.catalogue import model_facts, model_names

GIB = 1024**3
NAMES = st.sampled_from(model_names())


@pytest.mark.parametrize(
    ("name", "quantization", "gib"),
    [
        ("llama-2-7b", "none", 12.55),  # 12.5523 GiB in vLLM's log
        ("llama-2-7b", "awq", 3.67),  # vLLM's log of the T4 experiment, its buffers counted in
        ("llama-3-8b", "none", 14.96),
        ("qwen2.5-0.5b", "none", 0.93),
    ],
)
def test_weights_as_the_engine_loads_them(name: str, quantization: str, gib: float) -> None:
    facts = model_facts(name, quantization=quantization)
    assert costs.weight_bytes(facts) / GIB == pytest.approx(gib, rel=0.02)


def test_scales_of_a_whole_column_cost_little() -> None:
    grouped = model_facts("llama-2-7b", quantization="gptq")
    column = grouped.model_copy(update={"group_size": -1})
    assert 0.5 < costs.bytes_per_linear_weight(column) < costs.bytes_per_linear_weight(grouped)
    eight = grouped.model_copy(update={"weight_bits": 8})
    assert costs.bytes_per_linear_weight(eight) > 1.0


def test_flops_of_a_token_are_about_two_per_weight() -> None:
    facts = model_facts("llama-2-7b")
    assert costs.flops_per_token(facts, 0) == pytest.approx(2 * 6.607e9, rel=0.001)
    assert costs.flops_per_token(facts, 1000) - costs.flops_per_token(facts, 0) == 4 * 32 * 4096 * 1000


def test_a_window_bounds_attention() -> None:
    facts = model_facts("mistral-7b")
    assert costs.flops_per_token(facts, 8192) == costs.flops_per_token(facts, 4096)
    assert costs.kv_read_bytes(facts, 1, 8192) == costs.kv_read_bytes(facts, 1, 4096)
    whole = facts.model_copy(
        update={"attention": tuple(a.model_copy(update={"window": None}) for a in facts.attention)}
    )
    assert costs.prefill_flops(facts, 4096) == costs.prefill_flops(whole, 4096)
    assert costs.prefill_flops(facts, 8192) < costs.prefill_flops(whole, 8192)


def test_a_mixture_reads_the_experts_it_needs() -> None:
    facts = model_facts("mixtral-8x7b")
    one, all_of_them = costs.touched_linear_bytes(facts, 1), costs.touched_linear_bytes(facts, 1000)
    assert one == pytest.approx(2 * facts.active_linear_parameters, rel=0.001)
    assert all_of_them == pytest.approx(costs.linear_bytes(facts), rel=0.001)


@given(name=NAMES, batch=st.integers(1, 512), context=st.integers(0, 16000), more=st.integers(1, 1000))
def test_more_work_never_costs_less(name: str, batch: int, context: int, more: int) -> None:
    facts = model_facts(name)
    assert costs.decode_bytes(facts, batch + more, context) >= costs.decode_bytes(facts, batch, context)
    assert costs.decode_bytes(facts, batch, context + more) >= costs.decode_bytes(facts, batch, context)
    assert costs.flops_per_token(facts, context + more) >= costs.flops_per_token(facts, context)
    assert costs.prefill_flops(facts, context + more) > costs.prefill_flops(facts, context)
    assert costs.decode_bytes(facts, batch, context) <= costs.weight_bytes(facts) * 1.001 + costs.kv_read_bytes(
        facts, batch, context
    )


@given(name=NAMES, tokens=st.integers(1, 8000))
def test_a_prompt_costs_what_its_tokens_cost(name: str, tokens: int) -> None:
    facts = model_facts(name)
    one_by_one = (
        sum(costs.flops_per_token(facts, (i + 0.5) * tokens / 20, lm_head=False) for i in range(20)) * tokens / 20
    )
    assert costs.prefill_flops(facts, tokens) == pytest.approx(one_by_one + 2.0 * facts.embedding_parameters, rel=0.02)
