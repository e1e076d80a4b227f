"""The hot path: HTTP/1.1 over plain sockets, one request at a time per kept connection, every read timed on arrival.

While an answer streams, a read costs a look at the clock and two appends; it is taken apart when the answer ends, or when some tens
of kilobytes have gathered. No limit of connections. Nothing is retried.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from collections.abc import Callable
from typing import Any

from rooftune.loadgen.answer import Answer
from rooftune.loadgen.sse import BadFrame, Chunks

MAX_HEAD = 64 * 2**10
GATHERED = 256
"""Reads after which a stream is taken apart before its end, so that long answers do not pile up."""
LARGE_READ = 16 * 2**10
KEEP_IDLE_S = 4.0
"""A connection idle for longer is not used again: servers close theirs after 5 s (uvicorn), and the race is lost as a reset."""
_IDLE, _HEAD, _CHUNKED, _PLAIN, _BODY = range(5)
_clock = time.monotonic


class Flight:
    """One request from its send to its end."""

    __slots__ = ("answer", "connection", "due", "ended", "local", "released", "sent", "size", "wire")

    def __init__(self, local: int, due: float, sent: float, wire: bytes, answer: Answer) -> None:
        self.local, self.due, self.sent = local, due, sent
        self.wire, self.answer = wire, answer
        self.connection: Any = None
        self.ended: float | None = None
        self.size = 0
        self.released = False

    @property
    def chunks(self) -> int:
        """Reads or events so far, for the progress."""
        gathered = len(self.connection.pieces) if self.connection is not None else 0
        return len(self.answer.chunk_t) + gathered


class Connection(asyncio.Protocol):
    """One connection to the server; ``pool`` is told when it is free or gone."""

    __slots__ = (
        "_buffer",
        "_chunks",
        "_keep",
        "_left",
        "_state",
        "flight",
        "idle_since",
        "pieces",
        "pool",
        "times",
        "transport",
    )

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.transport: Any = None
        self.flight: Flight | None = None
        self._state = _IDLE
        self._buffer = bytearray()
        self._chunks: Chunks | None = None
        self._left: int | None = None
        self._keep = True
        self.idle_since = 0.0
        self.pieces: list[bytes] = []
        self.times: list[float] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def begin(self, flight: Flight) -> None:
        """Send a request."""
        self.flight, flight.connection = flight, self
        self._state, self._keep = _HEAD, True
        self.transport.write(flight.wire)
        flight.wire = b""

    def data_received(self, data: bytes) -> None:
        now = _clock()
        if self._state != _CHUNKED:
            return self._slow(data, now)
        self.times.append(now)
        self.pieces.append(data)
        if data[-4:] == b"\r\n\r\n" or not 5 <= len(data) <= LARGE_READ or len(self.pieces) >= GATHERED:
            self._look()
        return None

    def _look(self) -> None:
        """Take apart what has gathered; end the request when its last chunk is there."""
        flight = self.flight
        assert flight is not None
        pieces, times = self.pieces, self.times
        flight.size += sum(map(len, pieces))
        going = flight.answer.take(pieces, times)
        now = times[-1]
        pieces.clear()
        times.clear()
        stream = flight.answer.stream
        assert stream is not None
        if stream.over:
            self._keep = self._keep and not stream.surplus
            self._end(now)
        elif not going:
            self._give_up(now)

    def settle(self, now: float) -> None:
        """Take apart what lies here since a second: a body whose end came together with more than it."""
        if self.pieces and now - self.times[-1] > 1.0:
            self._look()

    def _slow(self, data: bytes, now: float) -> None:
        """Everything but a chunked stream: the head, plain bodies, errors."""
        if self.flight is None:
            self._close()
            return
        if self._state == _HEAD:
            self._buffer += data
            rest = self._head(now)
            if rest is None or self.flight is None:
                return
            data = rest
        else:
            self.flight.size += len(data)
        if self._state == _CHUNKED:
            if data:
                self.pieces.append(data)
                self.times.append(now)
                self._look()
            return
        self._body(data, now)

    def _head(self, now: float) -> bytes | None:
        """Read the head when it is whole; returns what follows it."""
        flight, buffer = self.flight, self._buffer
        assert flight is not None
        stop = buffer.find(b"\r\n\r\n")
        if stop < 0:
            if len(buffer) > MAX_HEAD or (len(buffer) >= 5 and not buffer.startswith(b"HTTP/")):
                self._fail("protocol", f"no HTTP answer: {bytes(buffer[:60])!r}", now)
            return None
        lines = bytes(buffer[:stop]).decode("latin-1").split("\r\n")
        rest = bytes(buffer[stop + 4 :])
        flight.size += len(buffer)
        buffer.clear()
        try:
            version, code = lines[0].split(" ", 2)[:2]
            status = int(code)
            if not version.startswith("HTTP/1") or not 100 <= status < 1000:
                raise ValueError
        except ValueError:
            self._fail("protocol", f"no HTTP answer: {lines[0][:60]!r}", now)
            return None
        if status < 200:
            buffer += rest
            flight.size -= len(rest)
            return self._head(now)
        self._begin_body(status, {k.strip().lower(): v.strip() for k, _, v in (x.partition(":") for x in lines[1:])}, version, now)  # fmt: skip
        return rest

    def _begin_body(self, status: int, headers: dict[str, str], version: str, now: float) -> None:
        flight = self.flight
        assert flight is not None
        chunked = headers.get("transfer-encoding", "").lower().endswith("chunked")
        length = headers.get("content-length")
        keeps = headers.get("connection", "").lower()
        self._keep = "close" not in keeps and (version == "HTTP/1.1" or "keep-alive" in keeps)
        flight.answer.head(status, headers, chunked)
        self._chunks, self._left = None, None
        if chunked:
            if flight.answer.stream is not None:
                self._state = _CHUNKED
                return
            self._chunks = Chunks()
        elif length is not None:
            if not length.isdigit():
                self._fail("protocol", f"a content-length of {length[:40]!r}", now)
                return
            self._left = int(length)
        self._state = _PLAIN if flight.answer.stream is not None else _BODY

    def _body(self, data: bytes, now: float) -> None:
        """Bytes of a body that is not a chunked stream."""
        flight = self.flight
        assert flight is not None
        answer, over = flight.answer, False
        try:
            if self._chunks is not None:
                data, after = self._chunks.feed(data)
                over = self._chunks.over
                self._keep = self._keep and not after
            elif self._left is not None:
                self._keep = self._keep and len(data) <= self._left
                data = data[: self._left]
                self._left -= len(data)
                over = self._left == 0
        except BadFrame as bad:
            return self._fail(str(bad.args[0]), str(bad.args[1]), now)
        going = answer.take([data], [now]) if self._state == _PLAIN else answer.take_body(data)
        if over:
            return self._end(now)
        return None if going else self._give_up(now)

    def _end(self, now: float, cut_short: str = "") -> None:
        """The answer is over; the connection is free again if it may be kept."""
        flight = self.flight
        assert flight is not None
        self.flight, self._state = None, _IDLE
        flight.ended, flight.connection = now, None
        flight.answer.close(cut_short)
        if self._keep and not cut_short and not self._buffer:
            self.idle_since = now
            self.pool.free(self)
        else:
            self._close()
        self.pool.ended(flight)

    def _fail(self, error_class: str, error: str, now: float) -> None:
        assert self.flight is not None
        self.flight.answer.wrong(error_class, error)
        self._give_up(now)

    def _give_up(self, now: float) -> None:
        """Read no further; what the answer said stays its verdict."""
        self._keep = False
        self._end(now)

    def abort(self, now: float) -> None:
        """Cut the request; the caller says why."""
        self._gather()
        self.flight = None
        self._close()

    def _gather(self) -> None:
        flight = self.flight
        if flight is not None and self.pieces:
            flight.size += sum(map(len, self.pieces))
            flight.answer.take(self.pieces, self.times)
            self.pieces.clear()
            self.times.clear()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        now = _clock()
        self.pool.lost(self)
        self.transport = None
        flight = self.flight
        if flight is None:
            return
        self._gather()
        self._keep = False
        if flight.answer.stream is not None and flight.answer.stream.over:
            return self._end(now)
        reset = isinstance(exc, (ConnectionResetError, BrokenPipeError))
        if reset:
            flight.answer.wrong("reset", f"the server reset the connection after {len(flight.answer.chunk_t)} chunks")
            return self._end(now, "the connection was reset")
        if self._state in (_PLAIN, _BODY) and self._chunks is None and self._left is None:
            return self._end(now)
        return self._end(now, "" if self._state == _HEAD else "the connection closed before the end of the answer")

    def _close(self) -> None:
        self.pool.lost(self)
        if self.transport is not None:
            self.transport.abort()


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
                connection._close()
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
                connection._close()
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
            flight.connection.abort(now)
            flight.connection = None

    def tidy(self, now: float) -> None:
        """Forget connections that were closed or have been idle too long."""
        old = [c for c in self._idle if c.transport is None or now - c.idle_since >= KEEP_IDLE_S]
        if old:
            gone = set(old)
            self._idle = [c for c in self._idle if c not in gone]
            for connection in old:
                connection._close()

    async def close(self) -> None:
        """Close all connections."""
        for task in list(self._opening):
            task.cancel()
        for connection in list(self._open):
            connection._close()
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
