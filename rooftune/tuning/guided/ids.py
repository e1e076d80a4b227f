"""A short id for each configuration that a reader understands: ``awq_marlin+fp8-kv+seqs128``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from rooftune.knobs.configuration import Configuration, KnobValue

WORDS = {
    ("weights", "fp8"): "fp8-weights",
    ("weights", "int8"): "int8-weights",
    ("kv_cache_dtype", "int8_per_token_head"): "int8-kv",
    ("async_scheduling", "False"): "async-off",
    ("async_scheduling", "True"): "async",
    ("prefix_caching", "False"): "prefix-cache-off",
}
PATTERNS = {
    "weights": "{}",
    "kv_cache_dtype": "{}-kv",
    "graphs": "{}",
    "dtype": "{}",
    "max_num_seqs": "seqs{}",
    "max_num_batched_tokens": "tokens{}",
    "attention_backend": "{}",
    "gpu_memory_utilization": "mem{}",
    "max_model_len": "len{}",
    "long_prefill_token_threshold": "prefill{}",
    "stream_interval": "stream{}",
    "tensor_parallel_size": "tp{}",
    "performance_mode": "{}",
    "scheduling_policy": "{}",
}
"""How a knob and its value are written; any other as ``knob-value``."""


def ids_of(configurations: Sequence[Configuration], known: Mapping[int, str]) -> list[str]:
    """One id per configuration, all different; ``known`` gives some of them by place."""
    taken = Counter(known.values())
    found = []
    for i, configuration in enumerate(configurations):
        if i in known:
            found.append(known[i])
            continue
        plain = id_of(configuration)
        taken[plain] += 1
        found.append(plain if taken[plain] == 1 else f"{plain}-{taken[plain]}")
    return found


def id_of(configuration: Configuration) -> str:
    """The id that follows from the knobs alone."""
    parts = [_part(knob, configuration.values.get(knob, label)) for knob, label in configuration.labels.items()]
    return "+".join(parts) or "baseline"


def _part(knob: str, value: KnobValue) -> str:
    if knob == "weights" and isinstance(value, str):
        value = value.rstrip("/").rsplit("/", 1)[-1]  # a checkpoint's folder or owner says nothing
    text = WORDS.get((knob, str(value)))
    if text is None:
        plain = f"{value:.12g}" if isinstance(value, float) else str(value)
        text = plain if knob == plain else PATTERNS.get(knob, knob + "-{}").format(plain)
    text = text.replace("_ATTN", "-attn")
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._") or "x"
