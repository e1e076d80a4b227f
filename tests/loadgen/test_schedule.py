"""Open loop, closed loop, conversations, drain, and that nothing accumulates."""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rooftune.loadgen import runner as runner_module
from rooftune.loadgen.job import split
from rooftune.loadgen.process_count import processes_needed
from rooftune.loadgen.self_monitor import ROOM, raise_descriptor_limit
from rooftune.loadgen.wire import Exchange, Response
from rooftune.workloads.draw import draw
from rooftune.workloads.request_plan import COLUMNS
from tests.faults import faults  # noqa: F401 - registers them
from tests.faults.server import MisbehavingServer, misbehaving
from tests.loadgen.harness import ended, load_server, stop_when, workload

TALK = {"turns": {"distribution": "fixed", "value": 3}, "think_s": 0.02}


@pytest.fixture(scope="module")
def server() -> Iterator[MisbehavingServer]:
    with misbehaving() as running:
        yield running


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 7),
    seed=st.integers(0, 1000),
    rate=st.floats(1, 60),
    talk=st.booleans(),
    slots=st.none() | st.integers(7, 20),
)
def test_the_union_of_the_shares_is_the_plan(n: int, seed: int, rate: float, talk: bool, slots: int | None) -> None:
    arrivals: dict[str, Any] = {"process": "poisson", "rate_per_s": rate}
    if slots:
        arrivals = {"process": "closed", "concurrency": slots}
    plan = draw(workload(arrivals=arrivals, duration_s=3, seed=seed, conversations=TALK if talk else None))
    shares = split(plan, n)
    index = np.concatenate([s.index for s in shares])
    assert sorted(index.tolist()) == list(range(len(plan)))
    for name in COLUMNS:
        if getattr(plan, name) is None:
            continue
        joined = np.concatenate([getattr(s.plan, name) for s in shares])
        np.testing.assert_array_equal(joined[np.argsort(index)], getattr(plan, name))
    if plan.concurrency:
        assert sum(s.plan.concurrency or 0 for s in shares) == plan.concurrency
    for k, share in enumerate(shares):
        key = share.plan.conversation if talk else share.index
        assert (key % n == k).all()


def test_more_load_needs_no_fewer_processes() -> None:
    needed = [
        processes_needed(draw(workload(arrivals={"process": "constant", "rate_per_s": rate}, duration_s=10)), 10, 1.0)
        for rate in (1, 100, 1000, 3000, 9000)
    ]
    assert needed == sorted(needed)
    assert needed[0] == 1
    assert needed[-1] > 4


LONG_S = 60.0
"""A load of this length ends by its ``watch``, so that no answer is too late on a busy machine."""


async def test_an_open_loop_sends_everything_whatever_the_server_does(
    server: MisbehavingServer, tmp_path: Path
) -> None:
    load = workload(arrivals={"process": "poisson", "rate_per_s": 200}, duration_s=0.4)
    plan = draw(load)
    everything_sent = stop_when(lambda runner: runner.sender.peak == len(plan))
    loaded = await load_server(load, f"{server.url}/stalls_before_head", tmp_path, plan=plan, watch=everything_sent)
    records = loaded.records
    assert [r["index"] for r in records] == list(range(len(plan)))
    assert {r["status"] for r in records} == {"cut"}
    np.testing.assert_allclose([r["scheduled_s"] for r in records], plan.arrival_s, atol=1e-9)
    assert all(r["sent_s"] >= r["scheduled_s"] for r in records)


async def test_a_closed_loop_keeps_its_number_in_flight(tmp_path: Path) -> None:
    load = workload(arrivals={"process": "closed", "concurrency": 5}, duration_s=LONG_S)
    with misbehaving() as server:
        enough = stop_when(lambda runner: runner.counts["completed"] >= 15 and server.most_present >= 5)
        loaded = await load_server(load, f"{server.url}/good", tmp_path, watch=enough)
        assert server.most_present == 5
    records = loaded.records
    assert {r["status"] for r in records} <= {"completed", "cut"}
    assert loaded.runner.sender.peak == 5
    ends = sorted(r["end_s"] for r in records)
    starts = sorted(r["sent_s"] for r in records)
    assert all(start >= end for start, end in zip(starts[5:], ends, strict=False))


@pytest.mark.parametrize("talk", [False, True])
async def test_users_think_between_an_answer_and_their_next_request(talk: bool, tmp_path: Path) -> None:
    arrivals = {"process": "closed", "concurrency": 3, "think_s": 0.05}
    load = workload(arrivals=arrivals, duration_s=LONG_S, conversations=TALK if talk else None)
    plan = draw(load)
    with misbehaving() as server:
        watch = stop_when(lambda runner: runner.counts["completed"] >= 20)
        records = (await load_server(load, f"{server.url}/good", tmp_path, plan=plan, watch=watch)).records
        assert server.most_present <= 3
    by_index = {r["index"]: r for r in records}
    first = [r for r in records if r["turn"] == 0]
    begun = sorted(first, key=lambda r: r["index"])
    for r in begun[:3]:
        assert r["scheduled_s"] == pytest.approx(plan.think_s[r["index"]], abs=1e-6)
    over = [r for r in records if r["turn"] == (2 if talk else 0) and r["status"] == "completed"]
    ends = [r["end_s"] for r in over]
    for r in begun[3:]:
        free_s = r["scheduled_s"] - float(plan.think_s[r["index"]])
        nearest = ends[int(np.argmin(np.abs(np.array(ends) - free_s)))]
        assert free_s == pytest.approx(nearest, abs=1e-6)
        ends.remove(nearest)  # each user who has become free takes one request
    for r in records:
        if r["turn"] > 0:
            assert r["scheduled_s"] >= by_index[r["index"] - 1]["end_s"]


async def test_a_turn_waits_for_the_answer_and_the_think_time(server: MisbehavingServer, tmp_path: Path) -> None:
    load = workload(arrivals={"process": "constant", "rate_per_s": 20}, conversations=TALK, duration_s=0.5)
    plan = draw(load)
    longer = load.model_copy(update={"duration_s": LONG_S})
    watch = stop_when(ended(len(plan)))
    records = (await load_server(longer, f"{server.url}/good", tmp_path, plan=plan, watch=watch)).records
    by_turn = {(r["conversation"], r["turn"]): r for r in records}
    follows = [r for r in records if r["turn"] > 0]
    assert len(follows) == 20
    for r in follows:
        before = by_turn[r["conversation"], r["turn"] - 1]
        assert r["scheduled_s"] == pytest.approx(before["end_s"] + plan.think_s[r["index"]], abs=1e-6)


async def test_a_turn_that_is_due_after_the_end_is_left_out(server: MisbehavingServer, tmp_path: Path) -> None:
    patient = {"turns": {"distribution": "fixed", "value": 3}, "think_s": 3600.0}
    load = workload(arrivals={"process": "constant", "rate_per_s": 20}, conversations=patient, duration_s=0.1)
    loaded = await load_server(load, f"{server.url}/good", tmp_path)
    assert [(r["turn"], r["status"]) for r in loaded.records] == [(0, "completed")] * 2
    assert loaded.runner.counts["left_out"] == 4


async def test_after_a_failed_turn_the_next_ones_are_never_begun(server: MisbehavingServer, tmp_path: Path) -> None:
    load = workload(arrivals={"process": "constant", "rate_per_s": 20}, conversations=TALK, duration_s=0.2)
    plan = draw(load)
    longer = load.model_copy(update={"duration_s": LONG_S})
    watch = stop_when(ended(len(plan) // 3))
    loaded = await load_server(longer, f"{server.url}/no_done", tmp_path, plan=plan, watch=watch)
    statuses = [r["status"] for r in loaded.records]
    assert statuses == ["failed", "never_begun", "never_begun"] * 4
    assert loaded.runner.counts["never_begun"] == 8


@pytest.mark.parametrize("endpoint", ["completions", "chat"])
async def test_the_same_seed_sends_the_same_bytes(server: MisbehavingServer, tmp_path: Path, endpoint: str) -> None:
    load = workload(conversations=TALK, endpoint=endpoint, arrivals={"process": "constant", "rate_per_s": 20})
    longer = load.model_copy(update={"duration_s": LONG_S})
    sent = []
    for attempt in ("a", "b"):
        server.bodies.clear()
        plan = draw(load)
        name = "good_chat" if endpoint == "chat" else "good"
        watch = stop_when(ended(len(plan)))
        loaded = await load_server(longer, f"{server.url}/{name}", tmp_path / attempt, plan=plan, watch=watch)
        sent.append(sorted(server.bodies))
        assert {r["chunks"] for r in loaded.records} == {8}
        assert len(loaded.records) == len(plan)
    assert sent[0] == sent[1]
    if endpoint == "chat":
        talks = sorted((json.loads(b)["messages"] for b in sent[0]), key=len)
        assert [m["role"] for m in talks[-1]] == ["user", "assistant"] * 2 + ["user"]


async def test_what_is_asked_of_the_server(server: MisbehavingServer, tmp_path: Path) -> None:
    server.bodies.clear()
    await load_server(workload(duration_s=0.01), f"{server.url}/good", tmp_path / "a")
    await load_server(
        workload(duration_s=0.01, ignore_eos=False), f"{server.url}/good", tmp_path / "b", continuous_usage=True
    )
    first, second = (json.loads(b) for b in server.bodies)
    assert first["ignore_eos"] is True
    assert first["max_tokens"] == 8
    assert first["stream_options"] == {"include_usage": True}
    assert len(first["prompt"]) == 5
    assert "ignore_eos" not in second
    assert second["stream_options"]["continuous_usage_stats"] is True


async def test_the_same_records_through_aiohttp(server: MisbehavingServer, tmp_path: Path) -> None:
    names = ("index", "status", "chunks", "output_tokens", "prompt_tokens", "finish_reason", "streamed_tokens")
    both = []
    for through in ("sockets", "aiohttp"):
        records = (await load_server(workload(), f"{server.url}/good", tmp_path / through, through=through)).records
        both.append([tuple(r[n] for n in names) for r in records])
    assert both[0] == both[1]


async def test_nothing_accumulates(server: MisbehavingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Finished requests leave nothing behind, and bodies are made only a little ahead. Objects are counted."""
    most = 0
    send = runner_module.Runner._send

    def counting(self: Any, local: int, due: float) -> None:
        nonlocal most
        most = max(most, len(self._ready))
        send(self, local, due)

    monkeypatch.setattr(runner_module.Runner, "_send", counting)
    load = workload(arrivals={"process": "constant", "rate_per_s": 150}, duration_s=2.5)
    monkeypatch.setattr(runner_module, "WRITE_EVERY_S", 0.2)
    loaded = await load_server(load, f"{server.url}/good", tmp_path)
    runner = loaded.runner
    assert len(loaded.records) == 375
    assert most <= runner_module.READY_BODIES
    assert len(list(tmp_path.glob("requests-*.parquet"))) >= 2, "written while it ran"
    assert not runner.in_flight
    assert len(runner.rows) == 0
    gc.collect()
    assert sum(isinstance(o, (Exchange, Response)) for o in gc.get_objects()) <= 2 * runner.sender.peak


@pytest.mark.skipif(sys.platform != "linux", reason="the table of open files is Linux's")
async def test_room_for_connections_is_made_before_the_load(server: MisbehavingServer, tmp_path: Path) -> None:
    """Otherwise the kernel stops the process for milliseconds each time the table doubles."""
    load = workload(arrivals={"process": "constant", "rate_per_s": 20}, duration_s=0.2)
    await load_server(load, f"{server.url}/good", tmp_path)
    size = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("FDSize"))
    assert int(size.split()[1]) >= min(ROOM, raise_descriptor_limit() or ROOM)
