"""Scores and answers made up for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rooftune.answers.answer import Answer, Answers
from rooftune.quality.scores import Scored, Scores, scored_of


def entry(probabilities: Mapping[int, float]) -> dict[str, object]:
    """One position as vLLM returns it."""
    ranked = sorted(probabilities, key=lambda t: -probabilities[t])
    return {str(t): {"logprob": float(np.log(probabilities[t])), "rank": ranked.index(t) + 1} for t in ranked}


def one(key: str, tokens: Sequence[int], positions: Sequence[Mapping[int, float]], k: int = 3) -> Scored:
    """The scores of one answer."""
    return scored_of(key, tokens, [None, *map(entry, positions)], k, "http://x")


def scores(*scored: Scored) -> Scores:
    return Scores(scored)


def answer(key: str, tokens: Sequence[int], reason: str = "stop") -> Answer:
    return Answer(key, (1,), tuple(tokens), reason)


def answers(*found: Answer) -> Answers:
    return Answers(found)
