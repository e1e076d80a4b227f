"""Load delivered: lag, rate, connections, and ceilings of requests in flight."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from rooftune.engines.server import EffectiveConfig
from rooftune.evidence.audit import load as checks
from rooftune.evidence.records.columns import requests_from
from rooftune.evidence.records.evidence import Evidence
from rooftune.evidence.records.trial import Check
from tests.evidence import made_load

USUAL = made_load.evidence()
FULL = made_load.evidence(rate=30.0, slots=16)
"""Overload: all 16 slots are taken and the rest waits at the server."""


def without_server(e: Evidence, limit: int | None = None) -> Evidence:
    """The same, but the server reports nothing except perhaps its limit."""
    assert e.trial is not None
    trial = e.trial.model_copy(update={"effective": EffectiveConfig(max_num_seqs=limit)})
    return replace(e, ticks={}, trial=trial)


def test_a_usual_load_was_delivered() -> None:
    assert [c(USUAL).status for c in checks.ALL] == ["pass"] * 4


@pytest.mark.parametrize(
    ("lag_ms", "ttft_ms", "status"),
    [(1.0, 20.0, "pass"), (40.0, 2000.0, "pass"), (40.0, 200.0, "warn"), (60.0, 90.0, "fail")],
)
def test_a_send_lag_is_compared_with_the_times_that_include_it(lag_ms: float, ttft_ms: float, status: str) -> None:
    e = made_load.evidence(send_lag_p99_ms=lag_ms)
    assert checks.send_lag(replace(e, quoted={"p99_ttft_ms": ttft_ms})).status == status


def test_a_faster_clock_allows_more_lag() -> None:
    """At ten times the speed a lag of 8 real ms is 80 ms of workload time."""
    e = made_load.evidence(send_lag_p99_ms=80.0, time_scale=10.0)
    assert checks.send_lag(replace(e, quoted={"p99_ttft_ms": 100.0})).status == "pass"


def test_requests_that_were_never_sent() -> None:
    rows = made_load.serve(10.0, 80.0, slots=64, tpot_s=0.02)
    for row in rows[::10]:
        row |= dict.fromkeys(("sent_s", "first_token_s", "last_token_s", "end_s", "http_status"))
        row |= {"status": "never_begun", "chunk_s": [], "chunks": 0, "streamed_tokens": 0}
    found = checks.delivered(made_load.evidence(rows=rows))
    assert found.status == "fail"
    assert found.figures["sent"] < found.figures["scheduled"]
    assert found.remedy


@pytest.mark.parametrize(("peak", "status"), [(200, "pass"), (3600, "warn"), (4090, "fail")])
def test_file_descriptors_that_ran_out(peak: int, status: str) -> None:
    assert checks.connections(made_load.evidence(descriptors_peak=peak)).status == status


def test_max_num_seqs_explains_a_plateau() -> None:
    found = checks.plateau(FULL)
    assert found.status == "pass"
    assert "max_num_seqs is 16" in found.sentence


def test_the_servers_own_queue_explains_a_plateau() -> None:
    assert FULL.trial is not None
    unknown = replace(FULL, trial=FULL.trial.model_copy(update={"effective": EffectiveConfig()}))
    found = checks.plateau(unknown)
    assert found.status == "pass"
    assert "its own queue" in found.sentence


@pytest.mark.parametrize(("slots", "status"), [(100, "fail"), (16, "warn"), (23, "fail")])
def test_a_plateau_that_no_limit_explains(slots: int, status: str) -> None:
    """100 is the default of client libraries; a power of two may be the server's; nothing explains 23."""
    found = checks.plateau(without_server(made_load.evidence(rate=slots * 1.5, slots=slots)))
    assert found.status == status
    assert f"exactly {slots}" in found.sentence


def test_a_plateau_at_another_number_than_max_num_seqs_is_not_explained_by_it() -> None:
    e = made_load.evidence(rate=30.0, slots=20)
    assert checks.plateau(without_server(e, limit=256)).status == "fail"


def test_a_cap_between_client_and_server_is_seen_from_both_sides() -> None:
    """The server never holds more than 40 requests and has none waiting, while the client has more and more open."""
    samples = {"running": 40.0, "waiting": 0.0, "client_in_flight": 90.0}
    found = checks.plateau(made_load.evidence(samples=samples))
    assert found.status == "fail"
    assert "between them" in found.sentence


def test_a_missed_answer_of_the_server_leaves_the_check_as_it_is() -> None:
    """The client's own samples go on where the server's are missing."""
    seconds = len(made_load.evidence(samples={"running": 1.0}).ticks["t_s"])
    running = np.full(seconds, 40.0)
    running[::7] = np.nan
    found = checks.plateau(made_load.evidence(samples={"running": running, "waiting": 0.0, "client_in_flight": 90.0}))
    assert found.status == "fail"
    assert "between them" in found.sentence


def foreign(due: np.ndarray, sent: np.ndarray, end: np.ndarray, **figures: Any) -> Evidence:
    done = np.full(len(due), "completed", dtype=object)
    columns = {
        "status": done,
        "scheduled_s": due,
        "sent_s": sent,
        "first_token_s": sent + 0.01,
        "last_token_s": end,
        "end_s": end,
    }
    return Evidence("vllm bench serve", "x", requests_from(columns), quoted=figures, duration_s=float(end.max()))


def capped(cap: int, *, known: bool, **figures: Any) -> Evidence:
    """Requests due every 25 ms that take 0.4 s each, while at most ``cap`` may be in flight."""
    due = 0.025 * np.arange(400)
    free, sent = [0.0] * cap, []
    for t in due:
        free.sort()
        sent.append(max(float(t), free[0]))
        free[0] = sent[-1] + 0.4
    at = np.array(sent)
    return foreign(due if known else at, at, at + 0.4, **figures)


@pytest.mark.parametrize("known", [True, False])
def test_a_concurrency_cap_of_another_tool_is_found(known: bool) -> None:
    """Whether or not the file says when a request was due."""
    e = capped(8, known=known, request_rate=40.0, max_concurrency=8)
    found = checks.plateau(e)
    assert found.status == "fail"
    assert "--max-concurrency 8" in found.sentence
    assert checks.delivered(e).status == "fail"
    assert checks.send_lag(e).status == ("fail" if known else "no data")


def test_a_cap_that_was_never_reached_is_fine() -> None:
    e = capped(200, known=True, request_rate=40.0, max_concurrency=200)
    assert checks.plateau(e).status == "pass"
    assert checks.delivered(e).status == "pass"


def test_a_closed_loop_stays_at_its_level_on_purpose() -> None:
    e = capped(8, known=False, request_rate="inf", max_concurrency=8)
    assert checks.plateau(e).status == "pass"


def summary(**figures: float) -> Check:
    return checks.plateau(Evidence("vllm bench serve", "x", quoted=figures))


def test_a_cap_is_found_in_a_summary_by_littles_law() -> None:
    base = {"request_rate": 40.0, "max_concurrency": 8.0, "request_throughput": 19.5}
    assert summary(**base, mean_e2el_ms=400.0).status == "fail"
    assert (
        summary(**base, mean_ttft_ms=90.0, mean_tpot_ms=10.0, total_output_tokens=3200.0, completed=100.0).status
        == "fail"
    )
    assert summary(**{**base, "max_concurrency": 80.0}, mean_e2el_ms=400.0).status == "pass"
    assert summary(**{**base, "request_rate": float("inf")}, mean_e2el_ms=400.0).status == "pass"
    assert summary(**base).status == "no data"


def test_a_summary_that_answered_far_less_than_asked_is_doubted() -> None:
    slow = Evidence("vllm bench serve", "x", quoted={"request_rate": 20.0, "request_throughput": 9.0})
    assert checks.delivered(slow).status == "warn"
    assert checks.delivered(replace(slow, quoted={"request_rate": 20.0, "request_throughput": 19.0})).status == "pass"
    assert checks.delivered(replace(slow, quoted={})).status == "no data"
