"""Connections to one server. A request uses an idle connection if there is one and opens a new one otherwise; no limit
applies."""

from __future__ import annotations

import asyncio
import errno
import math
import socket
import time
from collections.abc import Callable, Sequence

from rooftune.loadgen.wire.connection import Connection
from rooftune.loadgen.wire.exchange import Exchange
from rooftune.loadgen.wire.sockets import Address, Link, Sockets

KEEP_IDLE_S = 4.0
"""A connection that was idle for longer is not used again: uvicorn closes its connections after 5 s, and losing that
race is a reset."""
_clock = time.monotonic


class ConnectionAttempt:
    """Opens a connection for a request and tries the server's addresses in turn; a ``sockets.Reader``."""

    times: Sequence[float] = ()
    """No chunk has arrived; see ``Exchange.chunks``."""

    def __init__(self, pool: ConnectionPool, exchange: Exchange) -> None:
        self._pool, self._exchange = pool, exchange
        self._left = list(pool.addresses)
        self._link: Link | None = None

    def try_next(self, error: Exception | None) -> None:
        """Try the next address. When none is left, the request has failed."""
        while self._left:
            self._address = self._left.pop(0)
            try:
                self._link = self._pool.sockets.connect(self._address, self)
                return
            except OSError as failed:
                error = failed
        self._pool.unreachable(self, self._exchange, error)

    def connection_made(self, link: Link) -> None:
        """Send the request over the new connection."""
        link.reader = connection = Connection(self._pool)
        connection.connection_made(link)
        self._pool.opened(self, connection, self._address)
        connection.begin(self._exchange)

    def data_received(self, data: bytes) -> None:
        """Never called: nothing is read before the connection is open."""

    def connection_lost(self, error: Exception | None) -> None:
        """This address does not accept connections."""
        self.try_next(error)

    def settle(self, now: float) -> None:
        """Do nothing: no data is waiting."""

    def abort(self) -> None:
        """Cut the exchange. The caller records it."""
        self._pool.given_up(self)
        if self._link is not None:
            self._link.abort()


class ConnectionPool:
    """All connections to one server; a ``Sender`` and the ``ConnectionOwner`` of each connection."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        addresses: list[Address],
        head: bytes,
        ended: Callable[[Exchange], None],
    ) -> None:
        self.sockets = Sockets(loop)
        self.addresses = addresses
        """Addresses of the server. The one that answered last comes first."""
        self.head, self.ended = head, ended
        self._loop = loop
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._attempts: set[ConnectionAttempt] = set()
        self.peak = 0
        self.next_due = math.inf
        """When the next send is due. A connection that reads after this time calls ``when_due`` before the next one
        reads."""
        self.when_due: Callable[[], None] = lambda: None

    @property
    def connections(self) -> int:
        """Connections that are open or being opened."""
        return len(self._open) + len(self._attempts)

    def send(self, exchange: Exchange) -> None:
        """Send now; open a connection if none is idle."""
        while self._idle:
            connection = self._idle.pop()
            if connection.link is not None and not connection.link.is_closing():
                if exchange.sent - connection.idle_since < KEEP_IDLE_S:
                    return connection.begin(exchange)
                connection.close()
        exchange.carrier = attempt = ConnectionAttempt(self, exchange)
        self._attempts.add(attempt)
        return attempt.try_next(None)

    def opened(self, attempt: ConnectionAttempt, connection: Connection, address: Address) -> None:
        """Register a new connection. Its address is the first to be tried from now on."""
        if self.addresses[0] != address:
            self.addresses.remove(address)
            self.addresses.insert(0, address)
        self._attempts.discard(attempt)
        self._open.add(connection)
        self.peak = max(self.peak, len(self._open))

    def given_up(self, attempt: ConnectionAttempt) -> None:
        """Forget an attempt whose request was cut."""
        self._attempts.discard(attempt)

    def unreachable(self, attempt: ConnectionAttempt, exchange: Exchange, error: Exception | None) -> None:
        """No address accepts connections. The request fails in the next turn of the loop, after its sender."""
        self._attempts.discard(attempt)
        exchange.carrier = None
        self._loop.call_soon(self._fail, exchange, error)

    def _fail(self, exchange: Exchange, error: Exception | None) -> None:
        _record_failure(exchange, error)
        exchange.ended = _clock()
        self.ended(exchange)

    def free(self, connection: Connection) -> None:
        """A connection may serve the next request."""
        self._idle.append(connection)

    def lost(self, connection: Connection) -> None:
        """A connection is closed."""
        self._open.discard(connection)

    def cut(self, exchange: Exchange, now: float) -> None:
        """End an exchange that is in flight. The caller records it."""
        if exchange.carrier is not None:
            exchange.carrier.abort()
            exchange.carrier = None

    def tidy(self, now: float) -> None:
        """Forget connections that were closed or have been idle for too long."""
        old = [c for c in self._idle if c.link is None or now - c.idle_since >= KEEP_IDLE_S]
        if old:
            closed = set(old)
            self._idle = [c for c in self._idle if c not in closed]
            for connection in old:
                connection.close()

    async def close(self) -> None:
        """Close all connections."""
        for connection in list(self._open):
            connection.close()
        self.sockets.close()


def _record_failure(exchange: Exchange, error: Exception | None) -> None:
    """Classify why a connection could not be opened."""
    number = error.errno if isinstance(error, OSError) else None
    words = (error.strerror if isinstance(error, OSError) else None) or str(error)
    if number in (errno.EMFILE, errno.ENFILE):
        exchange.response.fail("descriptors", f"no file descriptor is left for a connection ({words})")
    elif number in (errno.EADDRNOTAVAIL, errno.EADDRINUSE):
        exchange.response.fail("ports", f"no local port is left for a connection ({words})")
    elif number == errno.ETIMEDOUT:
        exchange.response.fail("timeout", "the server does not accept connections (timed out)")
    else:
        exchange.response.fail("connect", f"no connection: {words.lower()}")


def resolve(host: str, port: int) -> list[Address]:
    """Numeric addresses of a host.

    Raises:
        OSError: it has none.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys((str(entry[4][0]), port) for entry in found))
