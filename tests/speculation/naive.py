"""Reference proposers, written without any of the indexes of the package: they look at the whole text at every step."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


def single(value: float) -> float:
    """Rounded to single precision, as the published implementation adds up."""
    return float(np.float32(value))


def naive_ngram(text: tuple[int, ...], length: int, shortest: int, longest: int) -> tuple[int, ...]:
    """The longest suffix that occurs before, the first such place, and what follows there."""
    for size in range(min(longest, len(text) - 1), shortest - 1, -1):
        places = [i for i in range(len(text) - size) if text[i : i + size] == text[-size:]]
        if places:
            after = places[0] + size
            return text[after : after + length]
    return ()


@dataclass
class Branch:
    """A node of a tree that holds every substring as a path of single tokens."""

    count: int = 0
    next: list[tuple[int, Branch]] = field(default_factory=list)
    """By token, the most frequent first."""

    def step(self, token: int) -> Branch:
        """One more occurrence of a continuation."""
        at = next((i for i, (known, _) in enumerate(self.next) if known == token), None)
        if at is None:
            self.next.append((token, Branch(1)))
            return self.next[-1][1]
        _, branch = self.next[at]
        branch.count += 1
        counts = [b.count for _, b in self.next]
        if at and counts[at - 1] < branch.count:  # overtakes its equals, and stays behind those that are ahead
            ahead = [i for i in range(at) if counts[i] >= branch.count]
            self.next.insert(len(ahead), self.next.pop(at))
        elif at and counts[at - 1] == branch.count:  # catches up with the group above, and goes before it
            self.next.insert(counts.index(branch.count), self.next.pop(at))
        return branch


@dataclass
class NaiveTree:
    """All substrings up to a depth, with a list of the nodes at which the suffixes of each sequence end."""

    depth: int
    root: Branch = field(default_factory=Branch)
    ends: dict[int, list[Branch]] = field(default_factory=dict)

    def append(self, sequence: int, token: int) -> None:
        ends = [*self.ends.get(sequence, []), self.root][-self.depth :]
        self.ends[sequence] = [branch.step(token) for branch in ends]

    def best(self, context: list[int], most: int, factor: float, least: float) -> tuple[list[int], float]:
        tokens: list[int] = []
        score = 0.0
        for matched in range(1, len(context)):
            node: Branch | None = self.root
            for token in context[-matched:]:
                node = dict(node.next).get(token) if node else None
            if node is None:
                break
            found, total = self._follow(node, min(most, int(matched * factor + 1e-6)), least)
            if total >= score:
                tokens, score = found, total
        return tokens, score

    def _follow(self, node: Branch, most: int, least: float) -> tuple[list[int], float]:
        tokens: list[int] = []
        total, probability = 0.0, 1.0
        while len(tokens) < most and node.next:
            token, child = node.next[0]
            probability = single(probability * single(child.count / node.count))
            if probability < single(least):
                break
            tokens.append(token)
            total = single(total + probability)
            node = child
        return tokens, total
