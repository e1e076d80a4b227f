"""Who is told how a run goes on: the terminal when a person started it, and Prefect's log of the run."""

from __future__ import annotations

import logging
from typing import Any


class Listener:
    """Told what happens, from the flow's own process. This one keeps it to itself."""

    def phase(self, name: str, sentence: str = "") -> None:
        """A phase begins (no sentence) or has ended (with what came of it)."""

    def trial(self, order: Any, expected_s: float) -> None:
        """A trial begins; it will take about so many real seconds."""

    def engine(self, line: str) -> None:
        """A line of the log of the engine that is starting."""

    def load(self, progress: Any) -> None:
        """How far the load is (``loadgen.Progress``)."""

    def result(self, trial: Any, kept: bool) -> None:
        """A trial is over (``TrialResult``), or was there already."""

    def waiting(self, sentence: str) -> None:
        """Something has to be waited for."""


_listener = Listener()


def listen(listener: Listener) -> Listener:
    """Let this listener be told from now on; returns the one before."""
    global _listener
    before, _listener = _listener, listener
    return before


def listener() -> Listener:
    """Who is told."""
    return _listener


def log(sentence: str) -> None:
    """A line in the log of the Prefect run; in the ordinary log outside of one."""
    from prefect.exceptions import MissingContextError
    from prefect.logging import get_run_logger

    try:
        get_run_logger().info(sentence)
    except MissingContextError:
        logging.getLogger("rooftune").info(sentence)
