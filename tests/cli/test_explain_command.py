"""``rooftune explain``: all knobs, one knob, and its values on some hardware."""

from __future__ import annotations

import pytest


def test_without_a_knob_all_are_listed(rooftune) -> None:
    ended = rooftune("explain")
    assert ended.code == 0
    assert "max_num_batched_tokens" in ended.out
    assert "power_limit" in ended.out
    names = [k["name"] for k in rooftune("explain", "--json").json["knobs"]]
    assert "weights" in names


def test_a_knob_is_explained_with_traps_and_sources(rooftune) -> None:
    ended = rooftune("explain", "kv_cache_dtype")
    assert ended.code == 0
    for word in ("Relieves", "KV capacity", "Traps", "Sources", "https://docs.vllm.ai"):
        assert word in ended.out


def test_values_are_those_of_the_named_hardware(rooftune) -> None:
    found = rooftune("explain", "--gpu", "T4", "--json", "kv_cache_dtype").json["here"]
    assert found["values"] == ["INT8 KV cache"]
    assert "needs 8.9" in found["dropped"][0]
    shown = rooftune("explain", "kv_cache_dtype", "--gpu", "T4", "--engine-version", "0.15.1").out
    assert "**meta-llama/Llama-3.1-8B-Instruct on T4, vLLM 0.15.1, rag-medium:** FP8 KV cache" in shown


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["max_seqs"], "did you mean 'max_num_seqs'"),
        (["swap_space"], "does not tune swap_space"),
        (["weights", "--model", "qwen2.5-7b"], "name the GPU with --gpu"),
        (["weights", "--gpu", "T5"], "unknown GPU"),
    ],
)
def test_wrong_input_is_one_sentence(rooftune, words: list[str], sentence: str) -> None:
    ended = rooftune("explain", *words)
    assert ended.code == 2
    assert sentence in ended.sentence()
