"""A ceiling of requests in flight is distinguished from a count that only has a largest value."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rooftune.evidence.metrics.concurrency import ceiling
from rooftune.metrics.queues import inside
from rooftune.metrics.window import Window

WINDOW = Window(start_s=20.0, end_s=80.0)


def served(rate: float, hold_s: float, cap: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Due, begin and end of requests of exponential length, of which at most ``cap`` run at a time."""
    random = np.random.default_rng(seed)
    due = np.cumsum(random.exponential(1 / rate, int(rate * 80)))
    free = np.zeros(cap)
    begin, end = np.empty(len(due)), np.empty(len(due))
    for i, at in enumerate(due):
        slot = int(free.argmin())
        begin[i] = max(at, free[slot])
        end[i] = free[slot] = begin[i] + random.exponential(hold_s)
    return due, begin, end


@settings(max_examples=20, deadline=None)
@given(cap=st.integers(10, 120), seed=st.integers(0, 1000))
def test_a_cap_under_overload_is_found(cap: int, seed: int) -> None:
    due, begin, end = served(cap * 1.5, 1.0, cap, seed)
    found = ceiling(begin, end, WINDOW, due)
    assert found.held
    assert found.level == cap


@settings(max_examples=20, deadline=None)
@given(mean=st.integers(5, 80), seed=st.integers(0, 1000))
def test_a_free_count_is_left_alone(mean: int, seed: int) -> None:
    """Poisson arrivals below capacity: no request waits."""
    due, begin, end = served(mean, 1.0, 10 * mean, seed)
    assert not ceiling(begin, end, WINDOW, due).held


@pytest.mark.parametrize("seed", range(5))
def test_a_level_that_moves_is_not_a_cap(seed: int) -> None:
    """A server whose KV cache holds now 40 and now 60 requests has others waiting, but does not stay at one level."""
    random = np.random.default_rng(seed)
    at = np.linspace(0, 80, 4000)
    level = np.round(50 + 10 * np.sin(at / 3 + seed) + random.normal(0, 1, len(at)))
    steps = np.diff(level, prepend=0)
    begin = np.repeat(at, np.maximum(steps, 0).astype(int))
    end = np.repeat(at, np.maximum(-steps, 0).astype(int))
    end = np.concatenate([end, np.full(len(begin) - len(end), np.inf)])
    assert inside(begin, end, np.array([40.0]))[0] > 30
    due = np.zeros(len(begin))
    assert not ceiling(begin, end, WINDOW, due).held


def test_nothing_in_flight() -> None:
    found = ceiling(np.full(3, np.nan), np.full(3, np.inf), WINDOW)
    assert found.level == 0
    assert not found.held
