"""POST requests to one server over one session: JSON in, JSON out, every error in one sentence."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from rooftune.engines.http_client import HttpReply, api_error, key_headers
from rooftune.engines.urls import is_local
from rooftune.errors import EngineError

if TYPE_CHECKING:
    import aiohttp

REFUSED, FAILED = 400, 500
"""HTTP status of a request that is itself wrong, and the lowest status of a failure of the server. What the server says
then may quote the prompt, so it is not repeated."""
Item = TypeVar("Item")
Result = TypeVar("Result")


class Rejected(EngineError):
    """The server refuses this request and may accept others: it is too long, or has a field that is not known."""


@dataclass(frozen=True)
class Poster:
    """Posts to one server."""

    url: str
    session: aiohttp.ClientSession

    async def post(self, path: str, body: dict[str, object]) -> object:
        """The reply's JSON.

        Raises:
            Rejected: the server refuses this request.
            EngineError: it refuses all, does not answer in time, or answers something else.
        """
        import aiohttp

        try:
            async with self.session.post(self.url + path, json=body) as reply:
                raw = await reply.read()
                found = HttpReply(reply.status, raw.decode(errors="replace"), reply.content_type)
        except asyncio.TimeoutError:
            limit = self.session.timeout.total or 0.0
            raise EngineError(
                f"{self.url} did not answer a request within {limit:.0f} s; see its log.", "timeout"
            ) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            found = HttpReply(0, str(error) or type(error).__name__)
        if found.status == REFUSED:
            raise Rejected(f"{self.url} refuses a request (HTTP {REFUSED}); its log says why.", "rejected")
        if found.status >= FAILED:
            raise EngineError(f"{self.url} answers HTTP {found.status}; its log says why.", "http")
        wrong = api_error(found, self.url)
        if wrong is not None:
            raise wrong
        value: object = found.json()
        return value


@contextlib.asynccontextmanager
async def posting(url: str, timeout_s: float) -> AsyncIterator[Poster]:
    """A poster for one server; the API key is that of the environment."""
    import aiohttp

    async with aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=timeout_s),
        connector=aiohttp.TCPConnector(limit=0),
        headers=key_headers(),
        trust_env=not is_local(url),
    ) as session:
        yield Poster(url.rstrip("/"), session)


async def each_accepted(items: Sequence[Item], at_once: int, ask: Callable[[Item], Awaitable[Result]]) -> list[Result]:
    """As ``each``, without the items that the server refuses.

    Raises:
        Rejected: it refuses all.
    """
    refused: list[Rejected] = []

    async def one(item: Item) -> Sequence[Result]:
        try:
            return [await ask(item)]
        except Rejected as error:
            refused.append(error)
            return []

    found = [result for results in await each(items, at_once, one) for result in results]
    if refused and not found:
        raise refused[0]
    return found


async def each(items: Sequence[Item], at_once: int, ask: Callable[[Item], Awaitable[Result]]) -> list[Result]:
    """The results for all items in their order, a few at a time. The first error cancels the others."""
    places = asyncio.Semaphore(at_once)

    async def one(item: Item) -> Result:
        async with places:
            return await ask(item)

    tasks = [asyncio.ensure_future(one(item)) for item in items]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
