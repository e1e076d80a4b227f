"""A run in lines, one for each phase and two for each trial: for a pipe, and for the log of a Prefect run."""

from __future__ import annotations

import time
from collections.abc import Callable

from rooftune.evidence.records.trial import TrialResult
from rooftune.loadgen.progress import Progress
from rooftune.trial_order import TrialOrder
from rooftune.tuning.guided.budget import time_words
from rooftune.tuning.guided.standing import Standing
from tasks import run_listener
from tasks.run_listener import RunListener

EVERY_S = 30.0
"""Seconds between the lines of a start or a load that takes long."""
SLOW = {
    "prefect": "starting Prefect's server",
    "plan": "predicting the configurations of the space",
    "report": "predicting other GPUs, drawing the figures",
}
"""Phases that take a while, in words."""


class Interval:
    """Whether it is time for another line."""

    def __init__(self, every_s: float = EVERY_S) -> None:
        self.every_s, self.last = every_s, time.monotonic()

    def restart(self) -> None:
        """Something else has just been said."""
        self.last = time.monotonic()

    def due(self) -> bool:
        """Whether the interval has passed; if so, the next one begins."""
        if time.monotonic() - self.last < self.every_s:
            return False
        self.restart()
        return True


class FirstTrials:
    """Which configurations have had no trial yet: a reader has to be shown what they change."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def of(self, candidate: str) -> bool:
        """Whether this trial is the first that is shown of its configuration."""
        first = candidate not in self._seen
        self._seen.add(candidate)
        return first


class RunLines(RunListener):
    """Says each phase, where the search is when a trial begins, the result of the trial, and the time left."""

    def __init__(self, say: Callable[[str], None], every_s: float = EVERY_S) -> None:
        self.say = say
        self.interval = Interval(every_s)
        self.where: Standing | None = None
        self.since = time.monotonic()
        self.order: TrialOrder | None = None
        self.first = FirstTrials()

    def phase(self, name: str, sentence: str = "") -> None:
        super().phase(name, sentence)
        if sentence:
            self.say(f"{name}: {sentence}")
        elif name in SLOW:
            self.say(f"{name}: {SLOW[name]} ...")

    def standing(self, found: Standing) -> None:
        self.where, self.since = found, time.monotonic()

    def trial(self, order: TrialOrder, expected_s: float, changes: str = "") -> None:
        self.order = order
        self.interval.restart()
        where = f". {first_upper(self.where.words)}" if self.where is not None and self.where.words else ""
        self.say(f"trial {title(order, expected_s)}{where}")
        if self.first.of(order.candidate) and changes:
            self.say(f"trial {order.position + 1} changes from the baseline: {changes}")

    def engine(self, line: str) -> None:
        if self.interval.due():
            self.say(f"{self._trial()} starts: {line[:200]}")

    def load(self, progress: Progress) -> None:
        if self.interval.due():
            self.say(f"{self._trial()}: {elapsed_text(progress)}, {load_text(progress)}")

    def result(self, trial: TrialResult, kept: bool) -> None:
        phase = self.order.phase if self.order is not None and self.order.candidate == trial.candidate else ""
        left = "" if kept else self._left()
        self.say(
            f"trial {trial.position + 1}: {named(phase, trial.candidate)} {trial.n}: {result_text(trial, kept)}{left}"
        )

    def waiting(self, sentence: str) -> None:
        self.say(sentence)

    def _trial(self) -> str:
        """The trial that runs now, in words."""
        if self.order is None:
            return "trial"
        return f"trial {self.order.position + 1}: {self.order.candidate} {self.order.n}"

    def _left(self) -> str:
        """What is left of the time, now that a trial has ended; empty where no budget is known."""
        if self.where is None or self.where.left_s is None:
            return ""
        return f"; {time_words(self.where.left_s - (time.monotonic() - self.since))} left"


def follow_in_log() -> None:
    """Write the lines to the log of the Prefect run, unless something else follows the run already."""
    if type(run_listener.current()) is RunListener:
        run_listener.install(RunLines(run_listener.log))


def title(order: TrialOrder, expected_s: float) -> str:
    """A trial that begins: its number, phase, configuration, why it is made, and how long it will take."""
    why = order.why or f"trial {order.n}"
    return f"{order.position + 1}: {named(order.phase, order.candidate)} ({why}), about {expected_s:.0f} s"


def named(phase: str, candidate: str) -> str:
    """A configuration with its phase, unless that is the baseline's, in which a gate measures its reference too."""
    return candidate if phase in ("", "baseline", candidate) else f"{phase}, {candidate}"


def result_text(trial: TrialResult, kept: bool) -> str:
    """The result of a trial."""
    from tasks.aggregate import describe

    return describe(trial) + (" (measured before)" if kept else "")


def load_text(p: Progress) -> str:
    """How far a load is, in a few words."""
    words = f"{p.completed:,} of {p.sent:,} done, {p.in_flight:,} in flight, {p.output_tokens_per_s:,.0f} tokens/s"
    return words + (f", {p.failed:,} failed" if p.failed else "")


def elapsed_text(p: Progress) -> str:
    """How much of a load is over."""
    if p.elapsed_s > p.total_s:
        return "all sent, waiting for the last answers"
    return f"{p.elapsed_s:.0f} of {p.total_s:.0f} s of load"


def first_upper(words: str) -> str:
    """The same as the beginning of a sentence."""
    return words[:1].upper() + words[1:]
