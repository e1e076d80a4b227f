"""Runs a client process's work in the test's own process, which takes a fraction of a second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rooftune.loadgen.job import Job, split
from rooftune.loadgen.runner import Runner
from rooftune.loadgen.summary import LoadOptions
from rooftune.loadgen.wire import open_sender
from rooftune.loadgen.wire.aiohttp_sender import AiohttpSender
from rooftune.loadgen.wire.route import api_path
from rooftune.workloads.draw import draw
from rooftune.workloads.request_plan import RequestPlan
from rooftune.workloads.spec import Workload


def workload(**changes: Any) -> Workload:
    """Ten requests in a tenth of a second, eight tokens each."""
    value: dict[str, Any] = {
        "name": "small",
        "arrivals": {"process": "constant", "rate_per_s": 100},
        "prompt_tokens": {"distribution": "fixed", "value": 5},
        "output_tokens": {"distribution": "fixed", "value": 8},
        "duration_s": 0.1,
        "drain_s": 30,
    }
    return Workload.model_validate({**value, **changes})


Watch = Callable[[Runner, asyncio.Event], None]
Condition = Callable[[Runner], bool]


def stop_when(condition: Condition) -> Watch:
    """Stop the load as soon as the condition holds; how long that takes does not matter."""

    def watch(runner: Runner, stop: asyncio.Event) -> None:
        if condition(runner):
            stop.set()

    return watch


def time_out_when(condition: Condition) -> Watch:
    """Let every request in flight time out as soon as the condition holds, and never before."""

    def watch(runner: Runner, stop: asyncio.Event) -> None:
        if condition(runner):
            runner.request_timeout_s = 0.0

    return watch


def ended(count: int) -> Condition:
    """Whether this many requests have ended."""
    return lambda runner: sum(runner.counts[name] for name in ("completed", "failed", "refused")) >= count


async def _watch(watch: Watch, runner: Runner, stop: asyncio.Event) -> None:
    while True:
        await asyncio.sleep(0.002)
        watch(runner, stop)


@dataclass(frozen=True)
class Loaded:
    """What a load has left behind."""

    records: list[dict[str, Any]]
    """In the order of the plan."""
    runner: Runner


async def load_server(
    load: Workload,
    url: str,
    folder: Path,
    *,
    through: str = "sockets",
    plan: RequestPlan | None = None,
    watch: Watch | None = None,
    **options: Any,
) -> Loaded:
    """Load a server from this process.

    Args:
        load: the workload.
        url: the server's root.
        folder: where parts go.
        through: "sockets" or "aiohttp".
        plan: the plan; None draws it.
        watch: called every few milliseconds while the load runs; see ``stop_when`` and ``time_out_when``.
        options: of ``LoadOptions``.
    """
    chosen = LoadOptions(**{"url": url, "model": "m", "endpoint": load.endpoint, **options})
    folder.mkdir(parents=True, exist_ok=True)
    (share,) = split(plan or draw(load), 1)
    runner = Runner(Job(0, share, chosen, folder, load.total_s, load.drain_s, load.ignore_eos))
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    if through == "aiohttp":
        sender = AiohttpSender(chosen.url, api_path(chosen.endpoint), None, runner.ended)
        await sender.open()
        runner.prepare(loop, sender)
    else:
        runner.prepare(loop, await open_sender(loop, chosen, None, runner.ended))
    watching = asyncio.create_task(_watch(watch, runner, stop)) if watch else None
    await runner.run(time.monotonic() + 0.02, stop, lambda: None)
    if watching is not None:
        watching.cancel()
    return Loaded(rows(folder), runner)


def rows(folder: Path) -> list[dict[str, Any]]:
    """All records of the parts in a folder."""
    tables = [pq.ParquetFile(p).read() for p in sorted(folder.glob("requests-*.parquet"))]
    found: list[dict[str, Any]] = pa.concat_tables(tables).to_pylist() if tables else []
    return sorted(found, key=lambda row: row["index"])
