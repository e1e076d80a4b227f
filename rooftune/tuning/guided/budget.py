"""What a budget suffices for, in sentences that come before the first trial."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rooftune.formatting import number, quantity
from rooftune.search.next_step import LEAST_CONFIRMATION

CONFIRMED = 2 + 2 * LEAST_CONFIRMATION
"""Trials of the smallest confirmed answer: the baseline, one other configuration, and both again with fresh seeds."""
WIDE = 2 * CONFIRMED
"""Trials from which the search can compare several configurations before it confirms the best."""


@dataclass(frozen=True)
class Room:
    """A budget and what a trial is expected to cost, in real seconds."""

    budget_s: float
    trial_s: float
    spent_s: float = 0.0
    """Of the budget, by trials of an earlier call."""

    @property
    def left_s(self) -> float:
        """What is left of the budget."""
        return self.budget_s - self.spent_s

    @property
    def trials(self) -> int:
        """Trials that fit; the first one of a run is made in any case."""
        return max(int(self.left_s / self.trial_s), 0 if self.spent_s else 1)

    @property
    def confirms(self) -> bool:
        """Whether a winner can be confirmed."""
        return self.trials >= CONFIRMED

    @property
    def words(self) -> str:
        """One or two sentences: how many trials fit, and what to ask for where they are few."""
        if self.spent_s:
            fits = f"Of the budget of {time_words(self.budget_s)}, {time_words(self.left_s)} are left, room for about"
            return f"{fits} {quantity(self.trials, 'more trial')} of {time_words(self.trial_s)}."
        fits = f"The budget of {time_words(self.budget_s)} has room for about {quantity(self.trials, 'trial')}"
        fits += f" of {time_words(self.trial_s)}"
        if not self.confirms:
            others = self.trials - 1
            what = f"the baseline and {quantity(others, 'other configuration')}" if others else "the baseline alone"
            return (
                f"{fits}: {what}, but no confirmation, so the baseline stays recommended. A confirmed answer takes "
                f"about {time_words(self._asked(CONFIRMED))}: --budget {_option(self._asked(CONFIRMED))}."
            )
        if self.trials < WIDE:
            return (
                f"{fits}: enough to confirm one of the first configurations. A search over more of the space takes "
                f"about {time_words(self._asked(WIDE))}: --budget {_option(self._asked(WIDE))}."
            )
        return f"{fits}, at least {2 * LEAST_CONFIRMATION} of them to confirm the winner."

    def _asked(self, trials: int) -> float:
        """Whole minutes for some trials, with one trial to spare."""
        return 60.0 * math.ceil((trials + 1) * self.trial_s / 60)


def time_words(seconds: float) -> str:
    """A time for readers: '45 s', '6 min', '1 h 30 min'."""
    if seconds < 100:
        return f"{number(max(seconds, 0.0), 2)} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    return f"{minutes // 60} h" + (f" {minutes % 60} min" if minutes % 60 else "")


def _option(seconds: float) -> str:
    """Whole minutes as --budget takes them."""
    return f"{round(seconds / 60)}m"
