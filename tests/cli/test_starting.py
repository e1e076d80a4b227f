"""Whether a server would start, as predict, plan, steptime and simulate say it: one behaviour and one set of words."""

from __future__ import annotations

import pytest

L4 = ("--gpu", "L4", "--model", "llama-3.1-8b")
WHOLE = (*L4, "--set", "max_model_len=131072")
FP8 = ("--gpu", "A10G", "--model", "llama-3.1-8b", "--engine-version", "0.29.0", "--set", "quantization=fp8")
SET = "max_model_len 2048 set by rooftune: the model's 131,072 tokens need 16 GiB of KV cache, "


def test_the_context_of_the_workload_is_set_where_the_models_own_does_not_fit(rooftune) -> None:
    assert SET in rooftune("predict", "chat-low", *L4).out
    found = rooftune("predict", "chat-low", *L4, "--json").json
    assert found["context"]["tokens"] == 2048
    planned = rooftune("plan", "chat-low", "--search", "ladder", *L4)
    assert planned.out.count(SET) == 1
    plan = rooftune("plan", "chat-low", "--search", "ladder", *L4, "--json").json
    assert plan["context"] == found["context"]
    assert "--max-model-len 2048" in plan["candidates"][0]["command"]
    assert plan["refusal"] is None
    assert rooftune("predict", "chat-low", *L4, "--sweep", "max_num_seqs=8,16").out.count(SET) == 1


def test_the_memory_of_a_prediction_adds_up(rooftune) -> None:
    m = rooftune("predict", "chat-low", *L4, "--json").json["memory"]
    parts = ("weights_bytes", "activations_bytes", "graphs_bytes", "kv_cache_bytes")
    assert m["limit_bytes"] == pytest.approx(sum(m[name] for name in parts), abs=4)
    assert m["limit_bytes"] == pytest.approx(0.92 * m["total_bytes"], rel=1e-6)
    assert m == rooftune("plan", "chat-low", "--search", "ladder", *L4, "--json").json["memory"]


@pytest.mark.parametrize(
    "words",
    [
        ("predict", "chat-low", *WHOLE),
        ("predict", "chat-low", *WHOLE, "--sweep", "max_num_seqs=8,16,32"),
        ("steptime", *WHOLE),
        ("simulate", *WHOLE, "--port", "8123"),
        ("simulate", *L4, "--port", "8123"),
    ],
    ids=lambda words: f"{words[0]}-{len(words)}",
)
def test_a_context_that_the_user_set_is_refused_once_with_the_value_to_set(rooftune, words: tuple[str, ...]) -> None:
    ended = rooftune(*words)
    assert ended.code == 1
    sentence = ended.sentence()
    assert sentence.count("To serve at least one request with the model's max seq len (131072)") == 1
    value = sentence.rpartition("It would start with max_model_len=")[2].rstrip(".")
    assert rooftune("predict", "chat-low", *L4, "--set", f"max_model_len={value}").code == 0


def test_values_that_do_not_start_are_explained_once_below_the_table(rooftune) -> None:
    ended = rooftune("predict", "chat-low", *L4, "--sweep", "max_model_len=2048,65536,131072")
    assert ended.code == 0
    assert ended.out.count("would not start (longest-request)") == 2
    assert ended.out.count("To serve at least one request") == 1
    assert "Would not start (longest-request) with 65536, 131072:" in ended.out
    rows = rooftune("predict", "chat-low", *L4, "--sweep", "max_model_len=2048,65536", "--json").json["rows"]
    assert [row.get("rule") for row in rows] == [None, "longest-request"]


@pytest.mark.slow
def test_a_plan_says_once_that_its_baseline_would_not_start(rooftune) -> None:
    ended = rooftune("plan", "chat-low", *FP8)
    assert ended.code == 0
    assert ended.out.count("CutlassFP8ScaledMMLinearKernel") == 1
    assert "It would start with linear_backend=marlin" in ended.out
    assert "vLLM issues 53376 and 55008" in ended.out
    plan = rooftune("plan", "chat-low", *FP8, "--json").json
    assert plan["refusal"]["rule"] == "fp8-weight-only"
    assert not plan["refusal"]["estimated"]
    assert rooftune("plan", "chat-low", *FP8, "--set", "linear_backend=marlin", "--json").json["refusal"] is None


@pytest.mark.parametrize("words", [("predict", "chat-low", *FP8), ("steptime", *FP8)], ids=lambda words: words[0])
def test_a_kernel_that_the_version_lacks_is_refused_with_the_flag_that_avoids_it(
    rooftune, words: tuple[str, ...]
) -> None:
    ended = rooftune(*words)
    assert ended.code == 1
    assert "It would start with linear_backend=marlin" in ended.sentence()
    assert rooftune(*words, "--set", "linear_backend=marlin").code == 0
