"""OfferedLoad for the simulated engine's HTTP front: many streams kept up, chunks counted, the engine's clock read
from its metrics."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

STREAMS, LEAST_CHUNKS_PER_S, MOST_LATE_S = 2_000, 20_000, 0.005
GPU, MODEL, VERSION = "L4", "qwen2.5-0.5b", "0.32.0"
FLAGS = ("max_num_seqs=2048", "max_num_batched_tokens=4096", "max_model_len=2048")
"""2,000 sequences of this model take about 85 ms per step on this GPU: about 24,000 tokens per second, one per
chunk."""
CLOCK = "rooftune:clock_late_seconds"
SETTLE_S, MEASURE_S = 8.0, 20.0


@dataclass(frozen=True)
class Front:
    """What was measured. Seconds."""

    about: str
    streams: int
    chunks_per_s: float
    late_p50_s: float
    late_p99_s: float
    delivery_p99_s: float
    """From a step's end until all its chunks are handed to the sockets."""
    busy: float


class OpenStream(asyncio.Protocol):
    """One connection that asks again as soon as its answer has ended."""

    def __init__(self, count: list[int], body: bytes) -> None:
        self.count, self.body = count, body
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.ask()

    def ask(self) -> None:
        assert self.transport is not None
        head = f"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(self.body)}\r\n\r\n"
        self.transport.write(head.encode() + self.body)

    def data_received(self, data: bytes) -> None:
        self.count[0] += data.count(b'"finish_reason"')
        if data.endswith(b"\r\n0\r\n\r\n"):
            self.ask()


def measure(streams: int = STREAMS + 100) -> Front:
    """Start an engine on one core, keep this many streams up from another, and read what both saw."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    words = [sys.executable, "-m", "rooftune.simulator.front"]
    words += ["--gpu", GPU, "--model", MODEL, "--engine-version", VERSION]
    words += ["--port", str(port), "--served-model-name", "m", "--noise", "0"]
    words += [w for flag in FLAGS for w in ("--set", flag)]
    with tempfile.TemporaryDirectory() as folder:
        with (Path(folder) / "log").open("wb") as log:
            engine = subprocess.Popen(words, stderr=log, stdout=log)
        cores = sorted(os.sched_getaffinity(0))
        try:
            os.sched_setaffinity(engine.pid, {cores[0]})
            os.sched_setaffinity(0, set(cores[1:] or cores))
            _wait(port)
            return _run(engine.pid, port, streams)
        finally:
            os.sched_setaffinity(0, set(cores))
            engine.terminate()
            engine.wait()


def _wait(port: int) -> None:
    for _ in range(200):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).read()
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("the engine did not answer within 20 s")


def _run(pid: int, port: int, streams: int) -> Front:
    import uvloop

    return uvloop.run(_load(pid, port, streams))


async def _load(pid: int, port: int, streams: int) -> Front:
    loop, count = asyncio.get_running_loop(), [0]
    for i in range(streams):
        prompt = [3 + (i * 31 + k) % 30000 for k in range(24)]
        body = json.dumps({"model": "m", "prompt": prompt, "max_tokens": 200 + i % 200, "stream": True}).encode()
        await loop.create_connection(lambda body=body: OpenStream(count, body), "127.0.0.1", port)  # type: ignore[misc]
    await asyncio.sleep(SETTLE_S)
    chunks, began, spent, before = count[0], time.perf_counter(), _cpu_s(pid), await _metrics(port)
    await asyncio.sleep(MEASURE_S)
    seconds = time.perf_counter() - began
    chunks, spent, after = count[0] - chunks, _cpu_s(pid) - spent, await _metrics(port)
    running = _value(after, "vllm:num_requests_running")
    return Front(
        about=f"{MODEL} on {GPU}, vLLM {VERSION}, {', '.join(FLAGS)}",
        streams=int(running),
        chunks_per_s=chunks / seconds,
        late_p50_s=_quantile(CLOCK, before, after, 0.5),
        late_p99_s=_quantile(CLOCK, before, after, 0.99),
        delivery_p99_s=_quantile("rooftune:delivery_seconds", before, after, 0.99),
        busy=spent / seconds,
    )


async def _metrics(port: int) -> str:
    def get() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            return str(answer.read().decode())

    return await asyncio.to_thread(get)


def _value(text: str, name: str) -> float:
    found = re.search(rf"^{re.escape(name)}{{[^}}]*}} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else float("nan")


def _quantile(name: str, before: str, after: str, q: float) -> float:
    """Upper edge of the bucket that holds a quantile of what was observed between the two pages."""
    pattern = rf'^{name}_bucket{{[^}}]*le="([^"]+)"}} (\S+)$'
    old = {edge: float(n) for edge, n in re.findall(pattern, before, re.MULTILINE)}
    counts = [(float(edge), float(n) - old[edge]) for edge, n in re.findall(pattern, after, re.MULTILINE)]
    total = counts[-1][1]
    return next((edge for edge, n in counts if n >= q * total), float("inf"))


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
