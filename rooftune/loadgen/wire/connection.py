"""The hot path: one HTTP/1.1 connection over a plain socket, one request at a time, every read timed on arrival.

While a response streams token by token, a read costs one look at the clock, three comparisons with the stream's
template and two appends. Everything that does not fit the template is parsed in full. Nothing is retried. A send
that becomes due while many connections have data goes out between two reads, not after all of them.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable
from typing import NamedTuple, Protocol

from rooftune.loadgen.wire.exchange import Exchange
from rooftune.loadgen.wire.sockets import Link
from rooftune.loadgen.wire.sse import BadFrame, Chunks
from rooftune.loadgen.wire.template import SIZES, Template

MAX_HEAD = 64 * 2**10
MAX_LENGTH_DIGITS = 18
GATHERED = 64
"""Reads of a stream without a template that are parsed together."""
MANY_TEXTS = 512
HOPELESS = 8
"""After this many more misses than hits, the stream is read without a template."""
_IDLE, _HEAD, _CHUNKED, _PLAIN, _BODY = range(5)
_NEVER = b"\x00no read ends like this\x00"
_KNOWN = len(SIZES)
_clock = time.monotonic


class Head(NamedTuple):
    """The status line and the headers of a response; header names are in lower case."""

    version: str
    status: int
    headers: dict[str, str]


_HEADS: dict[bytes, Head] = {}
"""Heads that were parsed before. A server repeats its head for a second, until the date changes."""


class ConnectionOwner(Protocol):
    """What a connection needs to know of the pool that it belongs to."""

    head: bytes
    """The head of every request, up to the value of ``content-length``."""
    next_due: float
    when_due: Callable[[], None]
    """Called after a read once ``next_due`` has passed."""
    ended: Callable[[Exchange], None]

    def free(self, connection: Connection) -> None:
        """The connection may serve the next request."""

    def lost(self, connection: Connection) -> None:
        """The connection is closed."""


def _parse(raw: bytes) -> Head | None:
    """Parse a head; None when it is not one of HTTP/1."""
    lines = raw.decode("latin-1").split("\r\n")
    try:
        version, code = lines[0].split(" ", 2)[:2]
        status = int(code)
    except ValueError:
        return None
    if not version.startswith("HTTP/1") or not 100 <= status < 1000:
        return None
    headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
    if len(_HEADS) > 1000:
        _HEADS.clear()
    return _HEADS.setdefault(raw, Head(version, status, headers))


class Connection:
    """One connection to the server, a ``sockets.Reader`` and the ``Carrier`` of its exchange."""

    __slots__ = (
        *("_buffer", "_chunks", "_cut", "_keep", "_left", "_misses", "_skip", "_start", "_state", "_tail"),
        *("_template", "_text", "_time", "exchange", "idle_since", "link", "owner", "pieces", "texts", "times"),
    )

    def __init__(self, owner: ConnectionOwner) -> None:
        self.owner = owner
        self.link: Link | None = None
        self.exchange: Exchange | None = None
        self._state = _IDLE
        self._buffer = bytearray()
        self._chunks: Chunks | None = None
        self._left: int | None = None
        self._keep = True
        self.idle_since = 0.0
        self._template: Template | None = None
        self._start, self._tail, self._skip, self._cut, self._misses = b"", _NEVER, 0, 0, 0
        self.texts: list[bytes] = []
        """Texts of events that fitted the template."""
        self.pieces: list[bytes] = []
        """Reads that are not parsed yet. Either ``texts`` or ``pieces`` is empty."""
        self.times = array("d")
        """Arrival time of each text or piece."""
        self._text, self._time = self.texts.append, self.times.append

    def connection_made(self, link: Link) -> None:
        """Use this link from now on."""
        self.link = link

    def begin(self, exchange: Exchange) -> None:
        """Send a request."""
        self.exchange, exchange.carrier = exchange, self
        self._state, self._keep = _HEAD, True
        self._template, self._tail, self._misses = None, _NEVER, 0
        assert self.link is not None
        self.link.write(b"%b%d\r\n\r\n%b" % (self.owner.head, len(exchange.body), exchange.body))
        exchange.body = b""

    def data_received(self, data: bytes) -> None:
        """Take one read. An event that fits the template takes the short path."""
        now = _clock()
        if data.endswith(self._tail):
            length = len(data)
            size = SIZES[length] if length < _KNOWN else b"\x00"
            if data.startswith(size) and data.startswith(self._start, len(size)):
                text, time = self._text, self._time  # bound once: an attribute lookup per read is slower
                text(data[self._skip + len(size) : self._cut])
                time(now)
                if now >= self.owner.next_due:
                    self.owner.when_due()
                return
            self._late(data, now)
        elif self._state == _CHUNKED:
            self._streamed(data, now)
        else:
            self._slow(data, now)
        if now >= self.owner.next_due:
            self.owner.when_due()

    def _late(self, data: bytes, now: float) -> None:
        """A read that ends like the template and is not one event: the client was late, and several events have
        arrived."""
        assert self._template is not None
        texts = self._template.several(data)
        if texts is None:
            return self._streamed(data, now)
        self.texts += texts
        self.times.extend([now] * len(texts))

    def _streamed(self, data: bytes, now: float) -> None:
        """A read of a stream that does not fit the template, or has none yet."""
        if self._tail is not _NEVER:
            self._flush()
            self._tail = _NEVER
        self.pieces.append(data)
        self.times.append(now)
        if self._misses < HOPELESS or data.endswith(b"\r\n\r\n") or len(data) < 5 or len(self.pieces) >= GATHERED:
            self._parse_pieces()

    def _flush(self) -> None:
        """Count the texts that fitted the template."""
        exchange, template = self.exchange, self._template
        if not self.texts or exchange is None or template is None:
            return
        exchange.bytes_received += template.received(self.texts)
        self._misses -= len(self.texts)
        exchange.response.take_texts(self.texts, self.times, template)
        self.texts.clear()
        del self.times[:]

    def _parse_pieces(self) -> None:
        """Parse what has gathered. End the exchange when the last chunk has arrived."""
        exchange = self.exchange
        assert exchange is not None
        response, stream = exchange.response, exchange.response.stream
        assert stream is not None
        now = self.times[-1]
        self._misses += len(self.pieces)
        going = self._gather()
        if stream.over:
            self._keep = self._keep and not stream.surplus
            self._end(now)
        elif not going:
            self._give_up(now)
        elif self._misses < HOPELESS and stream.clean:
            self._template = template = response.template()
            if template is not None:
                self._start, self._tail, self._cut = template.start, template.tail, template.cut
                self._skip = len(template.start)

    def _gather(self) -> bool:
        """Parse everything that has been read. False means that reading on is pointless."""
        exchange = self.exchange
        assert exchange is not None
        self._flush()
        if not self.pieces:
            return not exchange.response.error_class
        exchange.bytes_received += sum(map(len, self.pieces))
        going = exchange.response.take(self.pieces, self.times)
        self.pieces.clear()
        del self.times[:]
        return going

    def settle(self, now: float) -> None:
        """Called every second, so that neither many texts nor an end that arrived together with data waits for long."""
        if len(self.texts) > MANY_TEXTS:
            self._flush()
            if self.exchange is not None and self.exchange.response.error_class:
                self._give_up(now)
        elif self.pieces and now - self.times[-1] > 0.5:
            self._parse_pieces()

    def _slow(self, data: bytes, now: float) -> None:
        """Parse everything that is not a chunked stream: the head, plain bodies, errors."""
        if self.exchange is None:
            self.close()
            return
        if self._state == _HEAD:
            self._buffer += data
            rest = self._head(now)
            if rest is None or self.exchange is None:
                return
            data = rest
        else:
            self.exchange.bytes_received += len(data)
        if self._state == _CHUNKED:
            if data:
                self._streamed(data, now)
            return
        self._body(data, now)

    def _head(self, now: float) -> bytes | None:
        """Parse the head once it is complete; return what follows it."""
        exchange, buffer = self.exchange, self._buffer
        assert exchange is not None
        stop = buffer.find(b"\r\n\r\n")
        if stop < 0:
            if len(buffer) > MAX_HEAD or (len(buffer) >= 5 and not buffer.startswith(b"HTTP/")):
                self._fail("protocol", f"not an HTTP response: {bytes(buffer[:60])!r}", now)
            return None
        raw = bytes(buffer[:stop])
        rest = bytes(buffer[stop + 4 :])
        exchange.bytes_received += stop + 4
        buffer.clear()
        found = _HEADS.get(raw) or _parse(raw)
        if found is None:
            self._fail("protocol", f"not an HTTP response: {raw.decode('latin-1').partition(chr(13))[0][:60]!r}", now)
            return None
        version, status, headers = found
        if status < 200:
            buffer += rest
            return self._head(now)
        self._begin_body(status, headers, version, now)
        if self.exchange is not None and self._state != _CHUNKED:
            exchange.bytes_received += len(rest)
        return rest

    def _begin_body(self, status: int, headers: dict[str, str], version: str, now: float) -> None:
        exchange = self.exchange
        assert exchange is not None
        chunked = headers.get("transfer-encoding", "").lower().endswith("chunked")
        length = headers.get("content-length")
        keeps = headers.get("connection", "").lower()
        self._keep = "close" not in keeps and (version == "HTTP/1.1" or "keep-alive" in keeps)
        exchange.response.head(status, headers, chunked)
        self._chunks, self._left = None, None
        if chunked:
            if exchange.response.stream is not None:
                self._state = _CHUNKED
                return
            self._chunks = Chunks()
        elif length is not None:
            if not (length.isascii() and length.isdigit() and len(length) <= MAX_LENGTH_DIGITS):
                self._fail("protocol", f"invalid content-length {length[:40]!r}", now)
                return
            self._left = int(length)
        self._state = _PLAIN if exchange.response.stream is not None else _BODY

    def _body(self, data: bytes, now: float) -> None:
        """Take bytes of a body that is not a chunked stream."""
        exchange = self.exchange
        assert exchange is not None
        response, over = exchange.response, False
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
            return self._fail(bad.error_class, bad.message, now)
        going = response.take([data], [now]) if self._state == _PLAIN else response.take_body(data)
        if over:
            return self._end(now)
        return None if going else self._give_up(now)

    def _end(self, now: float, cut_short: str = "") -> None:
        """The response is over. The connection becomes idle if it may be kept."""
        exchange = self.exchange
        assert exchange is not None
        self.exchange, self._state, self._tail = None, _IDLE, _NEVER
        exchange.ended, exchange.carrier = now, None
        exchange.response.close(cut_short)
        if self._keep and not cut_short and not self._buffer:
            self.idle_since = now
            self.owner.free(self)
        else:
            self.close()
        self.owner.ended(exchange)

    def _fail(self, error_class: str, error: str, now: float) -> None:
        assert self.exchange is not None
        self.exchange.response.fail(error_class, error)
        self._give_up(now)

    def _give_up(self, now: float) -> None:
        """Stop reading. What the response has recorded so far decides its class."""
        self._keep = False
        self._end(now)

    def abort(self) -> None:
        """Cut the exchange. The caller records it."""
        if self.exchange is not None:
            self._gather()
        self.exchange, self._tail = None, _NEVER
        self.close()

    def connection_lost(self, error: Exception | None) -> None:
        """End the exchange and classify how the connection ended."""
        now = _clock()
        self.owner.lost(self)
        self.link = None
        exchange = self.exchange
        if exchange is None:
            return
        self._gather()
        self._keep = False
        if exchange.response.stream is not None and exchange.response.stream.over:
            return self._end(now)
        if isinstance(error, (ConnectionResetError, BrokenPipeError)):
            exchange.response.fail(
                "reset", f"the server reset the connection after {len(exchange.response.chunk_t)} chunks"
            )
            return self._end(now, "the connection was reset")
        if self._state in (_PLAIN, _BODY) and self._chunks is None and self._left is None:
            return self._end(now)
        return self._end(now, "" if self._state == _HEAD else "the connection closed before the end of the response")

    def close(self) -> None:
        """Close it at once."""
        self.owner.lost(self)
        link, self.link = self.link, None
        if link is not None:
            link.abort()
