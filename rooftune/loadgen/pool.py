"""Connections to one server: a kept one if there is one, else a new one; never a limit."""

from __future__ import annotations

import asyncio
import errno
import math
import socket
import time
from collections.abc import Callable

from rooftune.loadgen.flight import Flight
from rooftune.loadgen.wire import Connection

KEEP_IDLE_S = 4.0
"""A connection idle for longer is not used again: servers close theirs after 5 s (uvicorn), and the race is lost as a reset."""
_clock = time.monotonic


class Pool:
    """Connections to one server: a kept one if there is one, else a new one; never a limit."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, addresses: list[tuple[str, int]], ended: Callable[[Flight], None]
    ) -> None:
        self._loop, self._addresses, self.ended = loop, addresses, ended
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self.peak = 0
        self.next_due = math.inf
        """When the next send is due: a connection that has read something after this time calls ``when_due`` before the next one reads."""
        self.when_due: Callable[[], None] = lambda: None

    @property
    def connections(self) -> int:
        """Open or being opened."""
        return len(self._open) + len(self._opening)

    def send(self, flight: Flight) -> None:
        """Send now; opens a connection if none is free."""
        while self._idle:
            connection = self._idle.pop()
            if connection.transport is not None and not connection.transport.is_closing():
                if flight.sent - connection.idle_since < KEEP_IDLE_S:
                    return connection.begin(flight)
                connection.close()
        task = self._loop.create_task(self._connect(flight))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)
        return None

    async def _connect(self, flight: Flight) -> None:
        error: OSError | None = None
        for host, port in self._addresses:
            try:
                _, connection = await self._loop.create_connection(lambda: Connection(self), host, port)
            except OSError as failed:
                error = failed
                continue
            if self._addresses[0] != (host, port):
                self._addresses.remove((host, port))
                self._addresses.insert(0, (host, port))
            self._open.add(connection)
            self.peak = max(self.peak, len(self._open))
            if flight.released:
                connection.close()
            else:
                connection.begin(flight)
            return
        if not flight.released:
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
        flight.released = True
        if flight.connection is not None:
            flight.connection.abort()
            flight.connection = None

    def tidy(self, now: float) -> None:
        """Forget connections that were closed or have been idle too long."""
        old = [c for c in self._idle if c.transport is None or now - c.idle_since >= KEEP_IDLE_S]
        if old:
            gone = set(old)
            self._idle = [c for c in self._idle if c not in gone]
            for connection in old:
                connection.close()

    async def close(self) -> None:
        """Close all connections."""
        for task in list(self._opening):
            task.cancel()
        for connection in list(self._open):
            connection.close()
        await asyncio.sleep(0)


def _why(error: OSError | None) -> tuple[str, str]:
    """Error class and words for a connection that could not be made."""
    number = error.errno if error is not None else None
    words = (error.strerror if error is not None else None) or str(error)
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
