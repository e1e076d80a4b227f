"""The HTTP front of the simulated engine in the test's own event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from rooftune.simulator.engine.core import EngineCore, Noise
from rooftune.simulator.front.__main__ import build
from rooftune.simulator.front.protocol import HttpProtocol
from rooftune.simulator.front.server import EngineFront

FLAGS = {"quantization": "awq", "enforce_eager": True, "max_model_len": 512}


def core_of(version: str = "0.15.1", **flags: Any) -> EngineCore:
    """A small engine on a T4."""
    return build("T4", "llama-2-7b", version, {**FLAGS, **flags}, Noise())


@asynccontextmanager
async def serving(core: EngineCore, time_scale: float = 100.0) -> AsyncIterator[tuple[EngineFront, int]]:
    """Serve it on a free port."""
    server = EngineFront(core, "m", time_scale)
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(lambda: HttpProtocol(server.handle), "127.0.0.1", 0)
    task = asyncio.create_task(server.run())
    try:
        yield server, listening.sockets[0].getsockname()[1]
    finally:
        task.cancel()
        listening.close()
