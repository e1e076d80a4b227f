"""Every entry of the knowledge base: complete, with sources, and in agreement with the registry and the rules."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from cases import context

from rooftune.errors import InputError
from rooftune.knobs.context import SpaceContext
from rooftune.knobs.effective import effective_key
from rooftune.knobs.entry import Exclusion, Knob, knob, knobs, knowledge_base
from rooftune.knobs.explanation import page
from rooftune.knobs.setting import applied
from rooftune.knobs.values import RULES
from rooftune.vllm_rules import refusals
from rooftune.vllm_rules.capabilities import CPU as CPU_RULES
from rooftune.vllm_rules.capabilities import CUDA as CUDA_RULES
from rooftune.vllm_rules.config import EngineConfig
from rooftune.vllm_rules.exclusions import refuse_contradictions
from rooftune.vllm_rules.flag_entries import registry
from rooftune.vllm_rules.refusals import StartRefused

ALL = knobs()
SOURCE = re.compile(r"^(https://|vllm/|vLLM |docs/|NVIDIA[ -]|measured |arithmetic|bench\.)")
REQUIRED = {
    "dtype", "weights", "kv_cache_dtype", "max_num_seqs", "max_num_batched_tokens", "long_prefill_token_threshold",
    "max_model_len", "gpu_memory_utilization", "graphs", "cuda_graph_sizes", "attention_backend", "async_scheduling",
    "performance_mode", "prefill_schedule_interval", "prefix_caching", "scheduling_policy", "stream_interval",
    "api_server_count", "moe_backend", "kv_offload", "speculation", "replicas", "tensor_parallel_size", "power_limit",
}  # fmt: skip


def key(c: SpaceContext, config: EngineConfig) -> str:
    """What a configuration comes to in the engine."""
    start = c.start_of(config)
    assert start is not None
    return effective_key(config, start.resolved, c.engine_version)


def test_the_space_has_at_least_these_knobs() -> None:
    assert {k.name for k in ALL} >= REQUIRED


def test_every_flag_of_the_registry_is_a_knob_or_has_a_reason_why_not() -> None:
    tuned = [flag for k in ALL for flag in k.flags]
    untuned = [flag for u in knowledge_base().untuned for flag in u.flags]
    assert sorted([*tuned, *untuned]) == sorted(registry()), "each flag exactly once"


@pytest.mark.parametrize("k", ALL, ids=lambda k: k.name)
def test_a_searched_knob_has_a_rule_and_another_has_none(k: Knob) -> None:
    assert (k.name in RULES) == (k.status == "searched")


def test_no_rule_is_without_a_knob() -> None:
    assert set(RULES) <= {k.name for k in ALL}


@pytest.mark.parametrize("k", ALL, ids=lambda k: k.name)
def test_needs_and_refusals_are_known_to_the_rules(k: Knob) -> None:
    assert {n.capability for n in k.needs} <= {*CUDA_RULES, *CPU_RULES}
    assert set(k.refused_by) <= set(refusals.RULES)


@pytest.mark.parametrize("k", ALL, ids=lambda k: k.name)
def test_every_statement_names_a_source(k: Knob) -> None:
    statements = [k.expected, *k.traps]
    assert all(SOURCE.match(s.source) for s in statements), [s.source for s in statements]
    assert all(SOURCE.match(s) for s in k.sources), k.sources
    low, high = k.expected.low, k.expected.high
    assert (low is None) == (high is None)
    assert low is None or high is None or 0 < low < high


@pytest.mark.parametrize(
    ("k", "excluded"), [(k, x) for k in ALL for x in k.excludes], ids=lambda v: v.name if isinstance(v, Knob) else ""
)
def test_what_an_entry_excludes_is_refused_or_has_no_effect(k: Knob, excluded: Exclusion) -> None:
    c = context("A100-80", version="0.32.0", engine="vllm")
    config = applied(c.baseline, excluded.example)
    if excluded.outcome == "no effect":
        assert key(c, config) == key(c, applied(config, dict.fromkeys(k.flags)))
        return
    with pytest.raises((InputError, StartRefused)):
        refuse_contradictions(config, c.engine_version)
        start = c.start_of(config)
        assert start is not None
        if start.error:
            raise start.error


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("weights", "weights"),
        ("--max-num-seqs", "max_num_seqs"),
        ("enforce_eager", "graphs"),
        ("kv-offload", "kv_offload"),
    ],
)
def test_a_knob_is_found_by_its_name_or_by_a_flag(asked: str, found: str) -> None:
    assert knob(asked).name == found


@pytest.mark.parametrize(
    ("asked", "words"), [("max_seqs", "did you mean 'max_num_seqs'"), ("swap_space", "does not tune swap_space")]
)
def test_another_name_is_an_error_with_a_way_out(asked: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        knob(asked)


def test_the_page_in_the_documentation_is_made_from_the_data() -> None:
    written = (Path(__file__).parents[2] / "docs" / "knobs.md").read_text(encoding="utf-8")
    assert written == page(), "run: python -m rooftune.knobs.explanation >docs/knobs.md"
