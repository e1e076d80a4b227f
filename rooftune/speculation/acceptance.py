"""How drafts fare: acceptance by position, and what a decode step makes of it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

from rooftune.errors import InputError
from rooftune.formatting import number, percent

MOST_BEYOND = 16
"""Positions that are taken to follow those that a trial records."""


@dataclass(frozen=True)
class Interval:
    """A 95 % interval over requests."""

    low: float
    high: float


@dataclass(frozen=True)
class StepDrafts:
    """What one decode step of one sequence drafts and accepts, on average over its steps, with a draft or without."""

    accepted: tuple[float, ...]
    """Share of the steps that accept at least the first, the first two, ... drafted tokens."""
    drafted: float
    """Mean drafted tokens per step."""

    def __post_init__(self) -> None:
        shares = (1.0, *self.accepted)
        if any(after > before + 1e-9 or after < 0 for before, after in itertools.pairwise(shares)):
            raise InputError("acceptance by position must fall from position to position, between 1 and 0.")

    @property
    def tokens(self) -> float:
        """Mean tokens that a step gives: the one that the model adds, and the accepted ones."""
        return 1.0 + sum(self.accepted)

    def up_to(self, length: int) -> StepDrafts:
        """The same proposer with drafts of at most ``length`` tokens; exact where no draft is shorter than asked."""
        share = min(1.0, length / len(self.accepted)) if self.accepted else 0.0
        return StepDrafts(self.accepted[:length], self.drafted * share)


@dataclass(frozen=True)
class Acceptance:
    """How the drafts of one proposer fared on some requests.

    The numbers are those of vLLM's counters (``vllm:spec_decode_*``): a draft has at least one token, a drafted token
    is accepted if those before it are and the model would have generated it, and the token that the model adds to
    every draft is not among them.
    """

    by_position: tuple[float, ...]
    """Share of the drafts whose tokens up to this position are all accepted."""
    drafts: int
    drafted: int
    """Tokens of all drafts."""
    accepted: int
    """Accepted tokens of all drafts."""
    steps: int | None = None
    """Decode steps of all sequences, with a draft or without; None where they are not known."""
    requests: int | None = None
    position_intervals: tuple[Interval, ...] = ()
    """Of ``by_position``; empty where single requests are not known."""
    tokens_per_step_interval: Interval | None = None

    @property
    def mean_length(self) -> float:
        """Mean tokens of a step with a draft, with the one that the model adds: vLLM's mean acceptance length."""
        return 1.0 + sum(self.by_position)

    @property
    def draft_share(self) -> float:
        """Share of the decode steps that have a draft."""
        return 1.0 if self.steps is None else self.drafts / self.steps if self.steps else 0.0

    @property
    def token_share(self) -> float:
        """Share of the drafted tokens that are accepted."""
        return self.accepted / self.drafted if self.drafted else 0.0

    @property
    def tokens_per_step(self) -> float:
        """Mean tokens of a decode step, with a draft or without."""
        return 1.0 + self.draft_share * sum(self.by_position)

    @property
    def per_step(self) -> StepDrafts:
        """The same for each decode step, as the simulator takes it."""
        each = self.drafted / self.drafts if self.drafts else 0.0
        share = self.draft_share
        return StepDrafts(tuple(share * p for p in self.by_position), share * each)


def constant(probability: float, length: int) -> StepDrafts:
    """Drafts of ``length`` tokens in every step, each accepted with this probability if those before it are."""
    return StepDrafts(tuple(probability ** (i + 1) for i in range(length)), float(length))


AcceptanceLike = float | StepDrafts
"""How drafts fare in a simulation: what a step makes of them, or one probability for every position."""
ASSUMED = 0.6
"""Probability that a drafted token is accepted, where nothing is known."""


def step_drafts(given: AcceptanceLike, length: int) -> StepDrafts:
    """The same as what a step makes of drafts of at most ``length`` tokens."""
    return given.up_to(length) if isinstance(given, StepDrafts) else constant(given, length)


def drafted_of(given: AcceptanceLike) -> float | None:
    """Mean drafted tokens per step; None where only a probability is given."""
    return given.drafted if isinstance(given, StepDrafts) else None


def words(given: AcceptanceLike, length: int) -> str:
    """What a simulation takes for the acceptance of drafts of this length."""
    found = step_drafts(given, length)
    if isinstance(given, StepDrafts):
        shares = ", ".join(percent(share) for share in found.accepted)
        return (
            f"a decode step gives {number(found.tokens)} tokens: it drafts {number(min(given.drafted, length))} on "
            "average, and "
            f"{shares} of the steps accept the draft up to its first, second, ... token"
        )
    return (
        f"each drafted token is assumed to be accepted with probability {number(given)}, which gives "
        f"{number(found.tokens)} tokens per decode step"
    )


def from_counters(counters: Mapping[str, float]) -> Acceptance | None:
    """Acceptance from the growth of a server's counters over a window; None where the server drafted nothing.

    Args:
        counters: ``spec_drafts``, ``spec_draft_tokens``, ``spec_accepted_tokens``, ``spec_accepted_pos_1`` and so on,
            ``generation_tokens`` and ``first_tokens``, as a trial records them. First tokens come from prefill and not
            from a decode step.
    """
    drafts, drafted = counters.get("spec_drafts", 0.0), counters.get("spec_draft_tokens", 0.0)
    if drafts < 1 or drafted < 1:
        return None
    accepted = counters.get("spec_accepted_tokens", 0.0)
    shares: list[float] = []
    while (found := counters.get(f"spec_accepted_pos_{len(shares) + 1}")) is not None:
        shares.append(min(found / drafts, shares[-1] if shares else 1.0))
    shares += _beyond(shares, accepted / drafts - sum(shares))
    generated, first, steps = counters.get("generation_tokens"), counters.get("first_tokens"), None
    if generated is not None and first is not None:
        steps = max(round(generated - first - accepted), round(drafts))
    return Acceptance(tuple(shares), round(drafts), round(drafted), round(accepted), steps)


def _beyond(shares: list[float], missing: float) -> list[float]:
    """Shares of positions that are not recorded one by one, from what all of them accept together: a geometric tail."""
    if not shares or missing * 1000 < 1:
        return []
    ratio = missing / (shares[-1] + missing)
    return [shares[-1] * ratio**i for i in range(1, MOST_BEYOND + 1)]
