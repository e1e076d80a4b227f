"""The n-gram proposer: it drafts what followed an earlier occurrence of the last tokens.

Read in vLLM 0.32, ``v1/spec_decode/ngram_proposer.py`` (method ``ngram``) and ``ngram_proposer_gpu.py``
(``ngram_gpu``). Both look for the longest n-gram, of ``prompt_lookup_min`` to ``prompt_lookup_max`` tokens, that ends
the text so far and occurs before; of several occurrences they take the first one in the text, and draft up to
``num_speculative_tokens`` tokens that follow it. They differ only in where they run, so one replay serves both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

DEFAULT_LOOKUP = 5
"""vLLM's ``prompt_lookup_min`` and ``prompt_lookup_max`` where neither is set (``config/speculative.py``)."""


@dataclass(frozen=True)
class NgramProposer:
    """Drafts up to ``length`` tokens."""

    length: int
    shortest: int = DEFAULT_LOOKUP
    """``prompt_lookup_min``."""
    longest: int = DEFAULT_LOOKUP
    """``prompt_lookup_max``."""


NO_MATCH = -1


def draft_starts(tokens: Sequence[int], begin: int, shortest: int, longest: int) -> list[int]:
    """Where the draft begins for each length of the known text from ``begin`` on: ``NO_MATCH`` where nothing matches.

    The draft for a known text of n tokens is ``tokens[start:n]``, cut to the length of a draft.
    """
    sizes = range(longest, shortest - 1, -1)
    first: dict[int, dict[tuple[int, ...], int]] = {size: {} for size in sizes}
    text = tuple(tokens)
    starts = []
    for known in range(1, len(text)):
        start = NO_MATCH
        for size in sizes:
            if size > known:
                continue
            ngram = text[known - size : known]
            seen = first[size].setdefault(ngram, known)
            if start == NO_MATCH and seen < known:
                start = seen
        if known >= begin:
            starts.append(start)
    return starts
