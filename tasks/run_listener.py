"""Who follows a run as it goes on: the terminal when a person started it, and Prefect's log of the run."""

from __future__ import annotations

import contextlib
import logging
import sys

from rooftune.evidence.records.trial import TrialResult
from rooftune.loadgen.progress import Progress
from rooftune.trial_order import TrialOrder
from rooftune.tuning.guided.standing import Standing


class RunListener:
    """Called from the flow's own process when something happens. This one does nothing."""

    def phase(self, name: str, sentence: str = "") -> None:
        """A phase has begun (no sentence) or ended (with its result in a sentence)."""

    def standing(self, found: Standing) -> None:
        """Where the search is, before its next trial begins."""

    def trial(self, order: TrialOrder, expected_s: float, changes: str = "") -> None:
        """A trial begins.

        Args:
            expected_s: real seconds that it is expected to take.
            changes: what its configuration changes from the baseline, as command-line words; empty = nothing.
        """

    def engine(self, line: str) -> None:
        """A line of the log of the engine that is starting."""

    def load(self, progress: Progress) -> None:
        """The load has advanced."""

    def result(self, trial: TrialResult, kept: bool) -> None:
        """A trial has ended, or had been measured before (``kept``)."""

    def waiting(self, sentence: str) -> None:
        """The run has to wait for something."""


_current = RunListener()


def install(listener: RunListener) -> RunListener:
    """Make this the listener of the process; returns the one before."""
    global _current
    before, _current = _current, listener
    return before


def current() -> RunListener:
    """The listener of the process."""
    return _current


def log(sentence: str) -> None:
    """Write a line to the log of the Prefect run, or to the ordinary log outside of one.

    Commands without a flow never import Prefect, which takes seconds.
    """
    if "prefect" in sys.modules:
        from prefect.exceptions import MissingContextError
        from prefect.logging import get_run_logger

        with contextlib.suppress(MissingContextError):
            get_run_logger().info(sentence)
            return
    logging.getLogger("rooftune").info(sentence)
