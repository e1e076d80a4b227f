"""Which prompts of a log have a prefix in common: blocks with equal numbers are equal text."""

from __future__ import annotations

from collections.abc import Sequence

from rooftune.workloads.blocks import BLOCK_TOKENS, chain
from rooftune.workloads.logs.entries import LoggedRequest

TEXT_STEP = 64
"""Characters after which the hash of a text is kept."""


def number_blocks(requests: Sequence[LoggedRequest]) -> int:
    """Give the blocks of each prompt their numbers; return how many requests begin like an earlier one.

    A prompt of n tokens has n // 16 blocks. Those that an earlier prompt has too get that prompt's numbers. Token ids
    are compared exactly. Of texts, the common characters are turned into tokens by the ratio of that prompt.
    """
    known: dict[int, int] = {}
    fresh = shared = 0
    for place, request in enumerate(requests):
        content: Sequence[int] | str = request.token_ids or request.text
        tokens = request.prompt_tokens or 0
        blocks = tokens // BLOCK_TOKENS
        step = BLOCK_TOKENS if request.token_ids else TEXT_STEP
        hashes = chain(content, step)
        earlier = next((known[h] for h in reversed(hashes) if h in known), None)
        common: tuple[int, ...] = ()
        if earlier is not None:
            other = requests[earlier]
            same = _common(content, other.token_ids or other.text)
            reached = int(same * tokens / len(content)) if content else 0
            common = other.blocks[: min(blocks, reached // BLOCK_TOKENS)]
        shared += bool(common)
        request.blocks = common + tuple(range(fresh, fresh + blocks - len(common)))
        fresh += blocks - len(common)
        for value in hashes:
            known.setdefault(value, place)
    return shared


def _common(one: Sequence[int] | str, other: Sequence[int] | str) -> int:
    """How many items two contents have in common at their beginning."""
    low, high = 0, min(len(one), len(other))
    while low < high:  # invariant: the first `low` items are equal
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
