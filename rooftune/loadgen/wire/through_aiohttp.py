"""The other way to send: aiohttp, for TLS and proxies. The same records, at some more CPU time per chunk."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import Any

from rooftune.loadgen.summary import LoadOptions
from rooftune.loadgen.wire.bodies import AGENT
from rooftune.loadgen.wire.flight import Flight
from rooftune.loadgen.wire.route import path_of, proxy_for


class AiohttpSender:
    """Sends flights through one aiohttp session without limits."""

    def __init__(self, options: LoadOptions, key: str | None, ended: Callable[[Flight], None]) -> None:
        self._url = options.url + path_of(options)
        self._proxy = proxy_for(options.url)
        self._headers = {
            "content-type": "application/json",
            "user-agent": AGENT,
            "accept": "text/event-stream, application/json",
        }
        if key:
            self._headers["authorization"] = f"Bearer {key}"
        self.ended = ended
        self._session: Any = None
        self._tasks: dict[Flight, asyncio.Task[None]] = {}
        self.peak = 0
        self.next_due = math.inf
        self.when_due: Callable[[], None] = lambda: None
        """Kept for ``Sender``; between two reads of aiohttp nobody looks at the clock."""

    async def open(self) -> None:
        """Make the session."""
        import aiohttp

        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=None, keepalive_timeout=4.0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=60.0),
            auto_decompress=False,
            read_bufsize=2**20,
        )

    @property
    def connections(self) -> int:
        """Requests in flight; aiohttp keeps its connections to itself."""
        return len(self._tasks)

    def send(self, flight: Flight) -> None:
        """Send now."""
        task = asyncio.get_running_loop().create_task(self._fly(flight))
        self._tasks[flight] = task
        self.peak = max(self.peak, len(self._tasks))

    async def _fly(self, flight: Flight) -> None:
        import aiohttp

        cut_short = ""
        body = flight.wire.split(b"\r\n\r\n", 1)[1]
        flight.wire = b""
        try:
            async with self._session.post(
                self._url, data=body, headers=self._headers, allow_redirects=False, proxy=self._proxy
            ) as response:
                headers = {k.lower(): v for k, v in response.headers.items()}
                flight.answer.head(response.status, headers, False)
                await self._read(flight, response)
        except aiohttp.ClientSSLError as error:
            flight.answer.wrong("tls", str(error))
        except aiohttp.ClientConnectorError as error:
            flight.answer.wrong("connect", f"no connection: {error.os_error.strerror or error.os_error}")
        except (aiohttp.ServerTimeoutError, asyncio.TimeoutError):
            flight.answer.wrong("timeout", "the server does not take connections (timed out)")
        except (aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError, ConnectionResetError) as error:
            if flight.answer.http_status is None:
                flight.answer.wrong("closed", str(error) or "the connection ended without an answer")
            cut_short = "the connection closed before the end of the answer"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            flight.answer.wrong("protocol", str(error) or type(error).__name__)
        self._tasks.pop(flight, None)
        flight.ended = time.monotonic()
        flight.answer.close(cut_short)
        self.ended(flight)

    @staticmethod
    async def _read(flight: Flight, response: Any) -> None:
        answer = flight.answer
        async for data in response.content.iter_any():
            now = time.monotonic()
            flight.size += len(data)
            if not (answer.take([data], [now]) if answer.stream is not None else answer.take_body(data)):
                response.close()
                return

    def cut(self, flight: Flight, now: float) -> None:
        """End a request that is in flight; its record is the caller's."""
        task = self._tasks.pop(flight, None)
        if task is not None:
            task.cancel()

    def tidy(self, now: float) -> None:
        """aiohttp drops idle connections by itself."""

    async def close(self) -> None:
        """End the session."""
        await self._session.close()
