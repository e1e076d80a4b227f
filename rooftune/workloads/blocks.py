"""Blocks of prompts as a prefix cache compares them: each stands for everything up to its end."""

from __future__ import annotations

from collections.abc import Sequence

BLOCK_TOKENS = 16
"""Tokens of a block, as vLLM caches them."""


def chain(content: Sequence[int] | str, step: int = BLOCK_TOKENS) -> list[int]:
    """A hash of every beginning of a content that ends on a step."""
    found, parent = [], hash(step)
    for start in range(0, len(content) - step + 1, step):
        piece = content[start : start + step]
        parent = hash((parent, piece if isinstance(piece, str) else tuple(piece)))
        found.append(parent)
    return found
