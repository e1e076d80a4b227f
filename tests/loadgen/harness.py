"""Runs the client's inside in the test's own process, which takes a fraction of a second."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from rooftune.loadgen.job import Job, split
from rooftune.loadgen.runner import Runner
from rooftune.loadgen.summary import LoadOptions
from rooftune.loadgen.wire.bodies import head
from rooftune.loadgen.wire.pool import Pool, resolve
from rooftune.loadgen.wire.route import path_of
from rooftune.loadgen.wire.through_aiohttp import AiohttpSender
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
        "drain_s": 5,
    }
    return Workload.model_validate({**value, **changes})


def one_after_another(n: int) -> Workload:
    """A closed loop of one that may send n requests."""
    return workload(arrivals={"process": "closed", "concurrency": 1}, duration_s=0.3)


async def fly(
    load: Workload, url: str, folder: Path, *, through: str = "sockets", plan: RequestPlan | None = None, **options: Any
) -> tuple[list[dict[str, Any]], Runner]:
    """Load a server from this process; returns the records in the order of the plan."""
    plan = plan or draw(load)
    chosen = LoadOptions(**{"url": url, "model": "m", "endpoint": load.endpoint, **options})
    (part, index), *_ = split(plan, 1)
    folder.mkdir(parents=True, exist_ok=True)
    job = Job(0, part, index, chosen, folder, load.total_s, load.drain_s, load.ignore_eos)
    parts = urlsplit(url)
    runner = Runner(job, head(parts, path_of(chosen), None))
    loop = asyncio.get_running_loop()
    if through == "aiohttp":
        sender: Any = AiohttpSender(chosen, None, runner.ended)
        await sender.open()
    else:
        sender = Pool(loop, resolve(parts.hostname or "", parts.port or 80), runner.ended)
    runner.prepare(loop, sender)
    await runner.run(time.monotonic() + 0.02, asyncio.Event(), lambda: None)
    return rows(folder), runner


def rows(folder: Path) -> list[dict[str, Any]]:
    """All records of the parts in a folder."""
    tables = [pq.ParquetFile(p).read() for p in sorted(folder.glob("requests-*.parquet"))]
    found: list[dict[str, Any]] = pa.concat_tables(tables).to_pylist() if tables else []
    return sorted(found, key=lambda row: row["index"])
