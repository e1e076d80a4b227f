"""Connections to one server: a kept one if there is one, else a new one; never a limit."""

from __future__ import annotations

import asyncio
import errno
import math
import socket
import time
from collections.abc import Callable

from rooftune.loadgen.wire.connection import Connection
from rooftune.loadgen.wire.flight import Flight
from rooftune.loadgen.wire.sockets import Link, Sockets

KEEP_IDLE_S = 4.0
"""A connection idle for longer is not used again: servers close theirs after 5 s (uvicorn), and the race is lost as a reset."""
_clock = time.monotonic


class Attempt:
    """A connection that is being made for a request, to one address of the server after the other; a ``sockets.Reader``."""

    times = ()
    """Nothing has come; see ``Flight.chunks``."""

    def __init__(self, pool: Pool, flight: Flight) -> None:
        self._pool, self._flight = pool, flight
        self._left = list(pool.addresses)
        self._link: Link | None = None

    def next(self, error: Exception | None) -> None:
        """Try the next address; without one the request has failed."""
        while self._left:
            self._address = self._left.pop(0)
            try:
                self._link = self._pool.sockets.connect(self._address, self)
                return
            except OSError as failed:
                error = failed
        self._pool.unreachable(self, self._flight, error)

    def connection_made(self, link: Link) -> None:
        """It is there: send."""
        link.reader = connection = Connection(self._pool)
        connection.connection_made(link)
        self._pool.made(self, connection, self._address)
        connection.begin(self._flight)

    def data_received(self, data: bytes) -> None:
        """Never: nothing is read before the connection is there."""

    def connection_lost(self, error: Exception | None) -> None:
        """This address does not answer."""
        self.next(error)

    def settle(self, now: float) -> None:
        """Nothing lies here."""

    def abort(self) -> None:
        """The request was cut; its record is the caller's."""
        self._pool.given_up(self)
        if self._link is not None:
            self._link.abort()


class Pool:
    """Connections to one server: a kept one if there is one, else a new one; never a limit."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, addresses: list[tuple[str, int]], ended: Callable[[Flight], None]
    ) -> None:
        self.sockets = Sockets(loop)
        self.addresses, self.ended = addresses, ended
        """Addresses of the server, the one that answered last first."""
        self._loop = loop
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._attempts: set[Attempt] = set()
        self.peak = 0
        self.next_due = math.inf
        """When the next send is due: a connection that has read something after this time calls ``when_due`` before the next one reads."""
        self.when_due: Callable[[], None] = lambda: None

    @property
    def connections(self) -> int:
        """Open or being opened."""
        return len(self._open) + len(self._attempts)

    def send(self, flight: Flight) -> None:
        """Send now; opens a connection if none is free."""
        while self._idle:
            connection = self._idle.pop()
            if connection.link is not None and not connection.link.is_closing():
                if flight.sent - connection.idle_since < KEEP_IDLE_S:
                    return connection.begin(flight)
                connection.close()
        flight.connection = attempt = Attempt(self, flight)
        self._attempts.add(attempt)
        return attempt.next(None)

    def made(self, attempt: Attempt, connection: Connection, address: tuple[str, int]) -> None:
        """A connection is there; its address is the first to be tried from now on."""
        if self.addresses[0] != address:
            self.addresses.remove(address)
            self.addresses.insert(0, address)
        self._attempts.discard(attempt)
        self._open.add(connection)
        self.peak = max(self.peak, len(self._open))

    def given_up(self, attempt: Attempt) -> None:
        """A connection is not wanted any more."""
        self._attempts.discard(attempt)

    def unreachable(self, attempt: Attempt, flight: Flight, error: Exception | None) -> None:
        """No address of the server takes connections. The request ends in the next turn, after whoever is sending it."""
        self._attempts.discard(attempt)
        flight.connection = None
        self._loop.call_soon(self._fail, flight, error)

    def _fail(self, flight: Flight, error: Exception | None) -> None:
        flight.answer.wrong(*_why(error))
        flight.ended = _clock()
        self.ended(flight)

    def free(self, connection: Connection) -> None:
        """A connection may serve the next request."""
        self._idle.append(connection)

    def lost(self, connection: Connection) -> None:
        """A connection is gone."""
        self._open.discard(connection)

    def cut(self, flight: Flight, now: float) -> None:
        """End a request that is in flight; its record is the caller's."""
        if flight.connection is not None:
            flight.connection.abort()
            flight.connection = None

    def tidy(self, now: float) -> None:
        """Forget connections that were closed or have been idle too long."""
        old = [c for c in self._idle if c.link is None or now - c.idle_since >= KEEP_IDLE_S]
        if old:
            gone = set(old)
            self._idle = [c for c in self._idle if c not in gone]
            for connection in old:
                connection.close()

    async def close(self) -> None:
        """Close all connections."""
        for connection in list(self._open):
            connection.close()
        self.sockets.close()


def _why(error: Exception | None) -> tuple[str, str]:
    """Error class and words for a connection that could not be made."""
    number = error.errno if isinstance(error, OSError) else None
    words = (error.strerror if isinstance(error, OSError) else None) or str(error)
    if number in (errno.EMFILE, errno.ENFILE):
        return "descriptors", f"no file descriptor is left for a connection ({words})"
    if number in (errno.EADDRNOTAVAIL, errno.EADDRINUSE):
        return "ports", f"no local port is left for a connection ({words})"
    if number in (errno.ETIMEDOUT,):
        return "timeout", "the server does not take connections (timed out)"
    return "connect", f"no connection: {words.lower()}"


def resolve(host: str, port: int) -> list[tuple[str, int]]:
    """Numeric addresses of a host.

    Raises:
        OSError: it has none.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys((str(entry[4][0]), port) for entry in found))
