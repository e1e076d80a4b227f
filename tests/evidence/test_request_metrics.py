"""The metrics of a window, compared with a count over every token and request."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rooftune.evidence.metrics.request_metrics import (  # fmt: skip
    gaps,
    latencies,
    meets_slo,
    request_metrics,
    streaming_tpot,
    throughput,
    tokens_per_chunk,
)
from rooftune.evidence.records.columns import ChunkArrivals, Requests, requests_from
from rooftune.metrics.window import Window
from rooftune.workloads.slo import Slo

WINDOW = Window(start_s=5.0, end_s=15.0)
SPANS = st.lists(
    st.tuples(st.floats(0, 20), st.floats(0.01, 3), st.integers(1, 12), st.floats(0.01, 0.5), st.booleans()),
    min_size=1,
    max_size=25,
)


def records(spans: list[tuple[float, float, int, float, bool]]) -> Requests:
    """Requests from (scheduled, ttft, tokens, gap, completed)."""
    rows: list[dict[str, Any]] = []
    times, owner = [], []
    for i, (at, ttft, tokens, gap, done) in enumerate(spans):
        arrived = at + ttft + gap * np.arange(tokens)
        times.append(arrived)
        owner += [i] * tokens
        rows.append({
            "scheduled_s": at, "sent_s": at, "first_token_s": arrived[0], "last_token_s": arrived[-1],
            "end_s": arrived[-1] if done else np.nan, "output_tokens": tokens if done else np.nan,
            "streamed_tokens": tokens, "prompt_tokens": 7, "planned_prompt_tokens": 7,
        })  # fmt: skip
    columns: dict[str, Any] = {k: [r[k] for r in rows] for k in rows[0]}
    columns["status"] = ["completed" if s[4] else "cut" for s in spans]
    at = np.concatenate(times)
    return requests_from(columns, ChunkArrivals(at, np.ones(len(at)), np.array(owner)))


@given(spans=SPANS)
def test_throughput_counts_all_that_arrived(spans: list[tuple[float, float, int, float, bool]]) -> None:  # fmt: skip
    r = records(spans)
    found = throughput(r, WINDOW)
    tokens = sum(1 for t in r.token_s if 5 <= t < 15)
    ended = sum(1 for i in range(len(r)) if r.status[i] == "completed" and 5 <= r.end_s[i] < 15)
    read = sum(7 for i in range(len(r)) if 5 <= r.first_token_s[i] < 15)
    assert found["total_output_tokens"] == tokens
    assert found["output_throughput"] == pytest.approx(tokens / 10)
    assert found["completed"] == ended
    assert found["total_input_tokens"] == read


@given(spans=SPANS, cut=st.floats(6, 14))
def test_throughput_of_two_parts_adds_up(spans: list[tuple[float, float, int, float, bool]], cut: float) -> None:
    r = records(spans)
    parts = [throughput(r, Window(start_s=a, end_s=b)) for a, b in ((5.0, cut), (cut, 15.0))]
    for name in ("total_output_tokens", "completed", "total_input_tokens"):
        assert sum(p[name] for p in parts) == throughput(r, WINDOW)[name]


@settings(deadline=None)
@given(spans=SPANS)
def test_ttft_counts_from_the_schedule_and_includes_those_without_an_answer(
    spans: list[tuple[float, float, int, float, bool]],
) -> None:
    r = records(spans)
    silent = np.array([i % 3 == 0 for i in range(len(r))])
    hushed = requests_from({
        "scheduled_s": r.scheduled_s, "first_token_s": np.where(silent, np.nan, r.first_token_s),
        "end_s": r.end_s, "last_token_s": r.last_token_s, "status": np.where(silent, "cut", r.status),
    })  # fmt: skip
    if silent.all():
        return
    found = latencies(hushed, WINDOW, "ttft_ms")
    mine = (r.scheduled_s >= 5) & (r.scheduled_s < 15)
    assert len(found.known) == (mine & ~silent).sum()
    assert len(found.at_least) == (mine & silent).sum()


def test_the_mean_is_withheld_when_half_the_requests_have_no_end() -> None:
    """Half of the requests have no end: the mean and the upper quantiles are not determined, so they are withheld."""
    spans = [(5.0 + 0.1 * i, 0.1, 5, 0.1, i % 2 == 0) for i in range(100)]
    found = request_metrics(records(spans), WINDOW)
    assert "mean_e2el_ms" in found.withheld
    assert "p99_e2el_ms" in found.withheld
    assert "only cover those that were answered" in found.withheld["mean_e2el_ms"]
    assert found.metrics["median_ttft_ms"] == pytest.approx(100)
    assert found.metrics["median_tpot_ms"] == pytest.approx(100)


def test_overload_withholds_what_grows_with_the_length_of_the_load() -> None:
    spans = [(5.0 + 0.1 * i, 0.1, 20, 0.1, True) for i in range(60)]
    found = request_metrics(records(spans), WINDOW, Slo(ttft_ms=500), overloaded=True)
    assert {"median_ttft_ms", "p99_e2el_ms", "request_goodput"} <= set(found.withheld)
    assert found.metrics["median_tpot_ms"] == pytest.approx(100)
    assert found.metrics["output_throughput"] > 0


def test_tpot_under_overload_includes_unfinished_streams() -> None:
    """The slow streams never end; only counting every stream shows them."""
    fast = [(0.0, 0.1, 11, 0.05, True)] * 10
    slow = [(0.0, 0.1, 100, 0.2, False)] * 10
    found = streaming_tpot(records(fast + slow), Window(start_s=0.0, end_s=15.0))
    assert len(found) == 20
    assert sorted(np.round(found, 6)) == pytest.approx([0.05] * 10 + [0.2] * 10)


def test_gaps_do_not_bridge_requests_or_the_edges_of_the_window() -> None:
    r = records([(4.0, 0.5, 4, 1.0, True), (6.0, 0.5, 2, 2.0, True)])
    assert sorted(gaps(r, WINDOW)) == pytest.approx([1.0, 1.0, 2.0])
    assert tokens_per_chunk(r) == 1.0


@given(ttft=st.floats(0.01, 1), gap=st.floats(0.01, 1), tokens=st.integers(2, 20))
def test_the_slo_holds_for_every_limit_at_once(ttft: float, gap: float, tokens: int) -> None:
    r = records([(6.0, ttft, tokens, gap, True)])
    slo = Slo(ttft_ms=500, tpot_ms=100)
    slack = 1e-6
    inside = ttft <= 0.5 - slack and gap <= 0.1 - slack
    outside = ttft > 0.5 + slack or gap > 0.1 + slack
    if inside or outside:
        assert bool(meets_slo(r, slo)[0]) == inside
    assert not meets_slo(records([(6.0, ttft, tokens, gap, False)]), slo)[0]
