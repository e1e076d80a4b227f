"""Differences between two servers' answers, token by token or answer by answer."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from math import log

import numpy as np

from rooftune.answers.answer import Answer
from rooftune.quality.per_prompt import PerPrompt
from rooftune.quality.scores import NO_TOKEN, Floats, Scored, Scores

LEAST_REST = 1e-5
"""Least probability of all tokens together that are not shared. Below it, rounding of the digits decides."""


def disagreement(ours: Scores, baseline: Scores) -> PerPrompt:
    """Whether the two servers find different tokens most probable at a position."""
    pairs = zip(ours, baseline, strict=True)
    return PerPrompt.of_tokens((a.top_ids[:, 0] != b.top_ids[:, 0]).astype(np.float64) for a, b in pairs)


def divergence(ours: Scores, baseline: Scores) -> PerPrompt:
    """KL divergence at a position, from the baseline's distribution to ours, in nats."""
    return PerPrompt.of_tokens(kl(a, b) for a, b in zip(ours, baseline, strict=True))


def log_perplexity_ratio(ours: Scores, baseline: Scores) -> PerPrompt:
    """Log-probability of a token by the baseline minus ours; the mean is the logarithm of the ratio of perplexities."""
    return PerPrompt.of_tokens(b.logprobs - a.logprobs for a, b in zip(ours, baseline, strict=True))


def kl(ours: Scored, baseline: Scored) -> Floats:
    """KL divergence at each position over the tokens that both servers name, with all others as one bucket.

    Two servers name different tokens where they differ much. Putting tokens into a bucket can only lower the
    divergence, so this is a lower bound. The answer's own token is always named.
    """
    named = baseline.top_ids[:, :, None] == ours.top_ids[:, None, :]
    named &= (baseline.top_ids != NO_TOKEN)[:, :, None]
    at, theirs, mine = np.nonzero(named)
    p, q = np.exp(baseline.top_logprobs[at, theirs]), np.exp(ours.top_logprobs[at, mine])
    found = np.zeros(len(baseline))
    np.add.at(found, at, p * (baseline.top_logprobs[at, theirs] - ours.top_logprobs[at, mine]))
    p_sum, q_sum = np.zeros(len(baseline)), np.zeros(len(baseline))
    np.add.at(p_sum, at, p)
    np.add.at(q_sum, at, q)
    shared = np.zeros(len(baseline), dtype=bool)
    shared[at[baseline.top_ids[at, theirs] == baseline.tokens[at]]] = True
    alone = ~shared  # the answer's own token is not among the best of one of the two
    own_p, own_q = np.exp(baseline.logprobs), np.exp(ours.logprobs)
    found += np.where(alone, own_p * (baseline.logprobs - ours.logprobs), 0.0)
    p_rest = np.maximum(1 - p_sum - np.where(alone, own_p, 0.0), LEAST_REST)
    q_rest = np.maximum(1 - q_sum - np.where(alone, own_q, 0.0), LEAST_REST)
    return np.asarray(found + p_rest * np.log(p_rest / q_rest))


def log_length_ratio(ours: Sequence[Answer], baseline: Sequence[Answer]) -> PerPrompt:
    """Logarithm of the length of our answer over that of the baseline's."""
    pairs = zip(ours, baseline, strict=True)
    return PerPrompt.of_answers(log((len(a.output_ids) + 1) / (len(b.output_ids) + 1)) for a, b in pairs)


def lost_ends(ours: Sequence[Answer], baseline: Sequence[Answer]) -> PerPrompt:
    """1 where only the baseline's answer ends by itself, −1 where only ours does, else 0."""
    ended = [(a.finish_reason == "stop", b.finish_reason == "stop") for a, b in zip(ours, baseline, strict=True)]
    return PerPrompt.of_answers(float(theirs) - float(own) for own, theirs in ended)


def greedy_difference(ours: Sequence[Answer], baseline: Sequence[Answer]) -> PerPrompt:
    """Share of the longer answer after the first token that differs."""
    return PerPrompt.of_answers(1 - _common(a, b) for a, b in zip(ours, baseline, strict=True))


def not_greedy(own: Scores) -> PerPrompt:
    """Whether a token of an answer is not the one that the server that gave it finds most probable."""
    return PerPrompt.of_tokens((s.top_ids[:, 0] != s.tokens).astype(np.float64) for s in own)


def _common(a: Answer, b: Answer) -> float:
    longest = max(len(a.output_ids), len(b.output_ids))
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a.output_ids, b.output_ids, strict=False)))
    return same / longest if longest else 1.0
