"""What is read from four starts of vLLM 0.23.0 on an H200: plain, FP8, n-gram and with a draft model."""

from __future__ import annotations

from pathlib import Path

import pytest

from rooftune.engines.logs import read_effective
from rooftune.engines.server import EffectiveConfig
from rooftune.engines.start_stages import model_runner, stage_seconds

LOGS = Path(__file__).parent / "logs"


def log(name: str) -> str:
    return (LOGS / f"vllm_0.23.0_h200_{name}.txt").read_text(encoding="utf-8")


def read(name: str) -> EffectiveConfig:
    return read_effective(log(name))


@pytest.mark.parametrize(
    ("name", "tokens", "gib", "weights"),
    [
        ("bf16", 919_824, 112.28, 15.0),
        ("fp8", 972_752, 118.74, 8.51),
        ("ngram", 895_088, 109.27, 15.0),
        ("draft_model", 700_816, 106.94, 17.32),
    ],
)
def test_the_memory_of_a_start(name: str, tokens: int, gib: float, weights: float) -> None:
    found = read(name)
    assert (found.kv_cache_tokens, found.kv_cache_gib, found.weights_gib) == (tokens, gib, weights)


@pytest.mark.parametrize(
    ("name", "runner", "asynchronous", "speculative"),
    [
        ("bf16", "V2", True, None),
        ("fp8", "V2", True, None),
        ("ngram", "V1", False, "ngram"),
        ("draft_model", "V1", False, "draft_model"),
    ],
)
def test_runner_and_scheduling_of_a_start(name: str, runner: str, asynchronous: bool, speculative: str | None) -> None:
    found = read(name)
    assert found.raw["model_runner"] == runner
    assert (found.async_scheduling, found.speculative) == (asynchronous, speculative)
    assert (found.enforce_eager, found.cuda_graphs, found.attention_backend) == (False, True, "FLASH_ATTN")
    assert (found.engine_version, found.max_model_len, found.max_num_batched_tokens) == ("0.23.0", 16384, 8192)


def test_the_kernel_that_was_selected_is_read() -> None:
    assert read("fp8").linear_kernel == "CutlassFP8ScaledMM"
    assert read("bf16").linear_kernel is None


@pytest.mark.parametrize(
    ("name", "took", "estimated"),
    [("bf16", 0.98, None), ("fp8", 0.68, None), ("ngram", 0.40, 0.27), ("draft_model", 0.40, 0.28)],
)
def test_the_memory_of_graphs(name: str, took: float, estimated: float | None) -> None:
    """The V2 runner of 0.23 estimates nothing, so its graphs are not subtracted from the KV cache."""
    raw = read(name).raw
    assert raw["graphs_gib"] == took
    assert raw.get("graphs_estimated_gib") == estimated


def test_draft_tokens_take_a_part_of_the_budget() -> None:
    assert read("draft_model").raw["max_num_scheduled_tokens"] == 7168
    assert "max_num_scheduled_tokens" not in read("bf16").raw


def test_compile_seconds_of_model_and_draft_are_added() -> None:
    assert read("draft_model").raw["compile_s"] == pytest.approx(19.51 + 11.79)
    assert read("bf16").raw["compile_s"] == 20.91
    assert read("bf16").raw["compile_cached"] is False
    assert read_effective(log("bf16") + CACHED).raw["compile_cached"] is True


CACHED = (
    "(EngineCore pid=9) INFO 11-27 16:43:52 [backends.py:292] Directly load the compiled graph(s) for compile range "
    "(1, 8192) from the cache, took 1.818 s\n"
)


def test_the_stages_of_a_start_add_up() -> None:
    stages = stage_seconds(log("bf16"))
    assert stages == {
        "configuration": 18,
        "engine_process": 17,
        "model": 3,
        "compile_and_profile": 24,
        "graphs": 5,
        "warm_up": 19,
    }
    assert sum(stages.values()) == 86  # from 16:35:41 to 16:37:07


def test_a_stage_whose_line_is_missing_is_part_of_the_next() -> None:
    lines = [line for line in log("bf16").splitlines() if "Graph capturing finished" not in line]
    stages = stage_seconds("\n".join(lines))
    assert "graphs" not in stages
    assert stages["warm_up"] == 24


def test_a_log_without_stamps_has_no_stages() -> None:
    assert stage_seconds("Model loading took 15.0 GiB\nINFO 02-30 25:00:00 [x.py:1] Model loading took 1 GiB\n") == {}
    assert model_runner("nothing") is None
