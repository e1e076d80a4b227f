"""``python -m rooftune.loadgen.worker``: one client process. Started by ``client.py`` only.

Standard input carries eight bytes with the length of a pickled ``Job``, the job, later ``start T`` (time of the
monotonic clock) and perhaps ``stop``. When it ends, the parent is gone: the process writes its records and exits.
Standard output carries a line of JSON per second: ``{"ready": true}`` first, then ``{"status": ...}``, and
``{"done": ...}`` or ``{"error": ...}`` last.
"""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import signal
import sys
from dataclasses import asdict
from typing import Any

from rooftune.errors import RooftuneError
from rooftune.loadgen.job import Job
from rooftune.loadgen.runner import Runner
from rooftune.loadgen.wire import open_sender


def main() -> int:
    """Read the job, wait for the start, load, report."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches the whole group, and the parent ends this process in order
    size = int.from_bytes(_read(8), "big")
    job: Job = pickle.loads(_read(size))
    sys.meta_path.insert(0, _NoPandas())
    # The thread that writes records must give the interpreter back to the loop quickly.
    sys.setswitchinterval(0.0005)
    try:
        import uvloop

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    except ImportError:
        pass
    try:
        asyncio.run(_work(job))
    except RooftuneError as error:
        _write({"error": str(error)}, wait=True)
        return 1
    return 0


class _NoPandas:
    """Hides pandas from pyarrow, which imports it at the first conversion and would cost half a second and 40 MB."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "pandas":
            raise ImportError("the client does not use pandas", name=name)


async def _work(job: Job) -> None:
    loop = asyncio.get_running_loop()
    key = os.environ.get(job.options.api_key_env) or None
    runner = Runner(job)
    runner.prepare(loop, await open_sender(loop, job.options, key, runner.ended))
    began, stop = loop.create_future(), asyncio.Event()
    commands = bytearray()

    def read_commands() -> None:
        data = os.read(0, 65536)
        commands.extend(data)
        for line in commands.splitlines():
            if line.startswith(b"start ") and not began.done():
                began.set_result(float(line[6:]))
            elif line == b"stop":
                stop.set()
        if not data:
            loop.remove_reader(0)
            stop.set()
            if not began.done():
                began.cancel()

    loop.add_reader(0, read_commands)
    os.set_blocking(1, False)
    _write({"ready": True}, wait=True)
    try:
        at = await began
    except asyncio.CancelledError:
        return
    await runner.run(at, stop, lambda: _write({"status": asdict(runner.status())}))
    _write({"done": asdict(runner.report())}, wait=True)


def _read(size: int) -> bytes:
    found = b""
    while len(found) < size:
        more = os.read(0, min(size - len(found), 1 << 20))
        if not more:
            raise SystemExit(1)
        found += more
    return found


def _write(line: dict[str, Any], *, wait: bool = False) -> None:
    """Write one line to the parent. Drop it if the parent does not read, unless ``wait`` is set."""
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
