"""A closed loop of users on a server: the load under which a grid is measured."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field

import aiohttp

from benchmarks.other_work import OtherWork
from rooftune.engines.server import ServerInfo

SHARED = [3 + i * 37 % 4000 for i in range(96)]
"""The first tokens of every prompt."""
PROMPT, OUTPUT = (160, 224), (20, 28)
"""Fewest and most tokens."""


@dataclass(frozen=True)
class Under:
    """What a server did in a window."""

    tokens_per_s: float
    """In the time of the server, whose clock may be faster than this machine's."""
    others: float


@dataclass
class Users:
    """Users who each send the next request when the last one is answered."""

    server: ServerInfo
    count: int
    draws: random.Random
    tokens: int = 0
    ending: bool = field(default=False, init=False)

    async def window(self, ramp_s: float, window_s: float, own: list[int]) -> Under:
        """Tokens per second in a window after a ramp.

        Args:
            own: processes whose work belongs to the measurement, besides this one.
        """
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            users = [asyncio.create_task(self._user(session)) for _ in range(self.count)]
            try:
                await asyncio.sleep(ramp_s)
                work, before, began = OtherWork(own), self.tokens, time.monotonic()
                await asyncio.sleep(window_s)
                seconds = (time.monotonic() - began) * self.server.time_scale
                return Under((self.tokens - before) / seconds, work.share())
            finally:
                self.ending = True
                for user in users:
                    user.cancel()
                ended = await asyncio.gather(*users, return_exceptions=True)
                _raise_errors(ended)

    async def _user(self, session: aiohttp.ClientSession) -> None:
        while not self.ending:
            length = self.draws.randint(*PROMPT)
            prompt = SHARED + [self.draws.randint(3, 4000) for _ in range(length - len(SHARED))]
            body = {
                "model": self.server.model, "prompt": prompt, "max_tokens": self.draws.randint(*OUTPUT),
                "ignore_eos": True, "stream": True,
            }  # fmt: skip
            async with session.post(self.server.url + "/v1/completions", json=body) as reply:
                reply.raise_for_status()
                async for line in reply.content:
                    self.tokens += line.startswith(b"data: {")


def _raise_errors(ended: list[BaseException | None]) -> None:
    """Raise what a user failed with; that it was cancelled is the end of every window."""
    for error in ended:
        if error is not None and not isinstance(error, asyncio.CancelledError):
            raise error
