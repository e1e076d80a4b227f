"""A server that refuses requests beyond a rate, or all of them, on an event loop in a thread."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from aiohttp import web

BURST = 40.0
"""Requests that an idle server takes at once."""


@dataclass
class LimitedServer:
    """An OpenAI-compatible server of constant speed behind a token bucket, as a gateway has one. It has no /metrics.

    What it refuses depends on the mean rate alone, so a busy machine, which answers late, changes nothing.
    """

    most_per_s: float
    """Requests/s of the load's clock beyond which it answers HTTP 429; 0 = it answers HTTP 400 to all."""
    token_s: float
    time_scale: float
    url: str = ""
    model: str = "limited"
    vocab_size: int | None = 32_000
    simulated: bool = False
    refused: int = 0
    free: float = BURST
    """Requests that it would take at once."""
    filled_s: float = field(default_factory=time.monotonic)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Stream the tokens that are asked for, or refuse."""
        asked = int((await request.json())["max_tokens"])
        if not self.most_per_s:
            return web.json_response({"error": {"message": "this model cannot be served"}}, status=400)
        if not self.takes():
            self.refused += 1
            return web.json_response({"error": {"message": "too many requests"}}, status=429)
        reply = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await reply.prepare(request)
        for i in range(asked):
            await asyncio.sleep(self.token_s)
            reason = "length" if i == asked - 1 else None
            event = {"choices": [{"index": 0, "text": " w", "finish_reason": reason}]}
            await reply.write(f"data: {json.dumps(event)}\n\n".encode())
        usage = {"prompt_tokens": 5, "completion_tokens": asked, "total_tokens": 5 + asked}
        await reply.write(f"data: {json.dumps({'choices': [], 'usage': usage})}\n\n".encode())
        await reply.write(b"data: [DONE]\n\n")
        return reply

    def takes(self) -> bool:
        """Take one request out of the bucket, if there is one."""
        now = time.monotonic()
        self.free = min(BURST, self.free + (now - self.filled_s) * self.time_scale * self.most_per_s)
        self.filled_s = now
        if self.free < 1:
            return False
        self.free -= 1
        return True

    @contextlib.contextmanager
    def running(self) -> Iterator[LimitedServer]:
        """Serve for the length of a block."""
        loop, started = asyncio.new_event_loop(), threading.Event()

        async def start() -> web.AppRunner:
            app = web.Application()
            app.router.add_post("/v1/completions", self.answer)
            runner = web.AppRunner(app)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            return runner

        def serve() -> None:
            asyncio.set_event_loop(loop)
            runner = loop.run_until_complete(start())
            started.set()
            loop.run_forever()
            loop.run_until_complete(runner.cleanup())

        thread = threading.Thread(target=serve)
        thread.start()
        assert started.wait(30)
        try:
            yield self
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(30)
