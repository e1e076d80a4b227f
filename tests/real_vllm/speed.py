"""How fast a server is with one request, and the load that follows from it."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

import aiohttp

from rooftune.engines.server import ServerInfo

PROMPT_TOKENS, OUTPUT_TOKENS = 224, 33


@dataclass(frozen=True)
class Speed:
    """What one request costs on an otherwise idle server."""

    prefill_s_per_token: float
    step_s: float

    def first_token_s(self, prompt_tokens: float) -> float:
        """Time to the first token."""
        return self.prefill_s_per_token * prompt_tokens

    def request_s(self, prompt_tokens: float, output_tokens: float) -> float:
        """Time from the request to its last token."""
        return self.first_token_s(prompt_tokens) + self.step_s * output_tokens

    def easy_rate_per_s(self, prompt_tokens: float, output_tokens: float) -> float:
        """Requests per second that keep about two requests running and a third of the time for prefill, at most two."""
        return min(
            2.0,
            2.0 / self.request_s(prompt_tokens, output_tokens),
            0.33 / self.first_token_s(prompt_tokens),
        )


async def measure_speed(server: ServerInfo) -> Speed:
    """Send a few requests, one at a time, and keep the fastest."""
    found = []
    async with aiohttp.ClientSession() as session:
        for number in range(4):
            found.append(await _one(session, server, number))
    return min(found[1:], key=lambda s: s.request_s(PROMPT_TOKENS, OUTPUT_TOKENS))  # the first one warms up


async def _one(session: aiohttp.ClientSession, server: ServerInfo, number: int) -> Speed:
    body = {
        "model": server.model,
        "prompt": [3 + (number * 131 + i * 7) % 4000 for i in range(PROMPT_TOKENS)],
        "max_tokens": OUTPUT_TOKENS,
        "ignore_eos": True,
        "stream": True,
    }
    began, times = time.monotonic(), []
    async with session.post(server.url + "/v1/completions", json=body) as reply:
        async for line in reply.content:
            if line.startswith(b"data: {") and json.loads(line[6:])["choices"]:
                times.append(time.monotonic())
    return Speed((times[0] - began) / PROMPT_TOKENS, (times[-1] - times[0]) / (OUTPUT_TOKENS - 1))
