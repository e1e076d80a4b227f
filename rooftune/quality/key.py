"""Which configurations can give other answers than the baseline, and which of them give the same as each other."""

from __future__ import annotations

import hashlib
import json
from functools import cache

from rooftune.knobs.entry import knob, knobs, knowledge_base
from rooftune.vllm_rules.config import EngineConfig

SPECULATION = "speculation"
"""The knob of speculative decoding. It should change no answers, which a check of the answers shows."""
ANSWERING = frozenset({
    "revision", "hf_overrides", "hf_config_path", "generation_config", "override_generation_config", "chat_template",
    "tokenizer", "tokenizer_mode", "tokenizer_revision", "load_format", "model_loader_extra_config",
    "attention_config", "kernel_config", "override_attention_dtype", "model_impl", "disable_sliding_window",
    "quantization_config", "kv_cache_dtype_skip_layers", "calculate_kv_scales", "kv_sharing_fast_prefill",
})  # fmt: skip
"""Flags that rooftune does not tune and that can change the answers."""


def answers_key(config: EngineConfig) -> str:
    """Equal for configurations whose answers can differ by rounding alone.

    It depends on the model and on every flag except those that the knowledge base says leave the answers unchanged. A
    flag that the knowledge base does not have may change them.
    """
    flags = {name: value for name, value in config.flags().items() if name not in _unchanging()}
    canonical = json.dumps([config.model, flags], sort_keys=True, default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def model_key(config: EngineConfig) -> str:
    """The same without speculative decoding, which leaves the probabilities of the model as they are."""
    return answers_key(config.with_change(dict.fromkeys(knob(SPECULATION).flags)))


def may_change_answers(config: EngineConfig, baseline: EngineConfig) -> bool:
    """Whether a check of the answers is due, because more than rounding can differ."""
    return answers_key(config) != answers_key(baseline)


def speculates(config: EngineConfig, baseline: EngineConfig) -> bool:
    """Whether the configuration speculates in another way than the baseline: its greedy answers should be the same."""
    ours, theirs = config.flags(), baseline.flags()
    return any(flag in ours and ours[flag] != theirs.get(flag) for flag in knob(SPECULATION).flags)


@cache
def _unchanging() -> frozenset[str]:
    known = {flag for entry in knobs() for flag in entry.flags}
    known |= {flag for untuned in knowledge_base().untuned for flag in untuned.flags}
    changing = {flag for entry in knobs() if entry.changes_outputs for flag in entry.flags}
    return frozenset(known - changing - ANSWERING - set(knob(SPECULATION).flags))
