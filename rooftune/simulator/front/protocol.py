"""A small HTTP/1.1 server protocol: keep-alive, one request at a time per connection, chunked answers."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable

MAX_BODY = 64 * 1024 * 1024
REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Payload Too Large",
    503: "Service Unavailable",
}


class HttpExchange:
    """One request and the means to answer it."""

    __slots__ = ("body", "method", "on_gone", "open", "path", "protocol", "streaming")

    def __init__(self, protocol: HttpProtocol, method: str, path: str, body: bytes) -> None:
        self.protocol, self.method, self.path, self.body = protocol, method, path, body
        self.on_gone: Callable[[], None] | None = None
        self.open, self.streaming = True, False

    def answer(self, body: bytes, status: int = 200, content_type: str = "application/json") -> None:
        """Send a whole answer."""
        head = (
            f"HTTP/1.1 {status} {REASONS.get(status, 'Error')}\r\ncontent-type: {content_type}\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        )
        self._send(head.encode() + body)
        self.end()

    def error(self, message: str, status: int = 400, kind: str = "BadRequestError") -> None:
        """Send an error as vLLM does."""
        self.answer(
            json.dumps({"error": {"message": message, "type": kind, "param": None, "code": status}}).encode(), status
        )

    def begin_stream(self, opening: bytes = b"") -> None:
        """Send the head of a streamed answer, with a first piece."""
        self.streaming = True
        self._send(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
            + opening
        )

    def stream(self, piece: bytes, last: bool) -> None:
        """Send one piece of a streamed answer, which is already in HTTP's chunked coding."""
        self._send(piece + b"0\r\n\r\n" if last else piece)
        if last:
            self.end()

    def _send(self, data: bytes) -> None:
        if self.open and self.protocol.transport is not None:
            self.protocol.transport.write(data)

    def end(self) -> None:
        """Close the exchange; the connection may take its next request."""
        if self.open:
            self.open = False
            self.protocol.done()


class HttpProtocol(asyncio.Protocol):
    """Parses the requests of one connection and passes them, one after another, to ``handle``."""

    def __init__(self, handle: Callable[[HttpExchange], None]) -> None:
        self.handle = handle
        self.transport: asyncio.Transport | None = None
        self.buffer = bytearray()
        self.waiting: deque[HttpExchange] = deque()
        self.current: HttpExchange | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self.transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        for exchange in (self.current, *self.waiting):
            if exchange is not None and exchange.open:
                exchange.open = False
                if exchange.on_gone:
                    exchange.on_gone()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (exchange := self._parse()) is not None:
            self.waiting.append(exchange)
        self._next()

    def done(self) -> None:
        """The current request is answered."""
        self.current = None
        if self.waiting:
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        if self.current is None and self.waiting:
            self.current = self.waiting.popleft()
            self.handle(self.current)

    def _parse(self) -> HttpExchange | None:
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self.buffer) > 65536:
                self._refuse("Request header is too large", 400)
            return None
        lines = bytes(self.buffer[:end]).decode("latin-1").split("\r\n")
        parts = lines[0].split(" ")
        headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
        length = headers.get("content-length", "0")
        if len(parts) != 3 or not length.isdigit() or "chunked" in headers.get("transfer-encoding", ""):
            self._refuse("Invalid HTTP request received.", 400)
            return None
        if int(length) > MAX_BODY:
            self._refuse("Request body is too large", 413)
            return None
        stop = end + 4 + int(length)
        if headers.get("expect", "").lower() == "100-continue" and len(self.buffer) == end + 4 and self.transport:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if len(self.buffer) < stop:
            return None
        body = bytes(self.buffer[end + 4 : stop])
        del self.buffer[:stop]
        return HttpExchange(self, parts[0], parts[1].split("?")[0], body)

    def _refuse(self, message: str, status: int) -> None:
        self.buffer.clear()
        HttpExchange(self, "", "", b"").error(message, status)
        if self.transport:
            self.transport.close()
