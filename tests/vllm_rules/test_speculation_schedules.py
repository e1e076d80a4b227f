"""Lengths of drafts by batch size: which releases take them, what vLLM refuses, and what a gap means."""

from __future__ import annotations

from typing import Any

import pytest

from rooftune.errors import InputError
from rooftune.hardware.named import accelerator
from rooftune.models.catalogue import model_facts
from rooftune.vllm_rules.config import EngineConfig
from rooftune.vllm_rules.exclusions import refuse_contradictions
from rooftune.vllm_rules.resolve import resolve
from rooftune.vllm_rules.speculation import speculation


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
