"""A chat server in the test's own event loop: it records every body, and each of its answers is different."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from web_app import served

AWKWARD = ["It", ' is "quoted"', ",\nbroken", " é\U0001f600", "\\", " and number "]
"""Pieces that JSON escapes."""


@dataclass
class ChatServer:
    """What it was asked, and what it answered."""

    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    fails: frozenset[int] = frozenset()
    """Numbers of requests that get HTTP 500 with their whole body as message."""
    reasons: bool = False
    """Each answer begins with reasoning."""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer one request, streamed or not."""
        body, number = await request.json(), len(self.bodies)
        self.bodies.append(body)
        pieces = [*AWKWARD, str(number)]
        self.answers.append("".join(pieces))
        if number in self.fails:
            return web.json_response({"error": {"message": f"cannot do {json.dumps(body)}"}}, status=500)
        usage = {"prompt_tokens": 9, "completion_tokens": len(pieces) + self.reasons}
        if not body["stream"]:
            message = {"role": "assistant", "content": self.answers[-1]}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            return web.json_response({"choices": [choice], "usage": usage})
        reply = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await reply.prepare(request)
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
        deltas += [{"reasoning_content": "hm"}] if self.reasons else []
        deltas += [{"content": piece} for piece in pieces]
        for delta in deltas:
            await self._event(reply, [{"index": 0, "delta": delta, "finish_reason": None}], None)
        await self._event(reply, [{"index": 0, "delta": {}, "finish_reason": "stop"}], None)
        await self._event(reply, [], usage)
        await reply.write(b"data: [DONE]\n\n")
        return reply

    @staticmethod
    async def _event(reply: web.StreamResponse, choices: list[Any], usage: Any) -> None:
        event = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices}
        await reply.write(f"data: {json.dumps({**event, 'usage': usage}, separators=(',', ':'))}\n\n".encode())
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def chat_server(**options: Any) -> AsyncIterator[ChatServer]:
    """Serve on a free port of this machine."""
    server = ChatServer(**options)
    app = web.Application(client_max_size=2**24)
    app.router.add_post("/v1/chat/completions", server.answer)
    async with served(app) as server.url:
        yield server
