"""Counts of all substrings up to a depth, of sequences that grow: the data structure of suffix decoding.

A node is a substring; its count is how often the substring occurs. A substring that occurs once is a leaf, which refers
to the place where it occurs instead of having a node for each of its continuations. Suffixes of a growing sequence that
end at an inner node are *active*: the next token moves them on.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from struct import Struct
from typing import NamedTuple

ROOT = 0
INNER = -1


class ActiveSuffix(NamedTuple):
    """A suffix of a growing sequence, and the node at which it ends."""

    start: int
    node: int


class Path(NamedTuple):
    """A draft, and the sum of the estimated probabilities of its tokens."""

    tokens: list[int]
    score: float


NOTHING = Path([], 0.0)
_SINGLE = Struct("f")


def single(value: float) -> float:
    """A number rounded to single precision, in which ArcticInference adds up probabilities: it decides between equal
    drafts."""
    return float(_SINGLE.unpack(_SINGLE.pack(value))[0])


class SuffixTree:
    """The tree of some sequences, numbered from 0 in the order in which they begin."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.texts: list[list[int]] = []
        self.active: list[list[ActiveSuffix]] = []
        """Of each sequence, the longest suffix first."""
        self._count = [0]
        self._token = [-1]
        self._owner = [INNER]
        """Of a leaf, the sequence in which it occurs."""
        self._start = [0]
        """Of a leaf, where it occurs there."""
        self._child: dict[tuple[int, int], int] = {}
        self._order: dict[int, list[int]] = {}
        """Children of a node, the most frequent first."""

    def begin(self) -> int:
        """Begin a sequence; returns its number."""
        self.texts.append([])
        self.active.append([])
        return len(self.texts) - 1

    def extend(self, sequence: int, tokens: Sequence[int]) -> None:
        """Append tokens to a sequence."""
        for token in tokens:
            self._append(sequence, token)

    def _append(self, sequence: int, token: int) -> None:
        text = self.texts[sequence]
        text.append(token)
        self._count[ROOT] += 1
        before, self.active[sequence] = self.active[sequence], []
        for start, node in (*before, ActiveSuffix(len(text) - 1, ROOT)):
            child = self._child.get((node, token))
            reached = len(text) - start
            if child is None:
                self._add_leaf(node, token, sequence, start)
                continue
            self._count_again(node, child)
            if self._owner[child] != INNER:
                self._open(child, reached)
            if reached < self.depth:
                insort(self.active[sequence], ActiveSuffix(start, child))

    def _add_leaf(self, parent: int, token: int, sequence: int, start: int) -> None:
        leaf = len(self._count)
        self._count.append(1)
        self._token.append(token)
        self._owner.append(sequence)
        self._start.append(start)
        self._child[parent, token] = leaf
        self._order.setdefault(parent, []).append(leaf)

    def _open(self, leaf: int, depth: int) -> None:
        """A second suffix ends at a leaf: it becomes an inner node, and what it referred to moves one token on."""
        owner, start = self._owner[leaf], self._start[leaf]
        self._owner[leaf] = INNER
        if depth >= self.depth:
            return
        text = self.texts[owner]
        if start + depth < len(text):
            self._add_leaf(leaf, text[start + depth], owner, start)
        else:
            insort(self.active[owner], ActiveSuffix(start, leaf))

    def _count_again(self, parent: int, child: int) -> None:
        """One more occurrence of a child.

        Children are kept in order of their counts. Of equal ones, one that catches up with the group above from the
        head of the group below goes before it, any other goes behind it; drafts follow the first.
        """
        counts, count = self._count, self._count[child]
        counts[child] += 1
        if parent == ROOT:
            return
        order = self._order[parent]
        at = order.index(child)
        if at == 0 or counts[order[at - 1]] > count + 1:
            return
        level = counts[order[at - 1]]
        to = at - 1
        while to > 0 and counts[order[to - 1]] == level:
            to -= 1
        order.insert(to, order.pop(at))

    def draft(self, node: int, depth: int, most: int, least_probability: float) -> Path:
        """The likeliest continuation of the substring of a node, as long as its probability is not below a bound."""
        probability, score = 1.0, 0.0
        tokens: list[int] = []
        while len(tokens) < most and probability >= least_probability:
            owner = self._owner[node]
            if owner != INNER:
                return self._along(node, depth, most, Path(tokens, score), probability)
            children = self._order.get(node)
            if not children:
                break
            probability = single(probability * single(self._count[children[0]] / self._count[node]))
            if probability < least_probability:
                break
            node, depth = children[0], depth + 1
            tokens.append(self._token[node])
            score = single(score + probability)
        return Path(tokens, score)

    def _along(self, leaf: int, depth: int, most: int, so_far: Path, probability: float) -> Path:
        """Go on with what follows the only occurrence of a leaf."""
        start = self._start[leaf]
        end = min(start + self.depth, start + depth + most - len(so_far.tokens))
        more = self.texts[self._owner[leaf]][start + depth : end]
        score = so_far.score
        for _ in more:
            score = single(score + probability)
        return Path([*so_far.tokens, *more], score)

    def find(self, tokens: Sequence[int]) -> int | None:
        """The node at or below which a substring ends; None where it does not occur."""
        node = ROOT
        for at, token in enumerate(tokens):
            if self._owner[node] != INNER:
                start = self._start[node]
                here = self.texts[self._owner[node]][start + at : start + len(tokens)]
                return node if here == list(tokens[at:]) else None
            found = self._child.get((node, token))
            if found is None:
                return None
            node = found
        return node
