"""Every fault of a server becomes a classified record. Nothing hangs, nothing is lost, nothing is mistaken for a
success."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import faults  # noqa: F401 - registers them
from tests.faults.server import FAULTS, STALL_S, MisbehavingServer, misbehaving
from tests.loadgen.harness import Condition, ended, load_server, stop_when, time_out_when, workload

EXPECTED = {
    "closes_at_once": "closed",
    "resets_at_once": "reset",
    "closes_mid_stream": "broken",
    "resets_mid_stream": "reset",
    "half_a_chunk": "broken",
    "half_an_event": "half_event",
    "stalls_before_head": "timeout",
    "stalls_mid_stream": "stall",
    "headers_byte_by_byte_for_ever": "timeout",
    "endless_headers": "protocol",
    "bad_utf8": "bad_utf8",
    "wrong_json": "bad_json",
    "quote_in_text": "bad_json",
    "other_shape": "bad_event",
    "no_object": "bad_event",
    "no_done": "no_done",
    "no_usage": "no_usage",
    "no_token": "empty",
    "empty_body": "no_stream",
    "error_event": "error_event",
    "named_error_event": "error_event",
    "aborted": "aborted",
    "http_429": "http_429",
    "http_429_without_retry_after": "http_429",
    "http_503": "http_503",
    "http_503_without_retry_after": "http_503",
    "http_401": "http_401",
    "http_400": "http_400",
    "html": "html",
    "html_502": "http_502",
    "redirect": "redirect",
    "huge_event": "too_large",
    "huge_chunk_of_many_events": "endless",
    "endless_stream": "endless",
    "endless_event": "too_large",
    "comments_for_ever": "timeout",
    "length_too_small": "half_event",
    "length_too_large": "broken",
    "length_no_number": "protocol",
    "bad_chunk_size": "protocol",
    "chunk_longer_than_it_says": "protocol",
    "no_http": "protocol",
    "whole_json": "not_streamed",
    "json_error_with_200": "bad_event",
}
MIXED = {"http_500_in_bursts", "keeps_then_resets"}
ELSEWHERE = {"good_chat", "four_tokens_a_chunk"}
HARMLESS = {
    "last_token_prints_nothing",
    "good",
    "byte_by_byte",
    "continue_first",
    "without_length",
    "more_after_the_end",
}
THROUGH_AIOHTTP = {
    "resets_at_once": {"closed", "reset", "protocol"},
    "half_a_chunk": {"broken", "no_done"},
    "resets_mid_stream": {"reset", "broken", "protocol"},
    "closes_mid_stream": {"broken", "no_done"},
    "length_too_large": {"broken", "no_done", "half_event"},
    "endless_headers": {"protocol"},
    "length_too_small": {"protocol"},
    "headers_byte_by_byte_for_ever": {"timeout", "protocol"},
    "bad_chunk_size": {"protocol", "broken"},
    "chunk_longer_than_it_says": {"protocol", "broken"},
}
"""aiohttp finds the same faults and distinguishes some of them less finely."""


@pytest.fixture(scope="module")
def server() -> Iterator[MisbehavingServer]:
    with misbehaving() as running:
        yield running


def stalled(count: int) -> Condition:
    """Whether this many requests are in flight with the three tokens that come before the stall."""
    return lambda runner: sum(e.chunks == 3 for e in runner.in_flight) == count


def test_every_fault_is_expected_here() -> None:
    assert set(FAULTS) == set(EXPECTED) | MIXED | HARMLESS | ELSEWHERE


@pytest.mark.parametrize("name", sorted(EXPECTED))
@pytest.mark.parametrize("through", ["sockets", "aiohttp"])
async def test_a_fault_becomes_a_classified_record(
    server: MisbehavingServer, tmp_path: Path, name: str, through: str
) -> None:
    load = workload(duration_s=0.03, drain_s=90)
    timeout_s = 0.6 if EXPECTED[name] == "timeout" else 80.0
    watch = time_out_when(stalled(3)) if EXPECTED[name] == "stall" else None
    loaded = await load_server(
        load, f"{server.url}/{name}", tmp_path, through=through, request_timeout_s=timeout_s, watch=watch
    )
    records, runner = loaded.records, loaded.runner
    assert len(records) == 3
    known = THROUGH_AIOHTTP.get(name, {EXPECTED[name]}) if through == "aiohttp" else {EXPECTED[name]}
    assert {r["error_class"] for r in records} <= known, records
    status = "refused" if EXPECTED[name] in ("http_429", "http_503") else "failed"
    assert {r["status"] for r in records} == {status}
    assert all(r["error"] and r["end_s"] >= r["sent_s"] >= r["scheduled_s"] - 1e-6 for r in records)
    assert not runner.in_flight


@pytest.mark.parametrize("name", sorted(HARMLESS))
@pytest.mark.parametrize("through", ["sockets", "aiohttp"])
async def test_what_is_only_unusual_counts(server: MisbehavingServer, tmp_path: Path, name: str, through: str) -> None:
    records = (await load_server(workload(duration_s=0.03), f"{server.url}/{name}", tmp_path, through=through)).records
    assert [(r["status"], r["chunks"], r["output_tokens"], r["finish_reason"]) for r in records] == [
        ("completed", 8, 8, "length")
    ] * 3


async def test_tokens_that_came_before_a_fault_are_kept(server: MisbehavingServer, tmp_path: Path) -> None:
    for name, tokens in {
        "closes_mid_stream": 3,
        "bad_utf8": 2,
        "wrong_json": 2,
        "error_event": 3,
        "stalls_mid_stream": 3,
    }.items():
        load, watch = workload(duration_s=0.01), time_out_when(stalled(1))
        records = (await load_server(load, f"{server.url}/{name}", tmp_path / name, watch=watch)).records
        assert [(r["streamed_tokens"], len(r["chunk_s"])) for r in records] == [(tokens, tokens)], name
        assert records[0]["first_token_s"] is not None


async def test_errors_in_bursts_fail_only_themselves(server: MisbehavingServer, tmp_path: Path) -> None:
    load = workload(arrivals={"process": "constant", "rate_per_s": 40}, duration_s=0.5)
    records = (await load_server(load, f"{server.url}/http_500_in_bursts", tmp_path)).records
    assert len(records) == 20
    assert [r["status"] for r in records].count("completed") == 10
    assert {r["error_class"] for r in records if r["status"] == "failed"} == {"http_500"}


async def test_a_kept_connection_that_is_reset_fails_the_request_that_used_it(
    server: MisbehavingServer, tmp_path: Path
) -> None:
    load = workload(arrivals={"process": "closed", "concurrency": 1}, duration_s=60)
    watch = stop_when(ended(6))
    records = (await load_server(load, f"{server.url}/keeps_then_resets", tmp_path, watch=watch)).records
    outcomes = [(r["status"], r["error_class"]) for r in records if r["status"] != "cut"]
    assert outcomes[:6] == [("completed", None), ("failed", "reset")] * 3


async def test_retry_after_is_recorded_and_nothing_is_sent_again(server: MisbehavingServer, tmp_path: Path) -> None:
    before = server.counts.get("http_429", 0)
    loaded = await load_server(workload(duration_s=0.03), f"{server.url}/http_429", tmp_path)
    records, runner = loaded.records, loaded.runner
    assert server.counts["http_429"] - before == 3
    assert runner.report().retry_after == 3
    assert all("Retry-After: 7" in r["error"] and "slow down" in r["error"] for r in records)


async def test_a_stalling_server_does_not_outlast_the_drain(server: MisbehavingServer, tmp_path: Path) -> None:
    """The server would hold the connections for a minute."""
    load = workload(duration_s=0.1, drain_s=0.3)
    records = (await load_server(load, f"{server.url}/stalls_mid_stream", tmp_path)).records
    assert {r["status"] for r in records} <= {"cut", "never_begun"}, "a busy machine may not even begin one in time"
    assert all(0.4 <= r["end_s"] < STALL_S / 2 for r in records if r["status"] == "cut")
