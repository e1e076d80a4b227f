"""Parses the body of a streamed response: HTTP chunks, then server-sent events, each with the time at which it was
complete.

Pieces arrive as they were read from the socket. A piece that is exactly one HTTP chunk with one event, which is what
vLLM sends per token, takes a short path. Every other piece takes the long path with the same result.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

MAX_EVENT = 4 * 2**20
"""A stream with a larger event is abandoned; vLLM's events have a few hundred bytes."""
MAX_LINE = 4096
"""The most bytes of the line that states the size of a chunk, including extensions."""
_END = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r(?!\n))")
_LINE = re.compile(rb"\r\n|\n|\r")


class BadFrame(Exception):
    """The bytes are not HTTP chunks, or an event is too large."""

    def __init__(self, error_class: str, message: str) -> None:
        super().__init__(message)
        self.error_class, self.message = error_class, message


class Chunks:
    """The payload of a body in chunked transfer coding."""

    __slots__ = ("_left", "_state", "line", "over")

    def __init__(self) -> None:
        self._left = 0
        self._state = "size"
        self.line = b""
        self.over = False

    @property
    def at_boundary(self) -> bool:
        """Whether the next byte begins a chunk."""
        return self._state == "size" and not self.line

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Split off the payload; return it and the bytes after the end of the body.

        Raises:
            BadFrame: the bytes are not in chunked coding.
        """
        found: list[bytes] = []
        at, size = 0, len(data)
        while at < size and not self.over:
            if self._state == "data":
                taken = data[at : at + self._left]
                found.append(taken)
                at += len(taken)
                self._left -= len(taken)
                if self._left == 0:
                    self._state = "after"
                continue
            stop = data.find(b"\n", at)
            if stop < 0:
                self.line += data[at:]
                at = size
                if len(self.line) > MAX_LINE:
                    raise BadFrame("protocol", "a chunk size line does not end")
                break
            line = (self.line + data[at:stop]).rstrip(b"\r")
            self.line, at = b"", stop + 1
            self._take(line)
        return b"".join(found), data[at:]

    def _take(self, line: bytes) -> None:
        """Take one line between the chunks."""
        if self._state == "after":
            if line:
                raise BadFrame("protocol", "a chunk is longer than its stated size")
            self._state = "size"
        elif self._state == "trailer":
            self.over = not line
        else:
            try:
                self._left = int(line.split(b";", 1)[0], 16)
            except ValueError:
                raise BadFrame("protocol", f"invalid chunk size {line[:40]!r}") from None
            if self._left < 0:
                raise BadFrame("protocol", "a chunk has a negative size")
            self._state = "data" if self._left else "trailer"


class ServerEvent(NamedTuple):
    """One server-sent event. ``name`` is the value of its ``event:`` field and mostly empty."""

    name: bytes
    data: bytes


class Events:
    """Reads server-sent events from pieces of text."""

    __slots__ = ("_buffer", "_scanned")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._scanned = 0

    @property
    def empty(self) -> bool:
        """Whether no event has begun."""
        return not self._buffer

    @property
    def rest(self) -> bytes:
        """Text of an event that is not complete."""
        return bytes(self._buffer)

    def feed(self, data: bytes) -> list[ServerEvent]:
        """Return the events that are complete now. Events without data are left out.

        Raises:
            BadFrame: an event grows beyond ``MAX_EVENT``.
        """
        self._buffer += data
        found = []
        at = 0
        while (end := _END.search(self._buffer, max(at, self._scanned - 3))) is not None:
            event = _parse_event(bytes(self._buffer[at : end.start()]))
            at = self._scanned = end.end()
            if event is not None:
                found.append(event)
        if at:
            del self._buffer[:at]
        self._scanned = len(self._buffer)
        if self._scanned > MAX_EVENT:
            raise BadFrame("too_large", f"an event exceeds {MAX_EVENT // 2**20} MiB")
        return found


def _parse_event(text: bytes) -> ServerEvent | None:
    """Parse one event; None for comments and blank lines."""
    if len(text) > MAX_EVENT:
        raise BadFrame("too_large", f"an event exceeds {MAX_EVENT // 2**20} MiB")
    if text.startswith(b"data: ") and b"\n" not in text and b"\r" not in text:
        return ServerEvent(b"", text[6:])
    name, data = b"", []
    for line in _LINE.split(text.removeprefix(b"\xef\xbb\xbf")):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value
    return ServerEvent(name, b"\n".join(data)) if data else None


class Stream:
    """Events of one response with their times. ``chunked``: whether the body is in chunked transfer coding."""

    __slots__ = ("_chunks", "_events", "names", "payloads", "surplus", "times")

    def __init__(self, chunked: bool) -> None:
        self._chunks = Chunks() if chunked else None
        self._events = Events()
        self.payloads: list[bytes] = []
        self.times: list[float] = []
        self.names: dict[int, bytes] = {}
        """Maps the index of an event in ``payloads`` to its name, if it has one."""
        self.surplus = False
        """Whether bytes arrived after the end."""

    @property
    def over(self) -> bool:
        """Whether the last chunk has arrived."""
        return self._chunks is not None and self._chunks.over

    @property
    def rest(self) -> bytes:
        """Text of an event that was never completed."""
        return self._events.rest

    @property
    def clean(self) -> bool:
        """Whether the next byte begins a chunk and an event."""
        chunks = self._chunks
        return chunks is not None and not chunks.over and chunks.at_boundary and self._events.empty

    def feed(self, pieces: list[bytes], times: Sequence[float]) -> None:
        """Take pieces that were read at these times. Raises BadFrame."""
        payloads, at = self.payloads.append, self.times.append
        clean = self.clean
        for piece, time in zip(pieces, times, strict=True):
            if clean and piece[-4:] == b"\n\n\r\n":
                start = piece.find(b"\r\ndata: ", 1, 18)
                size = len(piece)
                if (
                    start > 0
                    and piece.find(b"\r", start + 2) == size - 2
                    and piece.find(b"\n", start + 2) == size - 4
                    and _hex(piece[:start]) == size - start - 4
                ):
                    payloads(piece[start + 8 : -4])
                    at(time)
                    continue
            if clean and piece[-5:] == b"0\r\n\r\n" and (last := _last_events(piece)) is not None:
                assert self._chunks is not None
                self._chunks.over = True
                self.payloads += last
                self.times += [time] * len(last)
            else:
                self._parse_in_full(piece, time)
            clean = self.clean

    def _parse_in_full(self, piece: bytes, time: float) -> None:
        if self._chunks is not None:
            piece, after = self._chunks.feed(piece)
            self.surplus = self.surplus or bool(after)
        for name, data in self._events.feed(piece):
            if name:
                self.names[len(self.payloads)] = name
            self.payloads.append(data)
            self.times.append(time)

    def clear(self) -> None:
        """Drop the events that were taken."""
        self.payloads.clear()
        self.times.clear()
        self.names.clear()


def _last_events(piece: bytes) -> list[bytes] | None:
    """The events of a piece that ends a body and has one plain event per complete chunk; otherwise None."""
    found: list[bytes] = []
    at, size = 0, len(piece)
    while at < size:
        line = piece.find(b"\r\n", at, at + 18)
        length = _hex(piece[at:line]) if line > at else -1
        begin, end = line + 2, line + 2 + length
        if length == 0:
            return found if piece[begin:] == b"\r\n" else None
        if length < 0 or piece[end : end + 2] != b"\r\n" or not piece.startswith(b"data: ", begin):
            return None
        if (
            piece.find(b"\n", begin, end) != end - 2
            or piece.find(b"\r", begin, end) >= 0
            or piece[end - 2 : end] != b"\n\n"
        ):
            return None
        found.append(piece[begin + 6 : end - 2])
        at = end + 2
    return None


def _hex(digits: bytes) -> int:
    try:
        return int(digits, 16)
    except ValueError:
        return -1
