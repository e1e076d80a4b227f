"""The minimum of a client: a bare uvloop protocol that sends on time and records when each read came. Ours is compared
with it.

``python -m benchmarks.loadgen.bare PORT RATE SECONDS OUT``. It checks nothing, parses nothing and assumes that a
response ends with its last chunk at the end of a read.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from typing import Any

import uvloop

BODY = json.dumps({"model": "stub", "prompt": list(range(1000, 1008)), "max_tokens": 128, "stream": True}).encode()
WIRE = (
    b"POST /v1/completions HTTP/1.1\r\nhost: 127.0.0.1\r\n"
    b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY)
)
FREE: list[Bare] = []
RESULTS: list[list[float]] = []


class Bare(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def begin(self, due: float) -> None:
        self.times = [due]
        self.transport.write(WIRE)

    def data_received(self, data: bytes) -> None:
        self.times.append(time.monotonic())
        if data.endswith(b"0\r\n\r\n"):
            RESULTS.append(self.times)
            FREE.append(self)


async def load(port: int, rate: float, seconds: float) -> None:
    """Send at constant intervals, then wait for the responses."""
    loop = asyncio.get_running_loop()

    async def opened(due: float) -> None:
        _, protocol = await loop.create_connection(Bare, "127.0.0.1", port)
        protocol.begin(due)

    began, sent = time.monotonic(), 0
    tasks = set()
    while (due := began + sent / rate) < began + seconds:
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        if FREE:
            FREE.pop().begin(due)
        else:
            task = loop.create_task(opened(due))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        sent += 1
    until = time.monotonic() + 15
    while len(RESULTS) < sent and time.monotonic() < until:
        await asyncio.sleep(0.02)


def main() -> None:
    """Run the load, then write the times."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    uvloop.install()
    asyncio.run(load(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])))
    spent = resource.getrusage(resource.RUSAGE_SELF)
    with open(sys.argv[4], "w", encoding="utf-8") as out:
        json.dump({"cpu_s": spent.ru_utime + spent.ru_stime, "requests": RESULTS}, out)


if __name__ == "__main__":
    main()
