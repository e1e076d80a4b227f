"""Recorded answers for the tests of speculation: texts that repeat themselves, as token ids."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st


@dataclass(frozen=True)
class Answered:
    """A prompt and its answer."""

    prompt_ids: tuple[int, ...]
    output_ids: tuple[int, ...]


def texts(words: int = 4, longest: int = 40) -> st.SearchStrategy[Answered]:
    """Short texts of few words, so that n-grams repeat."""
    ids = st.lists(st.integers(0, words), min_size=1, max_size=longest).map(tuple)
    return st.builds(Answered, ids, ids)


def spoken(requests: int, *, seed: int, words: int = 50, prompt: int = 40, output: int = 80) -> list[Answered]:
    """Answers of a Markov chain, in which some words have one likely successor."""
    rng = np.random.default_rng(seed)
    likely = rng.integers(0, words, words)
    sure = rng.uniform(0.3, 0.98, words)

    def text(length: int, word: int) -> list[int]:
        said = [word]
        while len(said) < length:
            word = int(likely[word]) if rng.random() < sure[word] else int(rng.integers(words))
            said.append(word)
        return said

    found = []
    for _ in range(requests):
        whole = text(int(rng.integers(2, prompt)) + int(rng.integers(2, output)), int(rng.integers(words)))
        cut = int(rng.integers(1, len(whole)))
        found.append(Answered(tuple(whole[:cut]), tuple(whole[cut:])))
    return found
