"""A server that refuses requests beyond a number in flight, or all of them, on an event loop in a thread."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from aiohttp import web


@dataclass
class LimitedServer:
    """An OpenAI-compatible server of constant speed. It has no /metrics."""

    most: int
    """Requests in flight beyond which it answers HTTP 429; 0 = it answers HTTP 400 to all."""
    token_s: float
    time_scale: float
    url: str = ""
    model: str = "limited"
    vocab_size: int | None = 32_000
    simulated: bool = False
    in_flight: int = 0
    refused: int = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Stream the tokens that are asked for, or refuse."""
        asked = int((await request.json())["max_tokens"])
        if self.most == 0:
            return web.json_response({"error": {"message": "this model cannot be served"}}, status=400)
        if self.in_flight >= self.most:
            self.refused += 1
            return web.json_response({"error": {"message": "too many requests"}}, status=429)
        self.in_flight += 1
        try:
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
        finally:
            self.in_flight -= 1

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
