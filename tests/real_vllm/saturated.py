"""Load for a server that always has more requests than it runs, and what the server does under it."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass

import aiohttp

from rooftune.engines.readiness import cpu_seconds
from rooftune.engines.server import ServerInfo

PROMPT_TOKENS, OUTPUT_TOKENS = 64, 24
RAMP, LONGEST_S = 0.5, 60.0
"""The ramp before a window in parts of the window, and the longest time of either."""


@dataclass(frozen=True)
class Window:
    """What a server did in a window under load."""

    tokens: int
    seconds: float

    @property
    def tokens_per_s(self) -> float:
        return self.tokens / self.seconds


@dataclass
class ClosedLoop:
    """A number of users, each of whom sends the next request when the last one is answered."""

    server: ServerInfo
    users: int
    salt: int
    """Other prompts for each load, so that none is in the prefix cache."""
    tokens: int = 0
    answered: int = 0
    ending: bool = False

    async def window(self, cpu_s: float) -> Window:
        """Send until the server has used this processor time after a ramp; waits until every request is answered.

        A window of processor time holds about the same work on a busy machine as on an idle one.
        """
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            users = [asyncio.create_task(self._user(session, number)) for number in range(self.users)]
            await self._used(RAMP * cpu_s)
            before, began = self.tokens, time.monotonic()
            await self._used(cpu_s)
            found = Window(self.tokens - before, time.monotonic() - began)
            self.ending = True
            await asyncio.gather(*users)
        return found

    def _cpu_s(self) -> float:
        """Processor seconds of the server with all its processes since it began."""
        assert self.server.server_pid is not None
        return cpu_seconds(self.server.server_pid)

    async def _used(self, cpu_s: float) -> None:
        """Wait until the server has used this much processor time."""
        began, deadline = self._cpu_s(), time.monotonic() + LONGEST_S
        while self._cpu_s() - began < cpu_s and time.monotonic() < deadline:
            await asyncio.sleep(0.05)

    async def until_ending(self) -> None:
        """Send until ``ending`` is set and every request is answered."""
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            await asyncio.gather(*(self._user(session, number) for number in range(self.users)))

    async def _user(self, session: aiohttp.ClientSession, number: int) -> None:
        sent = 0
        while not self.ending:
            await self._request(session, [self.salt, number, sent])
            sent += 1

    async def _request(self, session: aiohttp.ClientSession, start: list[int]) -> None:
        prompt = [3 + x % 4000 for x in start] + [
            3 + (sum(start) * 31 + i * 7) % 4000 for i in range(PROMPT_TOKENS - 3)
        ]
        body = {"model": self.server.model, "prompt": prompt, "max_tokens": OUTPUT_TOKENS}
        body |= {"ignore_eos": True, "stream": True}
        async with session.post(self.server.url + "/v1/completions", json=body) as reply:
            async for line in reply.content:
                self.tokens += line.startswith(b"data: {") and bool(json.loads(line[6:])["choices"])
        self.answered += 1
