"""Plain sockets on a separate poll inside the event loop, read in small batches.

uvloop reads up to 48 times 1,024 sockets before it runs anything else, and writes only after that. Near the limit,
sends and new connections waited for a third of a second per turn. Here a turn is one batch, and a write goes to the
kernel at once (``docs/benchmarks.md``).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import select
import selectors
import socket
from typing import Protocol

BATCH = 128
"""Sockets read in one turn of the loop, which takes less than a millisecond."""
READ = 4 * 2**10
"""Bytes per read; an event has a few hundred."""
IN, OUT, END, EDGE = 1, 4, 0x2000, 1 << 31
"""As in ``select.EPOLLIN``, ``EPOLLOUT``, ``EPOLLRDHUP`` and ``EPOLLET``. Edge-triggered polling reports each arrival
once and spares the kernel a check of every socket. Therefore a read that filled its buffer is followed by another,
and an end is read at once."""
READING = IN | END | EDGE


Address = tuple[str, int]
"""Numeric host and port, as ``socket`` takes them."""


class Reader(Protocol):
    """Receives what happens on a link."""

    def connection_made(self, link: Link) -> None:
        """The link is connected. From now on ``link.reader`` may be another object."""

    def data_received(self, data: bytes) -> None:
        """Bytes have arrived."""

    def connection_lost(self, error: Exception | None) -> None:
        """The other side closed the link (None), or it broke or could not be opened. Not called after ``abort``."""


class Poll(Protocol):
    """What ``Sockets`` uses of ``select.epoll``."""

    def fileno(self) -> int:
        """The descriptor that becomes readable when a socket is ready."""

    def register(self, fd: int, eventmask: int, /) -> None:
        """Watch a descriptor."""

    def modify(self, fd: int, eventmask: int, /) -> None:
        """Watch it for other events."""

    def unregister(self, fd: int, /) -> None:
        """Stop watching it."""

    def poll(self, timeout: float, maxevents: int, /) -> list[tuple[int, int]]:
        """Descriptors that are ready, each with its events."""

    def close(self) -> None:
        """Release the descriptor."""


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
        """Whether it is closed, or the other side has closed it and that was not read yet."""
        return self._sock is None or self._ending

    def write(self, data: bytes) -> None:
        """Send what the kernel accepts now, and the rest as soon as it accepts more. The reader learns of an error
        later."""
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
            self._sockets.report_soon(self, error)
            return
        if sent < len(data):
            self._out = data[sent:]
            self._sockets.poll.modify(self.fd, READING | OUT)

    def abort(self) -> None:
        """Close it at once, without a call to the reader."""
        sock, self._sock = self._sock, None
        if sock is not None:
            self._sockets.forget(self.fd)
            sock.close()

    def lost(self, error: Exception | None) -> None:
        """Close it and call the reader."""
        if self._sock is not None:
            self.abort()
            self.reader.connection_lost(error)

    def begin(self) -> None:
        """Watch the connection, which is already open when the server is on this machine."""
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
        """Handle events other than plain readability."""
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
        """Read everything up to the end and pass it on. Raises BlockingIOError once all is read, OSError on failure."""
        while self._sock is not None:
            data = self.recv(READ)
            if not data:
                return self.lost(None)
            self.reader.data_received(data)


class Sockets:
    """All links of a client."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.poll: Poll = select.epoll() if hasattr(select, "epoll") else PortablePoll()
        self._links: dict[int, Link] = {}
        loop.add_reader(self.poll.fileno(), self._turn)

    def connect(self, address: Address, reader: Reader) -> Link:
        """Begin to connect. The reader learns of success or failure, possibly before this returns.

        Raises:
            OSError: the attempt failed at once.
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
        """Stop watching a link that is about to be closed."""
        if self._links.pop(fd, None) is not None:
            with contextlib.suppress(OSError, KeyError):  # it was never registered
                self.poll.unregister(fd)

    def report_soon(self, link: Link, error: Exception) -> None:
        """Report an error to the reader in the next turn, after the caller has finished."""
        self._loop.call_soon(link.lost, error)

    def _turn(self) -> None:
        """Read one batch. The rest stays ready for the next turn, after the other work of the loop."""
        poll, read = self.poll.poll, 0
        while read < BATCH and (ready := poll(0, BATCH)):  # polling again costs a tenth of a turn
            read += len(ready)
            self._read(ready)

    def _read(self, ready: list[tuple[int, int]]) -> None:
        links = self._links
        for fd, events in ready:
            link = links.get(fd)  # None: closed by an earlier reader of this batch
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
        """Close all links without calling their readers."""
        for link in list(self._links.values()):
            link.abort()
        self._loop.remove_reader(self.poll.fileno())
        self.poll.close()


class PortablePoll:
    """The methods of ``select.epoll`` that ``Sockets`` uses, for systems without epoll (macOS has kqueue)."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def fileno(self) -> int:
        """The descriptor that becomes readable when a socket is ready."""
        return int(self._selector.fileno())

    def register(self, fd: int, events: int) -> None:
        """Watch a descriptor."""
        self._selector.register(fd, _selector_events(events))

    def modify(self, fd: int, events: int) -> None:
        """Watch it for other events."""
        self._selector.modify(fd, _selector_events(events))

    def unregister(self, fd: int) -> None:
        """Stop watching it."""
        self._selector.unregister(fd)

    def poll(self, timeout: float, most: int) -> list[tuple[int, int]]:
        """All that is ready. A batch would be unfair: sockets left out of it need not come first the next time."""
        return [(key.fd, IN * bool(mask & 1) | OUT * bool(mask & 2)) for key, mask in self._selector.select(timeout)]

    def close(self) -> None:
        """Release the descriptor."""
        self._selector.close()


def _selector_events(events: int) -> int:
    return (selectors.EVENT_READ if events & IN else 0) | (selectors.EVENT_WRITE if events & OUT else 0)
