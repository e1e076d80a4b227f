"""Acceptance by replay of recorded answers, compared with the counters of the server that gave them."""

from __future__ import annotations

from dataclasses import dataclass

from rooftune.speculation.acceptance import Acceptance

WITHIN = 0.02
"""Largest difference of a share that is accepted: 2 points."""


@dataclass(frozen=True)
class Difference:
    """One figure, replayed and counted."""

    name: str
    replayed: float
    counted: float

    @property
    def points(self) -> float:
        """Replayed less counted, in percentage points of a share, or hundredths of a token."""
        return 100 * (self.replayed - self.counted)


def compare(replayed: Acceptance, counted: Acceptance) -> list[Difference]:
    """Share of the drafts accepted up to each position, tokens per draft, and steps that have a draft where known."""
    names = [
        f"accepted up to token {n}" for n in range(1, 1 + min(len(replayed.by_position), len(counted.by_position)))
    ]
    found = [
        Difference(name, ours, theirs)
        for name, ours, theirs in zip(names, replayed.by_position, counted.by_position, strict=False)
    ]
    found.append(Difference("drafted tokens per draft", *(a.drafted / max(a.drafts, 1) for a in (replayed, counted))))
    if replayed.steps is not None and counted.steps is not None:
        found.append(Difference("steps with a draft", replayed.draft_share, counted.draft_share))
    return found


def agrees(found: list[Difference]) -> bool:
    """Whether every share is within 2 points."""
    return all(abs(d.replayed - d.counted) <= WITHIN for d in found if "per draft" not in d.name)
