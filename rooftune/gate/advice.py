"""What would lead to a verdict where the trials so far do not: more of them, longer ones, or another bound."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rooftune.evidence.comparison.compare import MOST_TRIALS
from rooftune.formatting import number, percent, quantity
from rooftune.gate.loss import LARGEST_LOSS, Bound, Design, Finding

EVEN_TRIALS = 6
"""Trials of each measured configuration with which a gate usually has an answer."""
BOUND_STEP = 0.005


@dataclass(frozen=True)
class Effort:
    """What the trials of a gate cost, and how many it may make."""

    spent_s: float = 0.0
    """Real seconds of all trials."""
    made: int = 0
    """Trials of all measured configurations, trusted or not."""
    sides: int = 1
    """Configurations that are measured."""
    most_trials: int = MOST_TRIALS
    """Of each of them."""
    duration_s: float | None = None
    """Length of a load, where it decides how precise a trial is; None where trials measure the capacity."""

    def budget(self, more: int) -> str:
        """The budget for this many more trials of each configuration, as an option."""
        if not self.made or not self.spent_s:
            return "--budget"
        seconds = self.spent_s + more * self.sides * self.spent_s / self.made
        return f"--budget {math.ceil(seconds / 60)}m"


def advice(finding: Finding, design: Design, effort: Effort) -> list[str]:
    """What would lead to a verdict; nothing where there is one."""
    if finding.verdict != "not enough evidence":
        return []
    if design == "given":
        return ["measure again instead of reading a run (leave out --run), so that trials are added until it is clear"]
    if finding.ratio is None:
        return _too_few(finding, effort)
    if finding.more_trials is not None and finding.trials + finding.more_trials <= MOST_TRIALS:
        return [_more(finding.trials, finding.more_trials, effort)]
    if finding.more_trials is None and design == "apart" and finding.reference_trials < finding.trials:
        few = quantity(finding.reference_trials, "trial")
        why = f"the reference has only {few}, so more new ones do not help: use --beside, or a run with more trials"
    elif finding.more_trials is not None:
        total = finding.trials + finding.more_trials
        why = f"about {total} trials of each measured configuration would decide it, and a gate makes at most "
        why += f"{MOST_TRIALS}"
    else:
        why = "the true difference is close to the bound, so more trials would hardly help: choose another --max-loss"
    return [why, *_longer(finding, effort), *_wider(finding)]


def _too_few(finding: Finding, effort: Effort) -> list[str]:
    if not effort.made:
        return []
    each = effort.spent_s / effort.made
    missing = max(EVEN_TRIALS - min(finding.trials, finding.reference_trials if effort.sides == 2 else EVEN_TRIALS), 2)
    room = f"{effort.budget(missing)} has room for {EVEN_TRIALS} of each measured configuration"
    return [f"a trial took {number(each, 2)} s on average; {room}"]


def _more(trials: int, more: int, effort: Effort) -> str:
    allowed = f" --trials {trials + more}" if trials + more > effort.most_trials else ""
    more_words = quantity(more, "more trial")
    return f"about {more_words} of each measured configuration would decide it: {effort.budget(more)}{allowed}"


def _longer(finding: Finding, effort: Effort) -> list[str]:
    """Longer trials, whose noise is smaller."""
    if effort.duration_s is None or finding.more_trials is None:
        return []
    factor = (finding.trials + finding.more_trials) / MOST_TRIALS
    wanted = math.ceil(effort.duration_s * factor / 10) * 10
    return [f"longer trials vary less: --duration {wanted}, with a reference of the same duration"]


def _wider(finding: Finding) -> list[str]:
    """The smallest bound with which the same trials would have passed."""
    bound = Bound(finding.max_loss, finding.direction == "lower")
    if finding.ratio is None or bound.broken_by(finding.ratio.estimate):
        return []
    needed = finding.ratio.high - 1 if bound.lower_is_better else 1 - finding.ratio.low
    step = math.floor(needed / BOUND_STEP + 1e-9) * BOUND_STEP + BOUND_STEP
    if not 0 < step <= LARGEST_LOSS:
        return []
    return [f"these trials rule out a loss of {percent(step)} (--max-loss {100 * step:g}%)"]
