"""Paths on the measuring machine that a configuration names: a deployment has to provide them."""

from __future__ import annotations

from collections.abc import Iterator

from rooftune.vllm_rules.config import EngineConfig


def local_paths(config: EngineConfig) -> list[str]:
    """Absolute paths in the flags, at any depth, without duplicates."""
    return list(dict.fromkeys(_absolute({"model": config.model, **config.flags()})))


def _absolute(value: object) -> Iterator[str]:
    if isinstance(value, str):
        if value.startswith("/") and len(value) > 1:
            yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _absolute(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _absolute(inner)
