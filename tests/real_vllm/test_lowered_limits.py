"""Limits of a real vLLM lowered while it runs, beside a server that was started with them."""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

import pytest

from benchmarks.other_work import OtherWork
from rooftune.engines import metrics, switching
from rooftune.engines.http_client import request
from rooftune.engines.launch import start, stop
from rooftune.engines.server import Limits, ServerInfo
from rooftune.engines.target import Target
from rooftune.errors import EngineError
from rooftune.files import write_json
from rooftune.runfolder import TrialFolder
from rooftune.vllm_rules.config import EngineConfig
from tests.real_vllm.saturated import ClosedLoop

HIGH, LOW, USERS = 16, 4, 16
WINDOW_CPU_S, PAIRS = 10.0, 16
DIFFERENCE, NOISE, OTHERS = 0.03, 0.06, 0.2
"""Relative difference in tokens per second that is allowed beyond the noise, the noise (three standard errors) up to
which it is judged, and the share of the processors that others may use."""
AS_STARTED = Limits(max_num_seqs=HIGH, max_num_batched_tokens=1024, long_prefill_token_threshold=0)
LOWERED = AS_STARTED.model_copy(update={"max_num_seqs": LOW})


@dataclass(frozen=True)
class Pair:
    """A server with high limits that can be lowered, and one that was started with the low ones."""

    switchable: ServerInfo
    restarted: ServerInfo
    folder: TrialFolder
    """Of the first."""


@pytest.fixture(scope="module")
def pair(target: Target, small: Path, dtype: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both servers at once: one that gets no requests uses no processor time."""
    place = tmp_path_factory.mktemp("pair")
    chosen = target.model_copy(update={"model": str(small)})
    config = EngineConfig(
        model=str(small), dtype=dtype, enforce_eager=True, max_model_len=1024, max_num_seqs=HIGH,
        max_num_batched_tokens=AS_STARTED.max_num_batched_tokens,
    )  # fmt: skip
    folder = TrialFolder(place / "baseline" / "1")
    servers: list[ServerInfo] = []
    try:
        servers.append(asyncio.run(start(chosen, config, folder, ready_timeout_s=400, switchable=True)))
        low = config.with_change({"max_num_seqs": LOW})
        servers.append(asyncio.run(start(chosen, low, TrialFolder(place / "seqs4" / "1"), ready_timeout_s=400)))
        yield Pair(*servers, folder)
    finally:
        for server in servers:
            asyncio.run(stop(server))


def test_it_runs_the_scheduler_of_the_version_and_reports_its_limits(pair: Pair) -> None:
    assert pair.switchable.switchable == AS_STARTED
    assert '"scheduler": "Scheduler"' in pair.folder.server_log.read_text(), "asynchronous scheduling is off on a CPU"
    assert pair.restarted.switchable is None


async def running_of(server: ServerInfo) -> float:
    page = await asyncio.to_thread(metrics.scrape_once, server.url)
    return metrics.parse(page or "").get("running", math.nan)


async def until(true: Callable[[float], bool], server: ServerInfo) -> None:
    """Wait until the number of running requests is so; a minute at most."""
    deadline = time.monotonic() + 60
    while not true(running := await running_of(server)):
        assert time.monotonic() < deadline, f"{running} requests run"
        await asyncio.sleep(0.05)


async def test_requests_that_run_are_finished_when_the_limit_falls(pair: Pair) -> None:
    loop = ClosedLoop(pair.switchable, USERS, salt=1)
    load = asyncio.create_task(loop.until_ending())
    await until(lambda running: running > LOW, pair.switchable)
    write_json(pair.folder.control_json, {"id": "under load", "max_num_seqs": LOW})
    await until(lambda running: 0 < running <= LOW, pair.switchable)
    ran = [await running_of(pair.switchable) for _ in range(20)]
    loop.ending = True
    await load
    assert max(ran) <= LOW, ran
    assert loop.answered >= USERS, "each user's request is answered, also those that ran before"
    assert '"switched": "under load"' in pair.folder.server_log.read_text()


async def test_the_prefix_cache_is_empty_after_a_switch(pair: Pair) -> None:
    body = {"model": pair.switchable.model, "prompt": list(range(100, 300)), "max_tokens": 2}

    async def hits() -> float:
        await request(pair.switchable.url, "/v1/completions", body=body, timeout_s=60)
        return metrics.parse(await asyncio.to_thread(metrics.scrape_once, pair.switchable.url) or "")[
            "prefix_hits_total"
        ]

    first = await hits()
    second = await hits()
    await switching.switch(pair.switchable, pair.folder, LOWERED, "seqs4/2")
    third = await hits()
    assert first < second == third


async def test_limits_above_those_of_the_start_are_refused(pair: Pair) -> None:
    higher = AS_STARTED.model_copy(update={"max_num_seqs": HIGH + 1})
    with pytest.raises(EngineError, match="limits can only be lowered"):
        await switching.switch(pair.switchable, pair.folder, higher, "seqs17/1")


@pytest.mark.skipif(not os.environ.get("ROOFTUNE_LONG_RUNS"), reason="needs an idle machine for three minutes")
@pytest.mark.measurement
async def test_a_switched_server_is_as_fast_as_one_that_was_started_with_the_limits(pair: Pair) -> None:
    """One server after the other, out and back, so that drift cancels; skips where others use the processors."""
    lowered = await switching.switch(pair.switchable, pair.folder, LOWERED, "seqs4/1")
    assert lowered.effective.max_num_seqs == LOW
    servers = (lowered, pair.restarted)
    work = OtherWork([s.server_pid for s in servers if s.server_pid is not None])
    logs = []
    for number in range(PAIRS):
        rates = {}
        for i in (0, 1) if number % 2 == 0 else (1, 0):
            window = await ClosedLoop(servers[i], USERS, salt=100 + 2 * number + i).window(WINDOW_CPU_S)
            rates[i] = window.tokens_per_s
        logs.append(math.log(rates[0] / rates[1]))
    share, error = work.share(), 3 * stdev(logs) / math.sqrt(PAIRS)
    print(f"switched/restarted {math.exp(mean(logs)):.3f}, 3 standard errors {error:.3f}, others used {share:.0%}")
    if share > OTHERS or error > NOISE:
        pytest.skip(f"this machine is too busy to measure: others used {share:.0%}, three standard errors {error:.3f}")
    assert abs(mean(logs)) < DIFFERENCE + error
    assert lowered.ready_after_s < 0.2 * pair.restarted.ready_after_s, "a switch is much faster than a start"
