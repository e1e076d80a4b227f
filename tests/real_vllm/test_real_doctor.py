"""The doctor beside a real vLLM: idle, and with more requests than its batch takes."""

from __future__ import annotations

import asyncio
import contextlib

import aiohttp

from rooftune.doctor.configuration import read_log
from rooftune.doctor.examine import examine
from rooftune.engines.server import ServerInfo
from rooftune.runfolder import TrialFolder

MOST_SEQUENCES = 16
"""Of the server under test."""


async def _occupy(url: str, model: str, requests: int) -> None:
    """Send many long requests at once, until cancelled."""
    body = {"model": model, "prompt": [5] * 16, "max_tokens": 1500, "ignore_eos": True}

    async def one(session: aiohttp.ClientSession) -> None:
        async with session.post(f"{url}/v1/completions", json=body) as answer:
            await answer.read()

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(one(session) for _ in range(requests)))


async def test_an_idle_server(server: ServerInfo, folder: TrialFolder) -> None:
    found = await examine(server.url, 1.0, read_log(folder.server_log), "chat-low")
    by_id = {f.id: f for f in found.findings}
    assert not found.busy
    assert "idle" in by_id
    assert found.effective.model_copy(update={"raw": {}}) == server.effective.model_copy(update={"raw": {}})
    assert by_id["cuda-graphs"].severity == "advice", "the server under test runs in eager mode"
    assert by_id["queue"].severity == by_id["kv"].severity == "fine"


async def test_more_requests_than_the_batch_takes(server: ServerInfo, folder: TrialFolder) -> None:
    load = asyncio.create_task(_occupy(server.url, server.model, 3 * MOST_SEQUENCES))
    try:
        await asyncio.sleep(3.0)
        found = await examine(server.url, 4.0, read_log(folder.server_log), "chat-low")
    finally:
        load.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await load
    queue = next(f for f in found.findings if f.id == "queue")
    assert found.busy
    assert queue.severity == "problem", queue
    assert queue.knob == "max_num_seqs", queue
    assert queue.flags == [f"max_num_seqs={2 * MOST_SEQUENCES}"]
    assert queue.command is not None
    assert f"--set max_num_seqs={MOST_SEQUENCES}" in queue.command
