"""Plain sockets on one poll of their own inside the event loop, read a small batch at a time.

uvloop reads up to 48 times 1,024 sockets before it runs anything else, and writes only after that: near the limit, sends and new connections
waited for a third of a second at each turn. Here a turn is one batch, and a write goes to the kernel at once (``docs/benchmarks.md``).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import select
import selectors
import socket
from typing import Any, Protocol

BATCH = 128
"""Sockets read in one turn of the loop: less than a millisecond."""
READ = 4 * 2**10
"""Bytes asked for at a time; an event has a few hundred."""
IN, OUT, END, EDGE = 1, 4, 0x2000, 1 << 31
"""As in ``select.EPOLLIN``, ``EPOLLOUT``, ``EPOLLRDHUP`` and ``EPOLLET``. Told once of each arrival, the kernel need not ask every socket
again; so a read that filled its buffer is followed by another, and an end is not left for later."""
READING = IN | END | EDGE


class Reader(Protocol):
    """Who is told about a link."""

    def connection_made(self, link: Link) -> None:
        """It is connected; from now on ``link.reader`` may be somebody else."""

    def data_received(self, data: bytes) -> None:
        """Some bytes have come."""

    def connection_lost(self, error: Exception | None) -> None:
        """The other side ended it (None), or it could not be made or broke. Not called after ``abort``."""


class Link:
    """One TCP connection."""

    __slots__ = ("_connected", "_ending", "_out", "_sock", "_sockets", "fd", "reader", "recv")

    def __init__(self, sockets: Sockets, sock: socket.socket, reader: Reader) -> None:
        self._sockets, self.reader = sockets, reader
        self._sock: socket.socket | None = sock
        self.fd, self.recv = sock.fileno(), sock.recv
        self._out = b""
        self._connected = self._ending = False

    def is_closing(self) -> bool:
        """Whether it is closed, or the other side has ended it and that was not read yet."""
        return self._sock is None or self._ending

    def write(self, data: bytes) -> None:
        """Send now what the kernel takes, and the rest as soon as it takes more. An error is told to the reader later."""
        if self._sock is None:
            return
        if self._out:
            self._out += data
            return
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._sockets.later(self, error)
            return
        if sent < len(data):
            self._out = data[sent:]
            self._sockets.poll.modify(self.fd, READING | OUT)

    def abort(self) -> None:
        """Close it at once; nobody is told."""
        sock, self._sock = self._sock, None
        if sock is not None:
            self._sockets.forget(self.fd)
            sock.close()

    def lost(self, error: Exception | None) -> None:
        """Close it and tell the reader."""
        if self._sock is not None:
            self.abort()
            self.reader.connection_lost(error)

    def begin(self) -> None:
        """Watch for the connection, which on one machine is there already."""
        assert self._sock is not None
        try:
            self._sock.getpeername()
        except OSError:
            self._sockets.poll.register(self.fd, READING | OUT)
        else:
            self._sockets.poll.register(self.fd, READING)
            self._made()

    def _made(self) -> None:
        self._connected = True
        self.reader.connection_made(self)

    def event(self, events: int) -> None:
        """Whatever is not just something to read."""
        assert self._sock is not None
        if not self._connected:
            number = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if number:
                self.lost(OSError(number, os.strerror(number)))
            elif events & OUT:
                self._sockets.poll.modify(self.fd, READING)
                self._made()
            return
        self._ending = bool(events & END)
        if events & OUT and self._out:
            data, self._out = self._out, b""
            self._sockets.poll.modify(self.fd, READING)
            self.write(data)
        self.read()

    def read(self) -> None:
        """Read all that lies there, the end as well, and hand it on. Raises OSError, when all is read BlockingIOError."""
        while self._sock is not None:
            data = self.recv(READ)
            if not data:
                return self.lost(None)
            self.reader.data_received(data)


class Sockets:
    """All links of a client."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.poll: Any = select.epoll() if hasattr(select, "epoll") else PortablePoll()
        self._links: dict[int, Link] = {}
        loop.add_reader(self.poll.fileno(), self._turn)

    def connect(self, address: tuple[str, int], reader: Reader) -> Link:
        """Begin a connection; the reader is told of its end, good or bad, perhaps before this returns.

        Raises:
            OSError: it cannot even be begun.
        """
        sock = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            number = sock.connect_ex(address)
            if number not in (0, errno.EINPROGRESS):
                raise OSError(number, os.strerror(number))
        except OSError:
            sock.close()
            raise
        link = self._links[sock.fileno()] = Link(self, sock, reader)
        try:
            link.begin()
        except OSError:
            link.abort()
            raise
        return link

    def forget(self, fd: int) -> None:
        """A link is about to be closed."""
        if self._links.pop(fd, None) is not None:
            with contextlib.suppress(OSError, KeyError):  # it was never registered
                self.poll.unregister(fd)

    def later(self, link: Link, error: Exception) -> None:
        """Tell the reader in the next turn, when the caller has finished what it is doing."""
        self._loop.call_soon(link.lost, error)

    def _turn(self) -> None:
        """Read one batch. What is not read stays ready for the next turn, after whatever else the loop has to do."""
        poll, read = self.poll.poll, 0
        while read < BATCH and (ready := poll(0, BATCH)):  # looking again costs a tenth of a turn
            read += len(ready)
            self._read(ready)

    def _read(self, ready: list[tuple[int, int]]) -> None:
        links = self._links
        for fd, events in ready:
            link = links.get(fd)  # None: closed by one before it in this batch
            if link is None:
                continue
            try:
                if events != IN:
                    link.event(events)
                    continue
                recv = link.recv
                data = recv(READ)
                if data:
                    link.reader.data_received(data)
                    if len(data) == READ:
                        link.read()
                else:
                    link.lost(None)
            except BlockingIOError:
                continue
            except OSError as error:
                link.lost(error)

    def close(self) -> None:
        """Close all links without a word to their readers."""
        for link in list(self._links.values()):
            link.abort()
        self._loop.remove_reader(self.poll.fileno())
        self.poll.close()


class PortablePoll:
    """The few methods of ``select.epoll`` that are needed, where there is none (macOS has kqueue)."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def fileno(self) -> int:
        """Descriptor that is readable when a socket is ready."""
        return int(self._selector.fileno())

    def register(self, fd: int, events: int) -> None:
        """Watch a descriptor."""
        self._selector.register(fd, _asked(events))

    def modify(self, fd: int, events: int) -> None:
        """Watch it for something else."""
        self._selector.modify(fd, _asked(events))

    def unregister(self, fd: int) -> None:
        """Watch it no more."""
        self._selector.unregister(fd)

    def poll(self, timeout: float, most: int) -> list[tuple[int, int]]:
        """What is ready, all of it: who is left out of a part is not known to come first the next time."""
        return [(key.fd, IN * bool(mask & 1) | OUT * bool(mask & 2)) for key, mask in self._selector.select(timeout)]

    def close(self) -> None:
        """Release the descriptor."""
        self._selector.close()


def _asked(events: int) -> int:
    return (selectors.EVENT_READ if events & IN else 0) | (selectors.EVENT_WRITE if events & OUT else 0)
