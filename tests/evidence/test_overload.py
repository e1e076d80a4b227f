"""Whether a queue grows for as long as the load lasts, and counts of spans."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rooftune.evidence.metrics.overload import assess
from rooftune.evidence.records.columns import Requests
from rooftune.metrics.queues import inside, slope
from rooftune.metrics.window import Window
from tests.evidence import made_load

WINDOW = Window(start_s=20.0, end_s=80.0)


def records(rate: float, slots: int = 16, seed: int = 0) -> Requests:
    rows = made_load.serve(rate, 80.0, slots=slots, tpot_s=0.02, seed=seed)
    found = made_load.evidence(rate=rate, slots=slots, rows=rows).requests
    assert found is not None
    return found


@given(
    spans=st.lists(st.tuples(st.floats(0, 10), st.floats(0, 5)), max_size=30),
    at=st.lists(st.floats(0, 15), min_size=1, max_size=10),
)
def test_counts_are_those_of_looking_at_each_span(spans: list[tuple[float, float]], at: list[float]) -> None:
    begin = np.array([b for b, _ in spans])
    end = np.array([b + d for b, d in spans])
    expected = [sum(b <= t < b + d for b, d in spans) for t in at]
    assert inside(begin, end, np.array(at)).tolist() == expected


@given(gain=st.floats(-100, 100), base=st.floats(-100, 100))
def test_the_slope_of_a_line(gain: float, base: float) -> None:
    at = np.linspace(3, 9, 20)
    assert slope(at, base + gain * at) == pytest.approx(gain, abs=1e-6)


@settings(max_examples=12, deadline=None)
@given(share=st.floats(0.2, 0.85), seed=st.integers(0, 500))
def test_a_server_below_capacity_is_not_called_overloaded(share: float, seed: int) -> None:
    """16 slots at 20 ms per token and 40 tokens per answer serve 20 requests per second."""
    assert not assess(records(20 * share, seed=seed), WINDOW).overloaded


@settings(max_examples=12, deadline=None)
@given(share=st.floats(1.2, 4.0), seed=st.integers(0, 500))
def test_overload_is_seen_and_the_served_rate_is_the_capacity(share: float, seed: int) -> None:
    found = assess(records(20 * share, seed=seed), WINDOW, made_load.workload(1.0).slo)
    assert found.overloaded
    assert found.served_rate_per_s == pytest.approx(20, rel=0.03)
    assert found.asked_rate_per_s is not None
    # The slope of a random walk differs from the gain between its ends by 0.45 standard deviations of that gain.
    spread = 0.45 * math.sqrt(found.asked_rate_per_s / WINDOW.seconds)
    assert found.queue_growth_per_s == pytest.approx(found.asked_rate_per_s - 20, abs=5 * spread)
    assert found.slo_breaks_after_s is not None


def test_a_closed_loop_never_overloads() -> None:
    found = assess(records(60.0), WINDOW, closed=True)
    assert not found.overloaded
    assert found.asked_rate_per_s is None


def test_answers_that_stop_early_are_counted_by_their_mean() -> None:
    r = records(60.0)
    short = replace(r, output_tokens=np.where(np.isfinite(r.output_tokens), 20.0, np.nan))
    fixed, free = assess(short, WINDOW), assess(short, WINDOW, fixed=False)
    assert free.served_rate_per_s == pytest.approx(2 * (fixed.served_rate_per_s or 0))
