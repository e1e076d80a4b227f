"""Means of gauges and growth of counters over the window."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rooftune.evidence.metrics.gauges import delta, server_metrics
from rooftune.metrics.window import Window

WINDOW = Window(start_s=10.0, end_s=40.0)
AT = np.arange(0.0, 60.0)


@given(rate=st.floats(0.1, 1000), offset=st.floats(0, 1e6), every=st.integers(1, 5))
def test_a_steady_counter_grows_by_rate_times_time(rate: float, offset: float, every: int) -> None:
    ticks = {"t_s": AT[::every], "n": offset + rate * AT[::every]}
    assert delta(ticks, "n", WINDOW) == pytest.approx(30 * rate, rel=1e-6, abs=1e-6)


@given(reset=st.integers(15, 35))
def test_a_restarted_counter_loses_nothing_but_the_gap(reset: int) -> None:
    counted = np.where(reset > AT, 5 * AT, 5 * (AT - reset))
    grown = delta({"t_s": AT, "n": counted}, "n", WINDOW)
    assert grown == pytest.approx(150, abs=5.001)


def test_missing_samples_are_left_out() -> None:
    values = 2.0 * AT
    values[20:30] = np.nan
    assert delta({"t_s": AT, "n": values}, "n", WINDOW) == pytest.approx(60)
    assert delta({"t_s": AT, "n": np.full(60, np.nan)}, "n", WINDOW) is None
    assert delta({"t_s": AT}, "n", WINDOW) is None
    assert delta({"t_s": AT, "n": values}, "n", Window(start_s=100.0, end_s=120.0)) is None


def test_figures_of_the_server() -> None:
    ticks = {
        "t_s": AT, "running": np.full(60, 8.0), "generation_tokens_total": 200 * AT, "prefix_queries_total": 100 * AT,
        "prefix_hits_total": 25 * AT, "queue_sum_s": 2 * AT, "queue_count": 4 * AT, "iteration_tokens_sum": 80 * AT,
        "iteration_tokens_count": 10 * AT, "behind_s": np.where(AT < 30, 0.1, 0.4),
    }  # fmt: skip
    found = server_metrics(ticks, WINDOW)
    assert found["running"] == 8
    assert found["generation_tokens_per_s"] == pytest.approx(200)
    assert found["prefix_hit_share"] == pytest.approx(0.25)
    assert found["mean_queue_ms"] == pytest.approx(500)
    assert found["iteration_tokens"] == pytest.approx(8)
    assert found["steps_per_s"] == pytest.approx(10)
    assert found["behind_s"] == 0.4
    assert "waiting" not in found
    assert server_metrics({}, WINDOW) == {}
