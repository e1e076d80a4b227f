"""A misbehaving server: a real TCP server in a thread that spoils each response in a chosen way.

The first part of the path names the fault: ``http://127.0.0.1:PORT/no_done`` never sends ``[DONE]``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"
STALL_S = 60.0
"""How long a stalling fault holds its connection."""
DONE = b"data: [DONE]\n\n"
Fault = Callable[["Answering"], Awaitable[None]]
FAULTS: dict[str, Fault] = {}


def fault(answer: Fault) -> Fault:
    """Register a fault under the name of its function."""
    FAULTS[answer.__name__] = answer
    return answer


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(text: str = " word", finish: str | None = None, chat: bool = False) -> bytes:
    """The event of one token, as vLLM writes it."""
    choice: dict[str, Any] = {"index": 0}
    choice |= {"delta": {"content": text}} if chat else {"text": text}
    choice |= {"logprobs": None, "finish_reason": finish}
    value = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m", "choices": [choice]}
    return b"data: " + json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


def usage(tokens: int) -> bytes:
    """The event with the server's count."""
    count = {"prompt_tokens": 5, "total_tokens": 5 + tokens, "completion_tokens": tokens}
    return b"data: " + json.dumps({"id": "cmpl-1", "choices": [], "usage": count}).encode() + b"\n\n"


def whole(tokens: int) -> list[bytes]:
    """All events of a good answer."""
    middle = [event(f" w{i}") for i in range(tokens - 1)]
    return [*middle, event(" end", "length"), usage(tokens), DONE]


class Answering:
    """One request and the connection to spoil its answer on."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: int, nth: int, nth_here: int
    ) -> None:
        self.reader, self.writer = reader, writer
        self.asked = asked
        """max_tokens"""
        self.nth, self.nth_here = nth, nth_here
        """Number of the request: of this fault since the server began, and on this connection; from 0."""

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()
        await asyncio.sleep(0.001)

    async def stream(self, events: list[bytes], end: bytes = END) -> None:
        """A chunked answer of these events, one per chunk."""
        await self.send(HEAD)
        for one in events:
            await self.send(chunk(one))
        await self.send(end)

    async def plain(self, status: str, body: bytes, *headers: str, kind: str = "application/json") -> None:
        """An answer in one piece."""
        lines = [f"HTTP/1.1 {status}", f"content-type: {kind}", f"content-length: {len(body)}", *headers]
        await self.send("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    def reset(self) -> None:
        """End the connection with a TCP reset."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    def close(self) -> None:
        self.writer.close()


class MisbehavingServer:
    """Listens on a free port until ``stop``."""

    def __init__(self, faults: Mapping[str, Fault] = FAULTS) -> None:
        self.faults = faults
        self.counts: dict[str, int] = {}
        self.bodies: list[bytes] = []
        self.heads: list[str] = []
        self.present = self.most_present = 0
        """Requests that are being answered."""
        self.loop = asyncio.new_event_loop()
        self.listening = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        assert self.listening.wait(60)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(60)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.set_exception_handler(lambda *_: None)
        server = self.loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**22))
        self.port = server.sockets[0].getsockname()[1]
        self.listening.set()
        self.loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.run_until_complete(asyncio.sleep(0.01))
        self.loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        here = 0
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while not writer.is_closing():
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                name = head.split(" ")[1].split("/")[1]
                sizes = [
                    line.split(":")[1] for line in head.lower().split("\r\n") if line.startswith("content-length:")
                ]
                body = await reader.readexactly(int(sizes[0]) if sizes else 0)
                if not body:
                    await Answering(reader, writer, 0, 0, 0).plain("404 Not Found", b"{}")
                    continue
                self.bodies.append(body)
                self.heads.append(head)
                nth = self.counts.get(name, 0)
                self.counts[name] = nth + 1
                self.present += 1
                self.most_present = max(self.most_present, self.present)
                try:
                    await self.faults[name](Answering(reader, writer, json.loads(body)["max_tokens"], nth, here))
                finally:
                    self.present -= 1
                here += 1
        with contextlib.suppress(OSError):
            writer.close()


@contextlib.contextmanager
def misbehaving(faults: Mapping[str, Fault] = FAULTS) -> Iterator[MisbehavingServer]:
    """A server for the length of a block."""
    server = MisbehavingServer(faults)
    try:
        yield server
    finally:
        server.stop()
