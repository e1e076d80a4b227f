"""How the load sends: over plain sockets, or through aiohttp where TLS or a proxy is involved."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol
from urllib.parse import urlsplit

from rooftune.loadgen.summary import LoadOptions
from rooftune.loadgen.wire.aiohttp_sender import AiohttpSender
from rooftune.loadgen.wire.exchange import Exchange
from rooftune.loadgen.wire.pool import ConnectionPool, resolve
from rooftune.loadgen.wire.route import api_path, request_head, uses_plain_sockets


class Sender(Protocol):
    """Sends requests and reports each exchange that has ended."""

    peak: int
    """The most connections that were open at once."""
    next_due: float
    when_due: Callable[[], None]
    """Called between two reads once ``next_due`` has passed."""

    @property
    def connections(self) -> int:
        """Connections that are open or being opened."""

    def send(self, exchange: Exchange) -> None:
        """Send now."""

    def cut(self, exchange: Exchange, now: float) -> None:
        """End an exchange that is in flight. The caller records it."""

    def tidy(self, now: float) -> None:
        """Close connections that have been idle for too long."""

    async def close(self) -> None:
        """Close all connections."""


async def open_sender(
    loop: asyncio.AbstractEventLoop, options: LoadOptions, key: str | None, ended: Callable[[Exchange], None]
) -> Sender:
    """Choose the way to the server of ``options`` and get it ready.

    Args:
        loop: the event loop that reads the sockets.
        options: the server's URL and endpoint.
        key: API key; None sends none.
        ended: called with each exchange that ends before it is cut.

    Raises:
        OSError: the server's name cannot be resolved.
    """
    if not uses_plain_sockets(options.url):
        sender = AiohttpSender(options.url, api_path(options.endpoint), key, ended)
        await sender.open()
        return sender
    url = urlsplit(options.url)
    addresses = resolve(url.hostname or "", url.port or 80)
    return ConnectionPool(loop, addresses, request_head(url, api_path(options.endpoint), key), ended)
