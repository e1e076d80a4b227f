"""``python -m rooftune.loadgen.worker``: one client process. Started by ``client.py`` only.

Standard input: eight bytes with the length of a pickled ``Job``, the job, later ``start T`` (time of the monotonic clock) and
perhaps ``stop``. Its end means that the parent is gone: what was recorded is written and the process ends. Standard output: a
line of JSON each second, ``{"ready": true}`` first and ``{"done": ...}`` or ``{"error": ...}`` last.
"""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import signal
import sys
import time
from typing import Any
from urllib.parse import urlsplit

from rooftune.errors import RooftuneError
from rooftune.loadgen.job import Job
from rooftune.loadgen.runner import Runner
from rooftune.loadgen.wire.bodies import head
from rooftune.loadgen.wire.route import direct, path_of


def main() -> int:
    """Read the job, wait for the start, load, report."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends us in order
    size = int.from_bytes(_read(8), "big")
    job: Job = pickle.loads(_read(size))
    sys.meta_path.insert(0, _NoPandas())
    # The thread that writes records must not keep the loop waiting for long.
    sys.setswitchinterval(0.0005)
    try:
        import uvloop

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    except ImportError:
        pass
    try:
        asyncio.run(_work(job))
    except RooftuneError as error:
        _tell({"error": str(error)}, wait=True)
        return 1
    return 0


class _NoPandas:
    """pyarrow looks for pandas at its first conversion, which we do without: half a second and 40 MB."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "pandas":
            raise ImportError("the client does without pandas", name=name)


async def _work(job: Job) -> None:
    loop = asyncio.get_running_loop()
    key = os.environ.get(job.options.api_key_env) or None
    url = urlsplit(job.options.url)
    runner = Runner(job, head(url, path_of(job.options), key))
    if direct(job.options.url):
        from rooftune.loadgen.wire.pool import Pool, resolve

        sender: Any = Pool(loop, resolve(url.hostname or "", url.port or 80), runner.ended)
    else:
        from rooftune.loadgen.wire.through_aiohttp import AiohttpSender

        sender = AiohttpSender(job.options, key, runner.ended)
        await sender.open()
    runner.prepare(loop, sender)
    began, stop = loop.create_future(), asyncio.Event()
    orders = bytearray()

    def order() -> None:
        data = os.read(0, 65536)
        orders.extend(data)
        for line in orders.splitlines():
            if line.startswith(b"start ") and not began.done():
                began.set_result(float(line[6:]))
            elif line == b"stop":
                stop.set()
        if not data:
            loop.remove_reader(0)
            stop.set()
            if not began.done():
                began.cancel()

    loop.add_reader(0, order)
    os.set_blocking(1, False)
    _tell({"ready": True}, wait=True)
    try:
        at = await began
    except asyncio.CancelledError:
        return
    await runner.run(at, stop, lambda: _tell({"t": time.monotonic() - at, **runner.status()}))
    _tell({"done": runner.report()}, wait=True)


def _read(size: int) -> bytes:
    found = b""
    while len(found) < size:
        more = os.read(0, min(size - len(found), 1 << 20))
        if not more:
            raise SystemExit(1)
        found += more
    return found


def _tell(line: dict[str, Any], *, wait: bool = False) -> None:
    """One line to the parent; dropped when it does not read, unless it matters."""
    if wait:
        os.set_blocking(1, True)
    try:
        os.write(1, json.dumps(line).encode() + b"\n")
    except (BlockingIOError, BrokenPipeError):
        pass
    if wait:
        os.set_blocking(1, False)


if __name__ == "__main__":
    sys.exit(main())
