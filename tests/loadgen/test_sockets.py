"""Plain sockets inside the event loop: every byte and every end is reported once, and no turn is long. Uses real
sockets."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from rooftune.loadgen.wire import sockets as module
from rooftune.loadgen.wire.sockets import BATCH, READ, Link, PortablePoll, Sockets


class RecordingReader:
    """Records the calls of a link."""

    def __init__(self) -> None:
        self.link: Link | None = None
        self.data = bytearray()
        self.reads = 0
        self.ends: list[Exception | None] = []
        self.over = asyncio.Event()

    def connection_made(self, link: Link) -> None:
        assert self.link is None
        self.link = link

    def data_received(self, data: bytes) -> None:
        self.data += data
        self.reads += 1

    def connection_lost(self, error: Exception | None) -> None:
        self.ends.append(error)
        self.over.set()


async def until(true: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.001)


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[tuple[str, int]]:
    """A server that treats every connection so."""

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(one, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[:2]


@pytest.fixture(params=["kernel", "portable"], autouse=True)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each test runs on epoll and on its portable replacement."""
    if request.param == "portable":
        monkeypatch.setattr(module.select, "epoll", PortablePoll, raising=False)
    return str(request.param)


async def test_a_large_body_arrives_whole_at_a_slow_reader() -> None:
    body, got = bytes(range(256)) * 20_000, bytearray()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while len(got) < len(body):
            got.extend(await reader.read(100_000))
            await asyncio.sleep(0.001)
        writer.write(b"thanks")

    async with serving(slow) as address:
        all_links, seen = Sockets(asyncio.get_running_loop()), RecordingReader()
        link = all_links.connect(address, seen)
        await until(lambda: seen.link)
        link.write(body[:1000])
        link.write(body[1000:3_000_000])
        link.write(body[3_000_000:])
        await asyncio.wait_for(seen.over.wait(), 60)
        all_links.close()
    assert bytes(got) == body
    assert bytes(seen.data) == b"thanks"
    assert seen.ends == [None]


@pytest.mark.parametrize("size", [1, READ - 1, READ, READ + 1, 7 * READ, 3_000_000])
async def test_all_that_came_is_read_before_the_end(size: int) -> None:
    async def burst(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"x" * size)
        await writer.drain()

    async with serving(burst) as address:
        all_links, seen = Sockets(asyncio.get_running_loop()), RecordingReader()
        link = all_links.connect(address, seen)
        await asyncio.wait_for(seen.over.wait(), 60)
        assert link.is_closing()
        all_links.close()
    assert len(seen.data) == size
    assert seen.ends == [None]


async def test_a_link_that_the_other_side_has_ended_takes_no_more(kind: str) -> None:
    """The last bytes and the end come together: whoever gets the bytes must not send the next request there."""
    if kind == "portable":
        pytest.skip("only epoll reports the end before it is read")

    gone = asyncio.Event()

    async def farewell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"bye")
        writer.close()
        await writer.wait_closed()
        gone.set()

    async with serving(farewell) as address:
        all_links, seen, closing = Sockets(asyncio.get_running_loop()), RecordingReader(), []
        link = all_links.connect(address, seen)
        seen.data_received = lambda data: closing.append(link.is_closing())  # type: ignore[method-assign]
        link.write(b"x")
        asyncio.get_running_loop().remove_reader(all_links.poll.fileno())
        await asyncio.wait_for(gone.wait(), 60)  # both are there now
        all_links._turn()
        all_links.close()
    assert closing == [True]
    assert seen.ends == [None]


async def test_a_reset_is_reported_as_such() -> None:
    async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async with serving(rude) as address:
        all_links, seen = Sockets(asyncio.get_running_loop()), RecordingReader()
        link = all_links.connect(address, seen)
        await until(lambda: seen.link)
        link.write(b"hello")
        await asyncio.wait_for(seen.over.wait(), 60)
        link.write(b"nobody hears this")
        all_links.close()
    assert isinstance(seen.ends[0], ConnectionResetError)
    assert len(seen.ends) == 1


async def test_a_closed_port_is_reported() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        all_links, seen = Sockets(asyncio.get_running_loop()), RecordingReader()
        try:
            all_links.connect(taken.getsockname(), seen)
            await asyncio.wait_for(seen.over.wait(), 60)
            (error,) = seen.ends
        except OSError as failed:  # some kernels say so at once
            error = failed
        all_links.close()
    assert isinstance(error, OSError)
    assert error.errno == errno.ECONNREFUSED
    assert seen.link is None


async def test_a_link_that_we_close_is_not_reported() -> None:
    async def chatty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not writer.is_closing():
            writer.write(b"x" * 100)
            await asyncio.sleep(0.001)
            if reader.at_eof():
                return

    async with serving(chatty) as address:
        all_links, seen = Sockets(asyncio.get_running_loop()), RecordingReader()
        link = all_links.connect(address, seen)
        await until(lambda: seen.data)
        link.abort()
        link.abort()
        before = seen.reads
        await asyncio.sleep(0.02)
        assert (seen.reads, seen.ends) == (before, [])
        all_links.close()


async def test_one_seenmay_close_another_of_the_same_batch() -> None:
    """Its bytes are not read, nor are they taken for those of a new link with the same descriptor."""

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        await reader.read()

    async with serving(greet) as address:
        all_links, readers = Sockets(asyncio.get_running_loop()), [RecordingReader(), RecordingReader()]
        links = [all_links.connect(address, seen) for seen in readers]
        fresh = RecordingReader()

        def first_come(mine: int) -> Callable[[bytes], None]:
            def received(data: bytes) -> None:
                readers[mine].data += data
                if not readers[1 - mine].data:
                    links[1 - mine].abort()
                    all_links.connect(address, fresh)

            return received

        for i, seen in enumerate(readers):
            seen.data_received = first_come(i)  # type: ignore[method-assign]
        await until(lambda: fresh.data)
        assert sorted(bytes(seen.data) for seen in readers) == [b"", b"hello"]
        assert (bytes(fresh.data), fresh.ends) == (b"hello", [])
        assert not any(seen.ends for seen in readers)
        all_links.close()


async def test_a_turn_is_one_batch(kind: str) -> None:
    """However many sockets have something to read, the loop comes round after a batch of them."""
    if kind == "portable":
        pytest.skip("without epoll a turn is all that is ready")
    pairs = [socket.socketpair() for _ in range(5 * BATCH)]
    all_links, seen = Sockets(asyncio.get_running_loop()), RecordingReader()
    try:
        for ours, theirs in pairs:
            ours.setblocking(False)
            seen.link = None
            link = all_links._links[ours.fileno()] = Link(all_links, ours, seen)
            link.begin()
            theirs.send(b"x")
        turns: list[int] = []
        while seen.reads < len(pairs):
            before = seen.reads
            all_links._turn()
            turns.append(seen.reads - before)
        assert max(turns) < 2 * BATCH
    finally:
        all_links.close()
        for _, theirs in pairs:
            theirs.close()


def test_the_poll_is_released() -> None:
    """Whoever closes the sockets leaves neither descriptors nor a reader in the loop."""

    async def go() -> Any:
        loop = asyncio.get_running_loop()
        all_links = Sockets(loop)
        fd = all_links.poll.fileno()
        all_links.close()
        return loop.remove_reader(fd)

    assert asyncio.run(go()) is False
