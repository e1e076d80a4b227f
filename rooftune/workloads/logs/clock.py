"""Puts the requests of a log into the order of their arrival: other orders, jumps of the clock, whole seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from rooftune.formatting import number, quantity
from rooftune.workloads.logs.entries import LoggedRequest

Floats = npt.NDArray[np.float64]
JUMP_S = 60.0
"""A clock that goes back by more than this, and stays back, was set."""
STAYS = 20
"""Following requests that must stay behind for that."""
MOST_BACK = 0.05
"""Share of the lines that may be earlier than the line before them in a log that was written in order."""
YEAR_S = 365 * 86400.0
SILENCE_S = 600.0
"""A pause above this is mentioned."""
FEW_SILENCES = 3
"""At most this many pauses are mentioned."""


@dataclass
class Ordered:
    """Requests in the order of their arrival. ``timed`` is False where the log has no times."""

    requests: list[LoggedRequest]
    timed: bool
    notes: list[str] = field(default_factory=list)


def in_order(requests: Sequence[LoggedRequest]) -> Ordered:
    """Sort requests by their arrival, from 0 on.

    A clock that was set back goes on from where it was. Times in whole seconds are spread evenly within their second.
    Where some requests have no time, those that have one are kept.
    """
    timed = [r for r in requests if r.at is not None]
    if not timed:
        return Ordered(list(requests), False)
    notes: list[str] = []
    if len(timed) < len(requests):
        notes.append(f"{quantity(len(requests) - len(timed), 'request')} without a time are left out")
    times = np.array([r.at for r in timed], dtype=np.float64)
    if (np.diff(times) < 0).sum() <= max(1, MOST_BACK * len(times)):
        times = _continued(times, timed, notes)
    behind = int((np.diff(times) < 0).sum())
    if behind:
        notes.append(
            f"{behind:,} of {len(times):,} lines are earlier than the line before them; they were sorted by time"
        )
    order = np.argsort(times, kind="stable")
    times, timed = times[order], [timed[i] for i in order]
    times = _spread(times, notes)
    _mention_silences(times, timed, notes)
    for request, at in zip(timed, (times - times[0]).tolist(), strict=True):
        request.at = at
    return Ordered(timed, True, notes)


def _continued(times: Floats, requests: Sequence[LoggedRequest], notes: list[str]) -> Floats:
    """The times with every lasting step back of the clock taken out."""
    times = times.copy()
    latest = times[0]
    for i in range(1, len(times)):
        if times[i] < latest - JUMP_S:
            follows = times[i : i + STAYS]
            back = float(latest - times[i])
            if (follows < latest - JUMP_S).all() and len(follows) >= min(STAYS, 3):
                whole_year = back > YEAR_S - 7 * 86400
                times[i:] += YEAR_S if whole_year else back
                if not whole_year:
                    notes.append(
                        f"the clock goes back by {number(back)} s at line {requests[i].line:,} and stays there; the "
                        "times after it are moved so that they follow those before it"
                    )
        latest = max(latest, times[i])
    return times


def _spread(times: Floats, notes: list[str]) -> Floats:
    """Times in whole seconds, with the requests of each second spread evenly over it."""
    if (times != np.floor(times)).any():
        return times
    _, first, counts = np.unique(times, return_index=True, return_counts=True)
    if counts.max() == 1:
        return times
    place = np.arange(len(times)) - np.repeat(first, counts)
    notes.append(
        "the log has whole seconds: the requests of a second are spread evenly over it, so shorter bursts are not known"
    )
    return np.asarray(times + (place + 0.5) / np.repeat(counts, counts))


def _mention_silences(times: Floats, requests: Sequence[LoggedRequest], notes: list[str]) -> None:
    gaps = np.diff(times)
    usual = float(np.median(gaps)) if len(gaps) else 0.0
    silent = np.flatnonzero((gaps > SILENCE_S) & (gaps > 100 * usual))
    for i in silent[np.argsort(-gaps[silent])][:FEW_SILENCES].tolist():
        notes.append(
            f"no request for {number(float(gaps[i]))} s before line {requests[i + 1].line:,}: the server was idle or "
            "stopped, or its clock was set"
        )
