"""What came of one request: tokens and their times, usage, end, and the class of what went wrong.

A request is *completed* only when everything that belongs to a whole answer came: status 200, a stream of events with tokens,
``[DONE]``, the server's usage, and the end of the body. Everything else has an ``error_class`` that stays the same between
releases (``docs/client.md`` lists them); 429 and 503 are *refused*.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Sequence
from typing import Any

from rooftune.loadgen.wire.sse import BadFrame, Stream
from rooftune.loadgen.wire.template import Template, learn, loads, strings

REFUSED = (429, 503)
MAX_BODY = 64 * 2**20
"""Bytes of an answer that is no stream."""
MAX_ERROR = 64 * 2**10
"""Bytes kept of the body of an error."""
MAX_WORDS = 300
RUNAWAY = 4
"""A stream of more than so many times the asked tokens (and 1,000 more) is given up."""


class Answer:
    """One answer as it arrives. ``chat``: the shape of ``/v1/chat/completions``. ``asked``: max_tokens."""

    __slots__ = ("_body", "_chat", "_counted", "_last", "_limit", "_pending_empty", "_size", "cached_tokens", "chunk_t", "chunk_tokens",
                 "done", "error", "error_class", "finish_reason", "http_status", "output_tokens", "prompt_tokens", "retry_after", "stream",
                 "wanted_stream")  # fmt: skip

    def __init__(self, *, chat: bool, asked: int, streamed: bool) -> None:
        self._chat, self._limit = chat, RUNAWAY * asked + 1000
        self.wanted_stream = streamed
        self.http_status: int | None = None
        self.retry_after = ""
        self.stream: Stream | None = None
        self._body: bytearray | None = None
        self._size = 0
        self.chunk_t = array("d")
        self.chunk_tokens = array("h")
        self._counted = 0
        self._pending_empty: float | None = None
        self._last = b""
        self.prompt_tokens: int | None = None
        self.output_tokens: int | None = None
        self.cached_tokens: int | None = None
        self.finish_reason: str | None = None
        self.done = False
        self.error_class = ""
        self.error = ""

    def head(self, status: int, headers: dict[str, str], chunked: bool) -> None:
        """The status line and the headers (names in lower case) have come."""
        self.http_status = status
        kind = headers.get("content-type", "")
        self.retry_after = headers.get("retry-after", "")
        if 300 <= status < 400:
            self.wrong("redirect", f"HTTP {status} to {headers.get('location', '?')[:200]}; give that address")
        if status == 200 and self.wanted_stream and "json" not in kind and "html" not in kind:
            self.stream = Stream(chunked)
        else:
            self._body = bytearray()
            if status == 200 and "html" in kind:
                self.wrong("html", "an HTML page instead of an answer")

    def wrong(self, error_class: str, error: str) -> None:
        """Something is wrong; the first finding stays."""
        if not self.error_class:
            self.error_class, self.error = error_class, " ".join(error.split())[:MAX_WORDS]

    def take(self, pieces: list[bytes], times: Sequence[float]) -> bool:
        """Take pieces of a streamed body. False = it makes no sense to read on."""
        assert self.stream is not None
        if self.error_class:
            return False
        try:
            self.stream.feed(pieces, times)
        except BadFrame as bad:
            self.digest()
            self.wrong(*bad.args)
            return False
        self.digest()
        return not self.error_class

    def take_texts(self, texts: list[bytes], times: Sequence[float], template: Template) -> None:
        """Take events that fit a template, as their texts."""
        if b"" not in texts and not self.done and strings(texts) is not None:
            self.chunk_t.extend(times)
            return self._bounded()
        return self._one_by_one([template.payload(text) for text in texts], times, {})

    def _bounded(self) -> None:
        if len(self.chunk_t) > self._limit:
            self.wrong("endless", f"{len(self.chunk_t)} chunks have come and no end of them")

    def template(self) -> Template | None:
        """The template of the last event that was read."""
        return learn(self._last, chat=self._chat) if self._last and not self.done else None

    def take_body(self, data: bytes) -> bool:
        """Take bytes (without transfer coding) of a body that is no stream. False = it makes no sense to read on."""
        assert self._body is not None
        self._size += len(data)
        room = (MAX_BODY if self.http_status == 200 else MAX_ERROR) - len(self._body)
        self._body += data[: max(0, room)]
        if self._size > MAX_BODY:
            self.wrong("too_large", f"an answer of more than {MAX_BODY // 2**20} MiB")
            return False
        return True

    def digest(self) -> None:
        """Read the events that have come, and forget their bytes."""
        stream = self.stream
        if stream is None or not stream.payloads:
            return
        payloads, times = stream.payloads, stream.times
        last = payloads[-1] == b"[DONE]"
        plain = payloads[:-1] if last else payloads
        try:
            events = loads(b"[" + b",".join(plain) + b"]")
        except ValueError:
            events = ()
        if not stream.names and len(events) == len(plain) and not self.done:
            self._events(events, times)
            self.done, self._last = last, payloads[-1]
        else:
            self._one_by_one(payloads, times, stream.names)
        stream.clear()
        self._bounded()

    def _one_by_one(self, payloads: list[bytes], times: Sequence[float], names: dict[int, bytes]) -> None:
        """The careful way: finds the event that is wrong, and counts the tokens before it."""
        for i, (payload, time) in enumerate(zip(payloads, times, strict=True)):
            if payload == b"[DONE]":
                self.done = True
                continue
            try:
                event = loads(payload)
            except ValueError:
                try:
                    payload.decode()
                except UnicodeDecodeError:
                    return self.wrong("bad_utf8", f"an event that is no UTF-8: {payload[:80]!r}")
                return self.wrong("bad_json", f"an event that is no JSON: {payload[:80]!r}")
            if names.get(i) == b"error":
                return self.wrong("error_event", _said(event))
            self._events((event,), (time,))
        return None

    def _events(self, events: Any, times: Any) -> None:
        """Count the tokens of events in the API's shape."""
        chat, at = self._chat, self.chunk_t.append
        try:
            for event, time in zip(events, times, strict=False):
                choices = event.get("choices")
                if choices:
                    choice = choices[0]
                    text = _delta(choice["delta"]) if chat else choice["text"]
                    reason = choice.get("finish_reason")
                    if reason is not None:
                        self.finish_reason = reason
                    if text:
                        at(time)
                    elif not self._empty(text, reason, time):
                        continue
                elif choices is None:
                    return self.wrong("error_event" if "error" in event else "bad_event", _said(event))
                usage = event.get("usage")
                if usage is not None:
                    self._usage(usage, bool(choices))
        except (KeyError, TypeError, AttributeError, IndexError):
            self.wrong("bad_event", f"an event of another shape: {str(event)[:120]}")
        return None

    def _empty(self, text: str | None, reason: str | None, time: float) -> bool:
        """A chunk without text: a token that prints nothing, unless it only tells the role or the end."""
        if text is None:
            return False
        if reason is not None:
            self._pending_empty = time
            return True
        self.chunk_t.append(time)
        return True

    def _usage(self, usage: dict[str, Any], continuous: bool) -> None:
        """The server's own count: at the end, or with every chunk where the server does so."""
        total = usage["completion_tokens"]
        if continuous and len(self.chunk_t) == len(self.chunk_tokens) + 1:
            self.chunk_tokens.append(max(0, min(32767, total - self._counted)))
            self._counted = total
        self.prompt_tokens, self.output_tokens = usage["prompt_tokens"], total
        details = usage.get("prompt_tokens_details")
        if details:
            self.cached_tokens = details.get("cached_tokens")

    def close(self, cut_short: str = "") -> None:
        """The answer is over; ``cut_short`` says why before its end. Decides what it is."""
        if self.stream is not None:
            self.digest()
            self._count_the_last()
        if self.http_status is None:
            return self.wrong("closed", cut_short or "the connection ended without an answer")
        if self.http_status != 200:
            words = _words(bytes(self._body or b""))
            return self.wrong(f"http_{self.http_status}", f"HTTP {self.http_status} {words}{self._told_wait()}")
        if cut_short:
            return self.wrong("broken", f"{cut_short} after {len(self.chunk_t)} chunks")
        if self.error_class:
            return None
        return self._close_stream() if self.stream is not None else self._close_body()

    def _told_wait(self) -> str:
        return f" (Retry-After: {self.retry_after[:40]})" if self.retry_after else ""

    def _count_the_last(self) -> None:
        """A last chunk without text holds a token where the server's count says so."""
        if self._pending_empty is not None and self.output_tokens == len(self.chunk_t) + 1:
            self.chunk_t.append(self._pending_empty)
            if self.chunk_tokens:
                self.chunk_tokens.append(1)
        self._pending_empty = None

    def _close_stream(self) -> None:
        assert self.stream is not None
        rest = self.stream.rest.strip()
        if not self.done and rest:
            return self.wrong("half_event", f"the stream ends within an event: {rest[:80]!r}")
        if not self.done and not self.chunk_t and self.output_tokens is None:
            return self.wrong("no_stream", "the answer holds no event of the API")
        if not self.done:
            return self.wrong("no_done", f"the stream ends without [DONE] after {len(self.chunk_t)} chunks")
        if not self.chunk_t:
            return self.wrong("empty", "the answer has no token")
        if self.finish_reason in ("abort", "error"):
            return self.wrong("aborted", f"the server ended the answer itself ({self.finish_reason})")
        if self.output_tokens is None:
            return self.wrong("no_usage", "the server sent no usage, so nobody counted the tokens")
        return None

    def _close_body(self) -> None:
        """A whole answer in one JSON body."""
        try:
            value = loads(bytes(self._body or b""))
            choice = value["choices"][0]
            text = choice["message"]["content"] if self._chat else choice["text"]
            self.finish_reason = choice.get("finish_reason")
            usage = value.get("usage")
            if usage is not None:
                self._usage(usage, False)
        except UnicodeDecodeError:
            return self.wrong("bad_utf8", "the answer is no UTF-8")
        except ValueError:
            return self.wrong("bad_json", f"the answer is no JSON: {bytes(self._body or b'')[:80]!r}")
        except (KeyError, TypeError, AttributeError, IndexError):
            return self.wrong("bad_event", f"an answer of another shape: {_words(bytes(self._body or b''))}")
        if self.wanted_stream:
            return self.wrong("not_streamed", "the server sent a whole answer where a stream was asked")
        if self.output_tokens is None:
            return self.wrong("no_usage", "the server sent no usage, so nobody counted the tokens")
        return self.wrong("empty", "the answer has no token") if not text and not self.output_tokens else None

    @property
    def refused(self) -> bool:
        """Whether the server turned the request away for now."""
        return self.http_status in REFUSED


def _delta(delta: dict[str, Any]) -> str | None:
    """Text of a chat chunk, thoughts and tool calls included; None when it only tells the role."""
    text = delta.get("content") or delta.get("reasoning_content") or delta.get("reasoning")
    if text:
        return str(text)
    if delta.get("tool_calls"):
        return "tool"
    return None if "role" in delta else ""


def _said(event: Any) -> str:
    """An error in the server's words."""
    if isinstance(event, dict):
        error = event.get("error", event)
        event = error.get("message", error) if isinstance(error, dict) else error
    return str(event)[:MAX_WORDS]


def _words(body: bytes) -> str:
    """The server's words in the body of an error."""
    try:
        return _said(json.loads(body))
    except ValueError:
        return body[:200].decode(errors="replace")
