"""The response to one request: tokens and their arrival times, usage, how it ended, and the class of what went wrong.

A request is *completed* only when its response is complete: status 200, a stream of events with tokens, ``[DONE]``,
the server's usage, and the end of the body. Every other response has an ``error_class`` that stays the same between
releases (``docs/client.md`` lists them). Status 429 and 503 mean *refused*.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

from rooftune.loadgen.wire.sse import BadFrame, Stream
from rooftune.loadgen.wire.template import Template, learn, loads, strings

REFUSED = (429, 503)
MAX_BODY = 64 * 2**20
"""The most bytes of a body that is not a stream."""
MAX_ERROR = 64 * 2**10
"""Bytes kept of the body of an error."""
MAX_MESSAGE = 300
MAX_TOKENS = 2**31 - 1
"""The largest count that fits into a record."""
REASONED = "reasoning before the answer"
"""Stands for the text of a chunk of reasoning."""
RUNAWAY = 4
"""A stream with more than this many times the requested tokens, plus 1,000, is abandoned."""


class Response:
    """One response as it arrives.

    Args:
        chat: whether events have the shape of ``/v1/chat/completions``.
        max_tokens: as in the request.
        streamed: whether the request asked for a stream.
        keep_text: whether the text of the answer is needed afterwards.
    """

    __slots__ = (
        *("_body", "_chat", "_counted", "_last", "_limit", "_pending_empty", "_size", "answer_chunk", "cached_tokens"),
        *("chunk_t", "chunk_tokens", "done", "error", "error_class", "finish_reason", "http_status", "output_tokens"),
        *("prompt_tokens", "reasoning_chunks", "reasoning_tokens", "retry_after", "stream", "text", "wanted_stream"),
    )

    def __init__(self, *, chat: bool, max_tokens: int, streamed: bool, keep_text: bool = False) -> None:
        self._chat, self._limit = chat, RUNAWAY * max_tokens + 1000
        self.wanted_stream = streamed
        self.text: list[str] | None = [] if keep_text else None
        """Pieces of the answer, without reasoning and tool calls; None where it is not kept."""
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
        self.reasoning_tokens: int | None = None
        """As counted in the server's usage."""
        self.reasoning_chunks = 0
        """Chunks with text that precedes the answer."""
        self.answer_chunk: int | None = None
        """Place of the first chunk of the answer; None until it has come."""
        self.finish_reason: str | None = None
        self.done = False
        self.error_class = ""
        self.error = ""

    def head(self, status: int, headers: dict[str, str], chunked: bool) -> None:
        """Take the status line and the headers, whose names are in lower case."""
        self.http_status = status
        kind = headers.get("content-type", "")
        self.retry_after = headers.get("retry-after", "")
        if 300 <= status < 400:
            self.fail("redirect", f"HTTP {status} to {headers.get('location', '?')[:200]}; use that address")
        if status == 200 and self.wanted_stream and "json" not in kind and "html" not in kind:
            self.stream = Stream(chunked)
        else:
            self._body = bytearray()
            if status == 200 and "html" in kind:
                self.fail("html", "the server sent an HTML page")

    def fail(self, error_class: str, message: str) -> None:
        """Record what went wrong. Only the first error is kept."""
        if not self.error_class:
            self.error_class, self.error = error_class, " ".join(_printable(message).split())[:MAX_MESSAGE]

    def take(self, pieces: list[bytes], times: Sequence[float]) -> bool:
        """Take pieces of a streamed body. False means that reading on is pointless."""
        assert self.stream is not None
        if self.error_class:
            return False
        try:
            self.stream.feed(pieces, times)
        except BadFrame as bad:
            self.digest()
            self.fail(bad.error_class, bad.message)
            return False
        self.digest()
        return not self.error_class

    def take_texts(self, texts: list[bytes], times: Sequence[float], template: Template) -> None:
        """Take the texts of events that fit a template."""
        if b"" not in texts and not self.done and (found := strings(texts)) is not None:
            if self.answer_chunk is None:
                if template.reasoning:
                    self.reasoning_chunks += len(times)
                else:
                    self.answer_chunk = len(self.chunk_t)
            self.chunk_t.extend(times)
            if self.text is not None and not template.reasoning:
                self.text += found
            return self._bounded()
        return self._one_by_one([template.payload(text) for text in texts], times, {})

    def _bounded(self) -> None:
        if len(self.chunk_t) > self._limit:
            self.fail("endless", f"the stream did not end after {len(self.chunk_t)} chunks")

    def template(self) -> Template | None:
        """The template of the last event."""
        return learn(self._last, chat=self._chat) if self._last and not self.done else None

    def take_body(self, data: bytes) -> bool:
        """Take decoded bytes of a body that is not a stream. False means that reading on is pointless."""
        assert self._body is not None
        self._size += len(data)
        room = (MAX_BODY if self.http_status == 200 else MAX_ERROR) - len(self._body)
        self._body += data[: max(0, room)]
        if self._size > MAX_BODY:
            self.fail("too_large", f"the body exceeds {MAX_BODY // 2**20} MiB")
            return False
        return True

    def digest(self) -> None:
        """Read the events that have arrived and drop their bytes."""
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
        """Read events singly, to find the broken one and to count the tokens before it."""
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
                    return self.fail("bad_utf8", f"an event is not UTF-8: {payload[:80]!r}")
                return self.fail("bad_json", f"an event is not JSON: {payload[:80]!r}")
            if names.get(i) == b"error":
                return self.fail("error_event", _message(event))
            self._events((event,), (time,))
        return None

    def _events(self, events: Any, times: Any) -> None:
        """Count the tokens of events that have the API's shape."""
        at, key = self.chunk_t.append, "delta" if self._chat else "text"
        try:
            for event, time in zip(events, times, strict=False):
                choices, usage = event.get("choices"), event.get("usage")
                if choices:
                    choice = choices[0]
                    reason = choice.get("finish_reason")
                    if not reason and not usage and key not in choice:
                        raise KeyError(key)
                    text = choice.get(key)
                    if self.text is not None:
                        self.text.append(_said(text))
                    if self._chat and text is not None:
                        text = text.get("content") or self._other(text)
                    if text:
                        if self.answer_chunk is None and text is not REASONED:
                            self.answer_chunk = len(self.chunk_t)
                        at(time)
                    else:
                        self._empty(text, bool(reason), time)
                    if reason:
                        self.finish_reason = _name(reason)
                elif choices is None and not usage:
                    said = "error" in event or event.get("object") == "error"
                    return self.fail("error_event" if said else "bad_event", _message(event))
                if usage:
                    self._usage(usage, bool(choices))
        except (KeyError, TypeError, AttributeError, IndexError):
            self.fail("bad_event", f"an event has an unknown shape: {str(event)[:120]}")
        return None

    def _other(self, delta: dict[str, Any]) -> str | None:
        """What stands for the text of a chat chunk that has reasoning or a tool call; None when it only carries the
        role. Reasoning after the beginning of the answer belongs to the answer."""
        if delta.get("reasoning") or delta.get("reasoning_content"):
            if self.answer_chunk is not None:
                return "reasoning"
            self.reasoning_chunks += 1
            return REASONED
        if delta.get("tool_calls"):
            return "tool"
        return None if "role" in delta else ""

    def _empty(self, text: str | None, last: bool, time: float) -> None:
        """Count a chunk without text as a token that prints nothing, unless it only carries the role, the end, or what
        follows the end. The chunk with the end may have a token: the server's count decides."""
        if last:
            self._pending_empty = time
        elif text is not None and self.finish_reason is None:
            self.chunk_t.append(time)

    def _usage(self, usage: dict[str, Any], continuous: bool) -> None:
        """Take the server's token counts, which come at the end or, if requested, with every chunk. Some servers count
        only the response."""
        if (prompt := usage.get("prompt_tokens")) is not None:
            self.prompt_tokens = _count(prompt)
        if (completion := usage.get("completion_tokens")) is None:
            return
        total = self.output_tokens = _count(completion)
        if continuous and len(self.chunk_t) == len(self.chunk_tokens) + 1:
            self.chunk_tokens.append(max(0, min(32767, total - self._counted)))
            self._counted = total
        details = usage.get("prompt_tokens_details")
        if details and (cached := details.get("cached_tokens")) is not None:
            self.cached_tokens = _count(cached)
        details = usage.get("completion_tokens_details")
        if details and (reasoning := details.get("reasoning_tokens")) is not None:
            self.reasoning_tokens = _count(reasoning)

    def close(self, cut_short: str = "") -> None:
        """Classify the response, which is over. ``cut_short`` says why it ended early."""
        if self.stream is not None:
            self.digest()
            self._count_the_last()
        if self.http_status is None:
            return self.fail("closed", cut_short or "the connection ended without a response")
        if self.http_status != 200:
            words = _error_message(bytes(self._body or b""))
            return self.fail(f"http_{self.http_status}", f"HTTP {self.http_status} {words}{self._retry_hint()}")
        if cut_short:
            return self.fail("broken", f"{cut_short} after {len(self.chunk_t)} chunks")
        if self.error_class:
            return None
        return self._close_stream() if self.stream is not None else self._close_body()

    def _retry_hint(self) -> str:
        return f" (Retry-After: {self.retry_after[:40]})" if self.retry_after else ""

    def _count_the_last(self) -> None:
        """Count a token in a last chunk without text if the server's count includes one."""
        counted_each = bool(self.chunk_tokens) and len(self.chunk_tokens) == len(self.chunk_t)
        left = (self.output_tokens or 0) - (self._counted if counted_each else len(self.chunk_t))
        if self._pending_empty is not None and (left == 1 or (counted_each and left > 0)):
            self.chunk_t.append(self._pending_empty)
            if counted_each:
                self.chunk_tokens.append(min(32767, left))
        self._pending_empty = None

    def _close_stream(self) -> None:
        assert self.stream is not None
        rest = self.stream.rest.strip()
        if rest in (b"data: [DONE]", b"data:[DONE]"):
            self.done = True
        if not self.done and rest:
            return self.fail("half_event", f"the stream ends within an event: {rest[:80]!r}")
        if not self.done and not self.chunk_t and self.output_tokens is None:
            return self.fail("no_stream", "the response contains no event of the API")
        if not self.done:
            return self.fail("no_done", f"the stream ends without [DONE] after {len(self.chunk_t)} chunks")
        if not self.chunk_t:
            return self.fail("empty", "the response has no tokens")
        if self.finish_reason in ("abort", "error"):
            return self.fail("aborted", f"the server aborted the response ({self.finish_reason})")
        if self.output_tokens is None:
            return self.fail("no_usage", "the server sent no usage, so the token count is unknown")
        return None

    def _close_body(self) -> None:
        """Classify a response in one JSON body."""
        try:
            value = loads(bytes(self._body or b""))
            choice = value["choices"][0]
            text = choice["message"]["content"] if self._chat else choice["text"]
            if self.text is not None:
                self.text.append(_said(text))
            reason = choice.get("finish_reason")
            self.finish_reason = None if reason is None else _name(reason)
            usage = value.get("usage")
            if usage:
                self._usage(usage, False)
        except UnicodeDecodeError:
            return self.fail("bad_utf8", "the response is not UTF-8")
        except ValueError:
            return self.fail("bad_json", f"the response is not JSON: {bytes(self._body or b'')[:80]!r}")
        except (KeyError, TypeError, AttributeError, IndexError):
            return self.fail(
                "bad_event", f"the response has an unknown shape: {_error_message(bytes(self._body or b''))}"
            )
        if self.wanted_stream:
            return self.fail("not_streamed", "the server sent one complete response although a stream was requested")
        if self.output_tokens is None:
            return self.fail("no_usage", "the server sent no usage, so the token count is unknown")
        return self.fail("empty", "the response has no tokens") if not text and not self.output_tokens else None

    @property
    def refused(self) -> bool:
        """Whether the server turned the request away for now."""
        return self.http_status in REFUSED


def _said(text: Any) -> str:
    """What a choice adds to the answer: its text, or the content of its delta."""
    return str((text.get("content") if isinstance(text, dict) else text) or "")


def _message(event: Any) -> str:
    """The message of an error as the server wrote it."""
    if isinstance(event, dict):
        error = event.get("error", event)
        event = error.get("message", error) if isinstance(error, dict) else error
    return str(event)[:MAX_MESSAGE]


def _error_message(body: bytes) -> str:
    """The message in the body of an error."""
    try:
        return _message(loads(body))
    except ValueError:
        return body[:200].decode(errors="replace")


def _count(value: object) -> int:
    """A token count that a record can hold. Raises TypeError for anything else."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_TOKENS:
        raise TypeError("not a token count")
    return value


def _name(value: object) -> str:
    """A finish reason. Raises TypeError when it is not a string."""
    if not isinstance(value, str):
        raise TypeError("not a finish reason")
    return _printable(value)[:MAX_MESSAGE]


def _printable(text: str) -> str:
    """The text without lone surrogates, which Parquet cannot store."""
    return text if text.isascii() else text.encode(errors="replace").decode()
