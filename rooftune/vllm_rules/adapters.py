"""LoRA adapters: the flags that a server needs for those of a workload, and the adapters that flags name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rooftune.vllm_rules.config import FlagValue
from rooftune.workloads.adapters import LoraAdapter

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Values of ``max_lora_rank`` (config/lora.py of vLLM 0.32.0)."""
DEFAULT_RANK = 16


def adapter_flags(adapters: Sequence[LoraAdapter]) -> dict[str, FlagValue]:
    """The flags with which a server has these adapters, all of them in one batch. One without a path is its name."""
    if not adapters:
        return {}
    flags: dict[str, FlagValue] = {"enable_lora": True, "max_loras": len(adapters)}
    rank = max(a.rank or DEFAULT_RANK for a in adapters)
    if rank > DEFAULT_RANK:
        flags["max_lora_rank"] = next(r for r in RANKS if r >= rank)
    flags["lora_modules"] = " ".join(f"{a.name}={a.path or a.name}" for a in adapters)
    return flags


def adapter_names(flags: Mapping[str, FlagValue]) -> list[str]:
    """The names of the adapters that ``lora_modules`` has."""
    return [word.partition("=")[0] for word in str(flags.get("lora_modules") or "").split() if "=" in word]
