"""What the events of one stream have in common: all bytes but the text of the token.

A server writes its events with one serialiser, so those of one answer mostly differ in one string. Once that is known of
a stream, an event is checked by its length, its beginning and its end, and only the strings are read as JSON, many
at once. The proof that nothing else can differ is made when the template is learned: any JSON string in the gap
gives the same event with another text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

try:
    import orjson

    loads: Callable[[bytes], Any] = orjson.loads
except ImportError:  # pragma: no cover - the standard library's is half as fast
    loads = json.loads

_STRING = re.compile(rb'(?:[^\x00-\x1f"\\]|\\.)*"')
_ID = re.compile(rb'\{"id":"[\w-]*"')
_MARK = "rooftune"


def _stated(length: int) -> bytes:
    """The size that a chunk of this length, framing included, must state; for impossible lengths what no chunk begins with."""
    for digits in (1, 2, 3, 4):
        size = b"%x" % max(0, length - digits - 4)
        if len(size) == digits:
            return size
    return b"\x00"


SIZES = [_stated(length) for length in range(4096)]
"""By the length of a chunk, its framing included."""


_TAILS: dict[bytes, bytes] = {}
"""One object for the many streams that end their events alike: it stays in the processor's cache."""


_PROVEN: set[tuple[bytes, bytes]] = set()
"""What stands before (after the answer's id) and behind the text in events that were proven to be templates: the answers of one server
differ in their ids, so the proof is made once and not for each."""


class Template:
    """Beginning and end of the events of one stream, each event one HTTP chunk."""

    __slots__ = ("_prefix", "_suffix", "cut", "start", "tail")

    def __init__(self, prefix: bytes, suffix: bytes) -> None:
        self._prefix, self._suffix = prefix, suffix
        self.start = b"\r\ndata: " + prefix
        """What follows the size of the chunk, up to the text."""
        tail = suffix + b"\n\n\r\n"
        if len(_TAILS) > 1000:
            _TAILS.clear()
        self.tail = _TAILS.setdefault(tail, tail)
        self.cut = -len(self.tail)

    def received(self, texts: list[bytes]) -> int:
        """Bytes that came for these texts, their framing included."""
        sizes = list(map(len, texts))
        frame = len(self._prefix) + len(self._suffix) + 8
        few, many = len(b"%x" % (frame + min(sizes))), len(b"%x" % (frame + max(sizes)))
        digits = few * len(sizes) if few == many else sum([len(b"%x" % (frame + size)) for size in sizes])
        return sum(sizes) + len(sizes) * (frame + 4) + digits

    def several(self, data: bytes) -> list[bytes] | None:
        """The texts of events that were read together; None when these bytes are not a row of whole events of this template."""
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
        """The whole event of a text as it stands in JSON."""
        return self._prefix + text + self._suffix


def learn(payload: bytes, *, chat: bool) -> Template | None:
    """The template of an event; None when it is not one plain token (role, end, usage, log-probabilities that differ)."""
    key = b'"content":"' if chat else b'"text":"'
    start = payload.find(key) + len(key)
    end = _STRING.match(payload, start) if start >= len(key) else None
    if end is None or b"\r" in payload or b"\n" in payload:
        return None
    prefix, suffix = payload[:start], payload[end.end() - 1 :]
    named = _ID.match(prefix)
    kin = (prefix[named.end() :], suffix) if named and end.end() - 1 > start else None
    if kin in _PROVEN:
        return Template(prefix, suffix)
    try:
        event, marked = loads(payload), loads(prefix + _MARK.encode() + suffix)
        text = _text(event, chat)
        if not text or _text(marked, chat) != _MARK or not _plain(event):
            return None
        _put(marked, chat, text)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return None
    if marked != event:
        return None
    if len(_PROVEN) > 1000:
        _PROVEN.clear()
    if kin is not None:
        _PROVEN.add(kin)
    return Template(prefix, suffix)


def _text(event: Any, chat: bool) -> Any:
    choice = event["choices"][0]
    return choice["delta"]["content"] if chat else choice["text"]


def _put(event: Any, chat: bool, text: str) -> None:
    choice = event["choices"][0]
    (choice["delta"] if chat else choice)["content" if chat else "text"] = text


def _plain(event: Any) -> bool:
    """A token in the middle: nothing ends and nothing is counted."""
    choices = event["choices"]
    return len(choices) == 1 and choices[0].get("finish_reason") is None and event.get("usage") is None


def strings(texts: list[bytes]) -> list[str] | None:
    """Texts as they stand in JSON, decoded; None when one of them is no JSON string."""
    try:
        found = loads(b'["' + b'","'.join(texts) + b'"]')
    except ValueError:
        return None
    return found if len(found) == len(texts) else None
