"""The hot path: one HTTP/1.1 connection over a plain socket, one request at a time, every read timed on arrival.

While an answer streams token by token, a read costs a look at the clock, three comparisons with the stream's template and two appends.
What does not fit the template is taken apart in full. Nothing is retried. A send that falls due while many connections have something to
read goes out between two reads, not after all of them.
"""

from __future__ import annotations

import time
from array import array
from typing import TYPE_CHECKING

from rooftune.loadgen.wire.flight import Flight
from rooftune.loadgen.wire.sse import BadFrame, Chunks
from rooftune.loadgen.wire.template import SIZES, Template

if TYPE_CHECKING:
    from rooftune.loadgen.wire.pool import Pool
    from rooftune.loadgen.wire.sockets import Link

MAX_HEAD = 64 * 2**10
GATHERED = 64
"""Reads of a stream without a template that are taken apart together."""
MANY_TEXTS = 512
HOPELESS = 8
"""Reads that did not fit a template, with fewer that did, after which none is tried any more."""
_IDLE, _HEAD, _CHUNKED, _PLAIN, _BODY = range(5)
_NEVER = b"\x00no read ends like this\x00"
_KNOWN = len(SIZES)
_clock = time.monotonic


Head = tuple[str, int, dict[str, str]]
_HEADS: dict[bytes, Head] = {}
"""Heads that were read before: a server repeats its own for a second, until the date changes."""


def _parse(raw: bytes) -> Head | None:
    """Version, status and headers (names in lower case); None when it is no head of HTTP/1."""
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
    return _HEADS.setdefault(raw, (version, status, headers))


class Connection:
    """One connection to the server, a ``sockets.Reader``; ``pool`` is told when it is free or gone."""

    __slots__ = ("_buffer", "_chunks", "_cut", "_keep", "_left", "_misses", "_skip", "_start", "_state", "_tail", "_template", "_text", "_time", "flight",
                 "idle_since", "link", "pieces", "pool", "texts", "times")  # fmt: skip

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.link: Link | None = None
        self.flight: Flight | None = None
        self._state = _IDLE
        self._buffer = bytearray()
        self._chunks: Chunks | None = None
        self._left: int | None = None
        self._keep = True
        self.idle_since = 0.0
        self._template: Template | None = None
        self._start, self._tail, self._skip, self._cut, self._misses = b"", _NEVER, 0, 0, 0
        self.texts: list[bytes] = []
        """Texts of events that fitted the template; or else ``pieces``, reads not yet taken apart. Never both."""
        self.pieces: list[bytes] = []
        self.times = array("d")
        self._text, self._time = self.texts.append, self.times.append
        """When each of them came."""

    def connection_made(self, link: Link) -> None:
        self.link = link

    def begin(self, flight: Flight) -> None:
        """Send a request."""
        self.flight, flight.connection = flight, self
        self._state, self._keep = _HEAD, True
        self._template, self._tail, self._misses = None, _NEVER, 0
        assert self.link is not None
        self.link.write(flight.wire)
        flight.wire = b""

    def data_received(self, data: bytes) -> None:
        now = _clock()
        if data.endswith(self._tail):
            length = len(data)
            size = SIZES[length] if length < _KNOWN else b"\x00"
            if data.startswith(size) and data.startswith(self._start, len(size)):
                text, time = self._text, self._time  # called as methods they would be looked up anew
                text(data[self._skip + len(size) : self._cut])
                time(now)
                if now >= self.pool.next_due:
                    self.pool.when_due()
                return
            self._late(data, now)
        elif self._state == _CHUNKED:
            self._streamed(data, now)
        else:
            self._slow(data, now)
        if now >= self.pool.next_due:
            self.pool.when_due()

    def _late(self, data: bytes, now: float) -> None:
        """A read that ends like the template and is not one event: we were late, and there are several."""
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
            self._look()

    def _flush(self) -> None:
        """Count the texts that fitted the template."""
        flight, template = self.flight, self._template
        if not self.texts or flight is None or template is None:
            return
        flight.size += template.received(self.texts)
        self._misses -= len(self.texts)
        flight.answer.take_texts(self.texts, self.times, template)
        self.texts.clear()
        del self.times[:]

    def _look(self) -> None:
        """Take apart what has gathered; end the request when its last chunk is there."""
        flight = self.flight
        assert flight is not None
        answer, stream = flight.answer, flight.answer.stream
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
            self._template = template = answer.template()
            if template is not None:
                self._start, self._tail, self._cut = template.start, template.tail, template.cut
                self._skip = len(template.start)

    def _gather(self) -> bool:
        """Take apart everything that lies here. False = it makes no sense to read on."""
        flight = self.flight
        assert flight is not None
        self._flush()
        if not self.pieces:
            return not flight.answer.error_class
        flight.size += sum(map(len, self.pieces))
        going = flight.answer.take(self.pieces, self.times)
        self.pieces.clear()
        del self.times[:]
        return going

    def settle(self, now: float) -> None:
        """Called each second: neither many texts nor an end that came together with more lie here for long."""
        if len(self.texts) > MANY_TEXTS:
            self._flush()
            if self.flight is not None and self.flight.answer.error_class:
                self._give_up(now)
        elif self.pieces and now - self.times[-1] > 0.5:
            self._look()

    def _slow(self, data: bytes, now: float) -> None:
        """Everything but a chunked stream: the head, plain bodies, errors."""
        if self.flight is None:
            self.close()
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
                self._streamed(data, now)
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
        raw = bytes(buffer[:stop])
        rest = bytes(buffer[stop + 4 :])
        flight.size += stop + 4
        buffer.clear()
        found = _HEADS.get(raw) or _parse(raw)
        if found is None:
            self._fail("protocol", f"no HTTP answer: {raw.decode('latin-1').partition(chr(13))[0][:60]!r}", now)
            return None
        version, status, headers = found
        if status < 200:
            buffer += rest
            return self._head(now)
        self._begin_body(status, headers, version, now)
        if self.flight is not None and self._state != _CHUNKED:
            flight.size += len(rest)
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
        self.flight, self._state, self._tail = None, _IDLE, _NEVER
        flight.ended, flight.connection = now, None
        flight.answer.close(cut_short)
        if self._keep and not cut_short and not self._buffer:
            self.idle_since = now
            self.pool.free(self)
        else:
            self.close()
        self.pool.ended(flight)

    def _fail(self, error_class: str, error: str, now: float) -> None:
        assert self.flight is not None
        self.flight.answer.wrong(error_class, error)
        self._give_up(now)

    def _give_up(self, now: float) -> None:
        """Read no further; what the answer said stays its verdict."""
        self._keep = False
        self._end(now)

    def abort(self) -> None:
        """Cut the request; its record is the caller's."""
        if self.flight is not None:
            self._gather()
        self.flight, self._tail = None, _NEVER
        self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        now = _clock()
        self.pool.lost(self)
        self.link = None
        flight = self.flight
        if flight is None:
            return
        self._gather()
        self._keep = False
        if flight.answer.stream is not None and flight.answer.stream.over:
            return self._end(now)
        if isinstance(exc, (ConnectionResetError, BrokenPipeError)):
            flight.answer.wrong("reset", f"the server reset the connection after {len(flight.answer.chunk_t)} chunks")
            return self._end(now, "the connection was reset")
        if self._state in (_PLAIN, _BODY) and self._chunks is None and self._left is None:
            return self._end(now)
        return self._end(now, "" if self._state == _HEAD else "the connection closed before the end of the answer")

    def close(self) -> None:
        """Close it without waiting for anything."""
        self.pool.lost(self)
        link, self.link = self.link, None
        if link is not None:
            link.abort()
