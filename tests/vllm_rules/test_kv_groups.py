"""The KV cache of models whose layers keep different tokens, against figures from vLLM's logs and issues."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rooftune.hardware.named import accelerator
from rooftune.models.config_json import from_config
from rooftune.models.facts import ModelFacts
from rooftune.vllm_rules.config import EngineConfig
from rooftune.vllm_rules.defaults import GIB
from rooftune.vllm_rules.kv_groups import KvPool, kv_pool
from rooftune.vllm_rules.memory import memory_budget
from rooftune.vllm_rules.refusals import StartRefused
from rooftune.vllm_rules.resolve import Resolved, resolve

CONFIGS = Path(__file__).parents[1] / "models" / "data" / "configs"


def facts_of(name: str) -> ModelFacts:
    return from_config(CONFIGS / f"{name}.json")


def resolved(model: str, gpu: str, version: str, **flags: Any) -> Resolved:
    return resolve(accelerator(gpu), facts_of(model), EngineConfig(model="m").with_change(flags), version)


def pool(model: str, gpu: str, version: str, **flags: Any) -> KvPool:
    return kv_pool(facts_of(model), resolved(model, gpu, version, **flags))


def test_gemma_3_4b_as_logged_by_0_11() -> None:
    """ovg-project/kvcached issue 215: "Add 1 padding layers", 317,136 tokens, 102.78 requests of 3,072 tokens."""
    r = resolved("gemma-3-4b", "A100-80", "0.11.0", max_model_len=3072)
    found = kv_pool(facts_of("gemma-3-4b"), r)
    assert sorted(g.layers for g in found.groups) == [4, 5, 5, 5, 5, 5, 5]
    blocks = 138_753
    assert found.logged_tokens(blocks, 3072, r) == 317_136
    assert blocks / found.reserved_blocks(3072) == pytest.approx(102.78, abs=0.005)


@pytest.mark.parametrize(("version", "needed_gib"), [("0.25.1", 45.79), ("0.26.0", 70.79)])
def test_gemma_4_31b_needs_what_issue_49878_says(version: str, needed_gib: float) -> None:
    """262,144 tokens and a budget of 32,768; from 0.26 on the tokens of two steps are held."""
    found = pool("gemma-4-31b", "B200", version, max_model_len=262144, max_num_batched_tokens=32768)
    assert [(g.layers, g.block_tokens, g.window) for g in found.groups] == [*[(10, 16, 1024)] * 5, (10, 32, None)]
    assert found.bytes_per_block == 10 * 256 * 1024
    assert found.reserved_blocks(262144) * found.bytes_per_block / GIB == pytest.approx(needed_gib, abs=0.01)


@pytest.mark.parametrize(
    ("model", "gpu", "version", "flags", "weights_gib", "kv_gib"),
    [
        ("gpt-oss-20b", "A100-80", "0.19.0", {"gpu_memory_utilization": 0.65, "max_model_len": 131072}, 13.72, 36.56),
        ("gemma-4-26b-a4b", "A100-80", "0.19.0",
         {"gpu_memory_utilization": 0.9, "max_model_len": 131072, "enforce_eager": True}, 48.5, 21.5),
    ],
)  # fmt: skip
def test_memory_of_models_with_windows_as_logged(
    model: str, gpu: str, version: str, flags: dict[str, Any], weights_gib: float, kv_gib: float
) -> None:
    """myoceane.fr, April 2026: vLLM 0.19.0 on an A100."""
    found = memory_budget(accelerator(gpu), facts_of(model), resolved(model, gpu, version, **flags))
    assert found.weights_bytes / GIB == pytest.approx(weights_gib, rel=0.01)
    assert found.kv_cache_bytes / GIB == pytest.approx(kv_gib, rel=0.02)


@pytest.mark.parametrize(("version", "loaded_gib"), [("0.11.0", 65.97), ("0.14.1", 64.38)])
def test_mxfp4_experts_are_padded_as_gpt_oss_120b_was_on_an_h100(version: str, loaded_gib: float) -> None:
    """vLLM issues 23278 (Marlin) and 33155 (Triton)."""
    flags = {"gpu_memory_utilization": 0.95, "max_model_len": 4096, "max_num_seqs": 64}
    found = memory_budget(
        accelerator("H100"), facts_of("gpt-oss-120b"), resolved("gpt-oss-120b", "H100", version, **flags)
    )
    assert found.weights_bytes / GIB == pytest.approx(loaded_gib, rel=0.005)


def test_gpt_oss_120b_does_not_start_on_an_h100_as_users_found() -> None:
    """vLLM issue 27508: with 0.95 and a budget of 1,024, 1.71 GiB are left, less than 131,072 tokens need."""
    flags = {"gpu_memory_utilization": 0.95, "max_num_batched_tokens": 1024}
    with pytest.raises(StartRefused, match=r"available KV cache memory \((1\.|2\.)"):
        memory_budget(
            accelerator("H100"), facts_of("gpt-oss-120b"), resolved("gpt-oss-120b", "H100", "0.11.0", **flags)
        )


def test_a_model_without_windows_has_one_group_and_whole_blocks() -> None:
    r = resolved("qwen3-8b", "A100-80", "0.32.0", max_model_len=4100)
    found = kv_pool(facts_of("qwen3-8b"), r)
    assert len(found.groups) == 1
    assert found.logged_tokens(1000, 4100, r) == 16_000
    assert found.tokens_per_block(np.array([64.0, 640.0])) == 16


def test_without_the_hybrid_manager_windows_keep_every_token() -> None:
    found = pool("gemma-3-12b", "A100-80", "0.32.0", disable_hybrid_kv_cache_manager=True)
    assert not found.has_windows
    assert found.reserved_blocks(131072) == 8192


def test_longer_sequences_get_more_tokens_out_of_a_block() -> None:
    """Gemma 3 27B: seven groups below the window of 1,024; far above it the one group with all tokens decides."""
    found = pool("gemma-3-27b", "H100", "0.32.0", max_model_len=32768)
    short, long = found.tokens_per_block(np.array([512.0])), found.tokens_per_block(np.array([32768.0]))
    assert short == pytest.approx(16 / 7)
    assert long == pytest.approx(32768 / (2048 + 6 * 65))
    mixed = found.tokens_per_block(np.array([512.0, 32768.0]), np.array([3.0, 1.0]))
    assert short < mixed < long
