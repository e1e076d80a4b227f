"""Suffix decoding: drafts follow the most frequent continuation of the longest useful match.

The algorithm is that of Oliaro et al., "SuffixDecoding" (https://arxiv.org/abs/2411.04975), with the scoring and the
order of equal counts of ArcticInference 0.1 (https://github.com/snowflakedb/ArcticInference), which vLLM 0.15 to 0.33
imports for the method ``suffix``: one tree over the prompt and the answer of a request, and one over the answers of all
requests. For every suffix of the text so far that occurs in a tree, the draft is the likeliest continuation; the draft
with the highest sum of probabilities wins, of equal ones that of the longer match and of the request's own tree.

What the second tree holds depends on which requests ran before and beside: a replay runs them in their order, as many
at once as asked. ArcticInference forgets the oldest answers beyond ``max_cached_requests``; a replay forgets none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rooftune.speculation.suffix_tree import NOTHING, Path, SuffixTree, single
from rooftune.vllm_rules.speculation import SUFFIX_DEPTH

ROUNDING = 1e-6
"""Added before the length of a draft is cut to whole tokens."""


@dataclass(frozen=True)
class SuffixProposer:
    """Drafts up to ``length`` tokens; the defaults are vLLM's."""

    length: int = SUFFIX_DEPTH
    depth: int = SUFFIX_DEPTH
    """``suffix_decoding_max_tree_depth``."""
    factor: float = 1.0
    """``suffix_decoding_max_spec_factor``: drafted tokens per matched token."""
    least_probability: float = 0.1
    """``suffix_decoding_min_token_prob``."""
    remembers: bool = True
    """False with ``suffix_decoding_max_cached_requests`` 0: answers of other requests are not used."""


class SuffixCache:
    """What the requests of one server share."""

    def __init__(self, proposer: SuffixProposer) -> None:
        self.proposer = proposer
        self.answers = SuffixTree(proposer.depth)


class SuffixSession:
    """The drafts of one request."""

    def __init__(self, cache: SuffixCache, prompt: Sequence[int]) -> None:
        self._proposer, self._answers = cache.proposer, cache.answers
        self._least = single(cache.proposer.least_probability)
        self._own = SuffixTree(cache.proposer.depth)
        self._own.begin()
        self._own.extend(0, prompt)
        self._mine = self._answers.begin() if cache.proposer.remembers else None

    def extend(self, tokens: Sequence[int]) -> None:
        """The answer has grown by these tokens."""
        self._own.extend(0, tokens)
        if self._mine is not None:
            self._answers.extend(self._mine, tokens)

    def propose(self, most: int) -> list[int]:
        """The draft for the text so far, of at most ``most`` tokens."""
        most = min(most, self._proposer.length)
        context = self._own.texts[0][-self._proposer.depth :]
        own = self._best(self._own, 0, len(context), most, NOTHING)
        if self._mine is None:
            return own.tokens
        shared = self._best(self._answers, self._mine, len(context), most, NOTHING)
        shared = self._beyond_answer(context, most, shared)
        return own.tokens if own.score >= shared.score else shared.tokens

    def _best(self, tree: SuffixTree, sequence: int, context: int, most: int, best: Path) -> Path:
        """The best draft over all suffixes of a sequence of the tree that occur elsewhere too."""
        known = len(tree.texts[sequence])
        for suffix in reversed(tree.active[sequence]):
            matched = known - suffix.start
            if matched >= context:
                break
            best = self._better(tree, suffix.node, matched, most, best)
        return best

    def _beyond_answer(self, context: list[int], most: int, best: Path) -> Path:
        """Matches that begin in the prompt, while the answer is short."""
        assert self._mine is not None
        for matched in range(len(self._answers.texts[self._mine]) + 1, len(context)):
            node = self._answers.find(context[-matched:])
            if node is None:
                break
            best = self._better(self._answers, node, matched, most, best)
        return best

    def _better(self, tree: SuffixTree, node: int, matched: int, most: int, best: Path) -> Path:
        limit = min(most, int(matched * self._proposer.factor + ROUNDING))
        found = tree.draft(node, matched, limit, self._least)
        return found if found.score >= best.score else best
