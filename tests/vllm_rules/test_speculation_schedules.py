"""Lengths of drafts by batch size: which releases take them, what vLLM refuses, and what a gap means."""

from __future__ import annotations

from typing import Any

import pytest

from rooftune.errors import InputError
from rooftune.hardware.named import accelerator
from rooftune.models.catalogue import model_facts
from rooftune.simulator.steptime.model import StepTime
from rooftune.vllm_rules.config import EngineConfig
from rooftune.vllm_rules.exclusions import refuse_contradictions
from rooftune.vllm_rules.resolve import Resolved, resolve
from rooftune.vllm_rules.speculation import SCHEDULE, speculation


def config(schedule: Any = None, **more: Any) -> EngineConfig:
    asked = {"method": "eagle3", "model": "head", "num_speculative_tokens": 3, **more}
    if schedule is not None:
        asked["num_speculative_tokens_per_batch_size"] = schedule
    return EngineConfig(model="m", max_num_seqs=12, speculative_config=asked)


def test_a_gap_and_the_tail_have_the_length_before_them_and_none_is_above_the_maximum() -> None:
    spec = speculation(config([[1, 4, 5], [7, 8, 1]]))
    assert spec is not None
    assert spec.lengths(10) == (3, 3, 3, 3, 3, 3, 3, 1, 1, 1, 1)
    plain = speculation(config())
    assert plain is not None
    assert plain.lengths(10) == ()


def test_the_engine_has_a_length_for_every_batch() -> None:
    found = resolve(accelerator("L4"), model_facts("llama-3.1-8b"), config([[1, 8, 3], [9, 64, 0]]), "0.32.0")
    assert found.speculative_lengths == (3,) * 9 + (0,) * 4


@pytest.mark.parametrize(
    ("schedule", "reason"),
    [
        ([], "is a list of"),
        ("1:3", "is a list of"),
        ([[1, 4]], "is a list of"),
        ([[1, 4, 2.5]], "is a list of"),
        ([[2, 4, 3]], "begins at batch size 1"),
        ([[1, 4, 3], [4, 8, 1]], "do not overlap"),
        ([[1, 0, 3]], "ends at or after"),
        ([[1, 4, -1]], "no length is negative"),
    ],
)
def test_what_vllm_refuses_is_refused_with_the_reason(schedule: Any, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        refuse_contradictions(config(schedule), "0.32.0")


def test_older_releases_have_none() -> None:
    with pytest.raises(InputError, match="has no num_speculative_tokens_per_batch_size"):
        refuse_contradictions(config([[1, 8, 3]]), "0.23.0")
    refuse_contradictions(config([[1, 8, 3]]), "0.29.0")


def test_suffix_decoding_needs_no_length() -> None:
    asked = EngineConfig(model="m", speculative_config={"method": "suffix"})
    refuse_contradictions(asked, "0.32.0")
    spec = speculation(asked)
    assert spec is not None
    assert spec.tokens == 24
    deeper = speculation(
        EngineConfig(model="m", speculative_config={"method": "suffix", "suffix_decoding_max_tree_depth": 64})
    )
    assert deeper is not None
    assert deeper.tokens == 64


def test_a_schedule_needs_the_second_runner_for_full_graphs_and_one_rank() -> None:
    def found(version: str, **more: Any) -> Resolved:
        asked = {"method": "ngram", "num_speculative_tokens": 3, SCHEDULE: [[1, 8, 3], [9, 64, 1]]}
        config = EngineConfig(model="m", max_model_len=4096, speculative_config=asked).with_change(more)
        return resolve(accelerator("L4"), model_facts("llama-3.1-8b"), config, version)

    first, second = found("0.29.0"), found("0.32.0")
    assert (first.runner, first.full_decode_graphs) == ("V1", False)
    assert (second.runner, second.full_decode_graphs) == ("V2", True)
    assert "a schedule of lengths needs the V2 runner" in " ".join(first.notes)
    assert found("0.32.0", data_parallel_size=2).speculative_lengths == ()


def test_an_fp8_kv_cache_with_drafts_is_noted_and_its_launches_take_time() -> None:
    def found(**more: Any) -> StepTime:
        head = {"method": "eagle3", "model": "head", "num_speculative_tokens": 3}
        facts = model_facts("qwen2.5-0.5b")
        config = EngineConfig(model="m", max_model_len=4096, speculative_config=head).with_change(more)
        return StepTime(accelerator("L4"), facts, config, "0.32.0")

    plain, fp8, triton = (
        found(),
        found(kv_cache_dtype="fp8"),
        found(kv_cache_dtype="fp8", attention_backend="TRITON_ATTN"),
    )
    assert "kv_cache_dtype=fp8 selects FlashInfer" in " ".join(fp8.r.notes)
    assert not any("one CUDA graph" in note for s in (plain, triton) for note in s.r.notes)
    assert fp8.host_decode[1] == fp8.host_mixed[1] > plain.host_decode[1] == triton.host_decode[1]
    without = StepTime(
        accelerator("L4"), model_facts("qwen2.5-0.5b"), EngineConfig(model="m", kv_cache_dtype="fp8"), "0.32.0"
    )
    assert without.r.full_decode_graphs
