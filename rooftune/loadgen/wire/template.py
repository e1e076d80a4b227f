"""What the events of one stream have in common: all bytes except the text of the token.

A server writes its events with one serialiser, so the events of one response mostly differ in a single string. Once
a stream has a template, an event is checked by its length, its beginning and its end, and only the strings are
parsed as JSON, many at a time. ``learn`` proves that nothing else can differ: any JSON string in the gap yields the
same event with another text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import orjson

loads: Callable[[bytes], Any] = orjson.loads
"""Parse JSON. Raises ValueError, also for nesting that is too deep."""
_STRING = re.compile(rb'(?:[^\x00-\x1f"\\]|\\.)*"')
_ID = re.compile(rb'\{"id":"[\w-]*"')
_MARK = "rooftune"


def _stated(length: int) -> bytes:
    """The size that a chunk of this length, including its framing, must state. Impossible lengths get bytes that begin
    no chunk."""
    for digits in (1, 2, 3, 4):
        size = b"%x" % max(0, length - digits - 4)
        if len(size) == digits:
            return size
    return b"\x00"


SIZES = [_stated(length) for length in range(4096)]
"""The stated size, by the length of a chunk including its framing."""
_TAILS: dict[bytes, bytes] = {}
"""One object for the many streams whose events end with the same bytes, so that it stays in the processor's cache."""
ANSWER, REASONING = "content", ("reasoning", "reasoning_content")
"""Fields of a chat event with text of the answer, and with reasoning before it: newer and older versions of vLLM."""
_KEYS = {name: b'"%b":"' % name.encode() for name in (ANSWER, *REASONING, "text")}
_PROVEN: set[tuple[bytes, bytes]] = set()
"""Prefix (after the response's id) and suffix of proven templates. The responses of one server differ in their ids, so
one proof serves them all."""


class Template:
    """Beginning and end of the events of one stream, in which each event is one HTTP chunk."""

    __slots__ = ("_prefix", "_suffix", "cut", "reasoning", "start", "tail")

    def __init__(self, prefix: bytes, suffix: bytes, *, reasoning: bool = False) -> None:
        self._prefix, self._suffix = prefix, suffix
        self.reasoning = reasoning
        """Whether the texts are reasoning, which precedes the answer."""
        self.start = b"\r\ndata: " + prefix
        """The bytes from the size of the chunk up to the text."""
        tail = suffix + b"\n\n\r\n"
        if len(_TAILS) > 1000:
            _TAILS.clear()
        self.tail = _TAILS.setdefault(tail, tail)
        self.cut = -len(self.tail)

    def received(self, texts: list[bytes]) -> int:
        """Bytes received for these texts, including their framing."""
        sizes = list(map(len, texts))
        frame = len(self._prefix) + len(self._suffix) + 8
        few, many = len(b"%x" % (frame + min(sizes))), len(b"%x" % (frame + max(sizes)))
        digits = few * len(sizes) if few == many else sum([len(b"%x" % (frame + size)) for size in sizes])
        return sum(sizes) + len(sizes) * (frame + 4) + digits

    def several(self, data: bytes) -> list[bytes] | None:
        """The texts of events that were read together; None when the bytes are not complete events of this template."""
        start, texts = self.start, []
        *parts, rest = data.split(self.tail)
        for part in parts:
            length = len(part) - self.cut
            size = SIZES[length] if length < len(SIZES) else b"\x00"
            if not part.startswith(size) or not part.startswith(start, len(size)):
                return None
            texts.append(part[len(start) + len(size) :])
        return None if rest else texts

    def payload(self, text: bytes) -> bytes:
        """The whole event around a text in its JSON form."""
        return self._prefix + text + self._suffix


def learn(payload: bytes, *, chat: bool) -> Template | None:
    """The template of an event; None when the event is not one plain token (role, end, usage, varying
    log-probabilities)."""
    name = _field(payload) if chat else "text"
    key = _KEYS[name]
    start = payload.find(key) + len(key)
    end = _STRING.match(payload, start) if start >= len(key) else None
    if end is None or b"\r" in payload or b"\n" in payload:
        return None
    reasoning = name in REASONING
    prefix, suffix = payload[:start], payload[end.end() - 1 :]
    named = _ID.match(prefix)
    family = (prefix[named.end() :], suffix) if named and end.end() - 1 > start else None
    if family in _PROVEN:
        return Template(prefix, suffix, reasoning=reasoning)
    try:
        event, marked = loads(payload), loads(prefix + _MARK.encode() + suffix)
        text = _fields(event, chat)[name]
        if not text or _fields(marked, chat)[name] != _MARK or not _plain(event):
            return None
        if reasoning and _fields(event, chat).get(ANSWER):
            return None
        _fields(marked, chat)[name] = text
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return None
    if marked != event:
        return None
    if len(_PROVEN) > 1000:
        _PROVEN.clear()
    if family is not None:
        _PROVEN.add(family)
    return Template(prefix, suffix, reasoning=reasoning)


def _field(payload: bytes) -> str:
    """The field of a chat event that has its text: that of the answer, or of the reasoning where it has one."""
    if b'"reasoning' in payload:
        return next((name for name in REASONING if _KEYS[name] in payload), ANSWER)
    return ANSWER


def _fields(event: Any, chat: bool) -> Any:
    """The object of an event that has its text."""
    choice = event["choices"][0]
    return choice["delta"] if chat else choice


def _plain(event: Any) -> bool:
    """Whether the event is a token in the middle of a stream, without a finish reason and without usage."""
    choices = event["choices"]
    return len(choices) == 1 and choices[0].get("finish_reason") is None and event.get("usage") is None


def strings(texts: list[bytes]) -> list[str] | None:
    """Decode texts in their JSON form; None when one of them is not a JSON string."""
    try:
        found = loads(b'["' + b'","'.join(texts) + b'"]')
    except ValueError:
        return None
    return found if len(found) == len(texts) else None
