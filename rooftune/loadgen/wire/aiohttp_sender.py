"""Sends through aiohttp, for TLS and proxies. The records are the same; each chunk costs more CPU time."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from rooftune.loadgen.wire.exchange import Exchange
from rooftune.loadgen.wire.route import ACCEPT, USER_AGENT, proxy_for

if TYPE_CHECKING:
    import aiohttp


class AiohttpSender:
    """Sends requests through one aiohttp session without limits; a ``Sender``."""

    def __init__(self, url: str, path: str, key: str | None, ended: Callable[[Exchange], None]) -> None:
        self._url, self._proxy = url + path, proxy_for(url)
        self._headers = {"content-type": "application/json", "user-agent": USER_AGENT, "accept": ACCEPT}
        if key:
            self._headers["authorization"] = f"Bearer {key}"
        self._ended = ended
        self._session: aiohttp.ClientSession | None = None
        self._tasks: dict[Exchange, asyncio.Task[None]] = {}
        self.peak = 0
        self.next_due = math.inf
        self.when_due: Callable[[], None] = lambda: None
        """Part of ``Sender`` and never called: aiohttp offers no hook between two reads."""

    async def open(self) -> None:
        """Create the session."""
        import aiohttp

        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=None, keepalive_timeout=4.0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=60.0),
            auto_decompress=False,
            read_bufsize=2**20,
        )

    @property
    def connections(self) -> int:
        """Requests in flight, because aiohttp does not show its connections."""
        return len(self._tasks)

    def send(self, exchange: Exchange) -> None:
        """Send now."""
        task = asyncio.get_running_loop().create_task(self._carry_out(exchange))
        self._tasks[exchange] = task
        self.peak = max(self.peak, len(self._tasks))

    async def _carry_out(self, exchange: Exchange) -> None:
        import aiohttp

        assert self._session is not None
        response, cut_short = exchange.response, ""
        body, exchange.body = exchange.body, b""
        try:
            async with self._session.post(
                self._url, data=body, headers=self._headers, allow_redirects=False, proxy=self._proxy
            ) as reply:
                response.head(reply.status, {k.lower(): v for k, v in reply.headers.items()}, False)
                await self._read(exchange, reply)
        except aiohttp.ClientSSLError as error:
            response.fail("tls", str(error))
        except aiohttp.ClientConnectorError as error:
            response.fail("connect", f"no connection: {error.os_error.strerror or error.os_error}")
        except (aiohttp.ServerTimeoutError, asyncio.TimeoutError):
            response.fail("timeout", "the server does not accept connections (timed out)")
        except (aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError, ConnectionResetError) as error:
            if response.http_status is None:
                response.fail("closed", str(error) or "the connection ended without a response")
            cut_short = "the connection closed before the end of the response"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            response.fail("protocol", str(error) or type(error).__name__)
        self._tasks.pop(exchange, None)
        exchange.ended = time.monotonic()
        response.close(cut_short)
        self._ended(exchange)

    @staticmethod
    async def _read(exchange: Exchange, reply: aiohttp.ClientResponse) -> None:
        response = exchange.response
        async for data in reply.content.iter_any():
            now = time.monotonic()
            exchange.bytes_received += len(data)
            if not (response.take([data], [now]) if response.stream is not None else response.take_body(data)):
                reply.close()
                return

    def cut(self, exchange: Exchange, now: float) -> None:
        """End an exchange that is in flight. The caller records it."""
        task = self._tasks.pop(exchange, None)
        if task is not None:
            task.cancel()

    def tidy(self, now: float) -> None:
        """Do nothing: aiohttp drops idle connections itself."""

    async def close(self) -> None:
        """End the session."""
        if self._session is not None:
            await self._session.close()
