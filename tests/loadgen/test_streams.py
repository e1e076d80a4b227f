"""A stream gives the same record however it is cut into reads."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rooftune.loadgen.wire import Exchange, Response
from rooftune.loadgen.wire.connection import Connection
from rooftune.loadgen.wire.sse import Events
from rooftune.loadgen.wire.template import learn, loads
from tests.faults.server import DONE, END, HEAD, chunk, event, usage, whole
from tests.loadgen.fed_connection import FakeLink, FakePool, cut, exchanged


def read(pieces: list[bytes], *, chat: bool = False, asked: int = 20) -> tuple[Any, ...]:
    """The record of an answer that comes in these reads and then ends."""
    exchange = exchanged(pieces, chat=chat, max_tokens=asked)
    a = exchange.response
    assert list(a.chunk_t) == sorted(a.chunk_t)
    return (
        a.error_class,
        len(a.chunk_t),
        a.output_tokens,
        a.prompt_tokens,
        a.finish_reason,
        a.http_status,
        exchange.bytes_received,
    )


TEXT = st.text(max_size=6) | st.sampled_from(
    [" the", '"', "\\", "\n", "\r\n\r\n", "data: ", "0\r\n\r\n", "é", "\U0001f600", '","', "\x00"]
)
BROKEN = [
    b'data: {"choices":[{"text":"\xff","finish_reason":null}]}\n\n',
    b"data: {broken\n\n",
    b'data: {"error":{"message":"x"}}\n\n',
    b"data: [1]\n\n",
]


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Answers whole and broken, with all kinds of texts, comments, line ends and coalesced events."""
    texts = draw(st.lists(TEXT, min_size=1, max_size=12))
    events = [event(t or " x") for t in texts[:-1]] + [event(texts[-1] or " x", "length"), usage(len(texts)), DONE]
    kind = draw(st.sampled_from(["good", "good", "good", "broken", "no_done", "comments", "crlf", "merged"]))
    if kind == "broken":
        events.insert(draw(st.integers(0, len(texts))), draw(st.sampled_from(BROKEN)))
    elif kind == "no_done":
        del events[-1]
    elif kind == "comments":
        events.insert(draw(st.integers(0, len(texts))), b": ping\n\n")
    elif kind == "crlf":
        events = [e.replace(b"\n\n", b"\r\n\r\n") for e in events]
    elif kind == "merged":
        events = [b"".join(events)]
    return HEAD + b"".join(chunk(e) for e in events) + END


@settings(max_examples=250, deadline=None)
@given(body=bodies(), places=st.lists(st.integers(0, 10**6), max_size=30))
def test_a_stream_cut_anywhere_gives_the_same_record(body: bytes, places: list[int]) -> None:
    everything = read([body])
    assert read(cut(body, places))[:-1] == everything[:-1]
    assert read([HEAD, *_as_sent(body)])[:-1] == everything[:-1]
    sent = _as_sent(body)
    assert read([HEAD, *[b"".join(sent[i : i + 2]) for i in range(0, len(sent), 2)]])[:-1] == everything[:-1]
    if not everything[0]:
        assert read(cut(body, places))[-1] == everything[-1] == len(body)


def _as_sent(body: bytes) -> list[bytes]:
    """One chunk per read, as a server sends tokens."""
    rest, found = body[len(HEAD) :], []
    while rest:
        size = int(rest[: rest.index(b"\r\n")], 16)
        stop = rest.index(b"\r\n") + 2 + size + 2
        found.append(rest[:stop])
        rest = rest[stop:]
    return found


def test_a_last_chunk_without_text_holds_the_tokens_that_usage_adds() -> None:
    """A busy vLLM merges tokens into one chunk, also into the last one, whose tokens may print nothing."""
    response = Response(chat=False, max_tokens=9, streamed=True)
    response.head(200, {"content-type": "text/event-stream"}, True)

    def counted(text: str, total: int, finish: str | None = None) -> bytes:
        part = b'"usage":{"prompt_tokens":5,"completion_tokens":%d},"choices"' % total
        return chunk(event(text, finish).replace(b'"choices"', part))

    response.take([counted(" a", 1), counted(" b c", 3), counted("", 9, "length"), chunk(DONE)], [1.0, 2.0, 3.0, 3.0])
    response.close()
    assert (response.error_class, response.output_tokens) == ("", 9)
    assert list(response.chunk_tokens) == [1, 2, 6]


def test_every_byte_alone() -> None:
    body = HEAD + b"".join(chunk(e) for e in whole(6)) + END
    assert read([body[i : i + 1] for i in range(len(body))]) == read([body]) == ("", 6, 6, 5, "length", 200, len(body))


def test_the_hot_path_counts_every_byte_and_token() -> None:
    pieces = [HEAD, *[chunk(event(f" word{i}" * (i % 9 + 1))) for i in range(200)], chunk(event(" end", "length"))]
    pieces += [chunk(usage(201)), chunk(DONE) + END]
    assert read(pieces, asked=201) == ("", 201, 201, 5, "length", 200, sum(map(len, pieces)))


@pytest.mark.parametrize("together", [2, 3, 10])
def test_reads_of_several_events_stay_on_the_hot_path(together: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A late client reads several events at once. If it parsed them in full, it would never catch up."""
    events = [chunk(event(f" word{i}" * (i % 9 + 1))) for i in range(120)]
    pieces = [HEAD, events[0], *[b"".join(events[i : i + together]) for i in range(1, 120, together)]]
    pieces += [chunk(event(" end", "length")), chunk(usage(121)), chunk(DONE) + END]
    parses = []
    monkeypatch.setattr(
        Connection, "_parse_pieces", lambda self, parse=Connection._parse_pieces: (parses.append(1), parse(self))[1]
    )
    assert read(pieces, asked=121) == ("", 121, 121, 5, "length", 200, sum(map(len, pieces)))
    assert len(parses) == 4  # the first event, and what follows the last of its kind


@given(events=st.lists(TEXT.filter(bool), min_size=2, max_size=9), cut_off=st.integers(1, 30), foreign=st.booleans())
def test_several_events_are_those_of_the_template_or_none(events: list[str], cut_off: int, foreign: bool) -> None:
    template = learn(event(" x")[6:-2], chat=False)
    assert template is not None
    row = [chunk(event(text)) for text in events]
    texts = template.several(b"".join(row))
    assert texts is not None
    assert [loads(b'"' + t + b'"') for t in texts] == events
    assert template.several(b"".join(row)[:-cut_off]) is None
    assert template.several(b"".join(row)[1:]) is None
    assert template.several(b"".join([row[0], chunk(event(" x", "length") if foreign else usage(3)), *row[1:]])) is None


def test_what_only_parse_piecess_like_the_template_is_found() -> None:
    good = [HEAD, *[chunk(event(f" w{i}")) for i in range(5)]]
    evil = event(" w5").replace(b" w5", b'","x":"')
    assert read([*good, chunk(evil), chunk(event(" end", "length")), chunk(usage(7)), chunk(DONE) + END])[:2] == ("", 7)
    broken = event(" w5").replace(b" w5", b'a"b')
    assert read([*good, chunk(broken), chunk(event(" end", "length")), chunk(usage(7)), chunk(DONE) + END])[:2] == (
        "bad_json",
        5,
    )


@given(text=st.text(min_size=1, max_size=8), other=st.text(min_size=1, max_size=8), chat=st.booleans())
def test_a_template_differs_in_the_text_alone(text: str, other: str, chat: bool) -> None:
    payload, second = (event(t, chat=chat)[6:-2] for t in (text, other))
    template = learn(payload, chat=chat)
    assert template is not None
    inner = second[len(template._prefix) : len(second) - len(template._suffix)]
    assert template.payload(inner) == second
    assert loads(template.payload(inner)) == loads(second)


@pytest.mark.parametrize(
    "payload", [usage(3)[6:-2], event(" x", "length")[6:-2], event("")[6:-2], b"[DONE]", b"{}", b'{"text":"x"}']
)
def test_only_a_plain_token_gives_a_template(payload: bytes) -> None:
    assert learn(payload, chat=False) is None


@given(
    events=st.lists(st.tuples(st.sampled_from([b"", b"error"]), st.binary(max_size=8).map(lambda b: b.hex().encode()))),
    end=st.sampled_from([b"\n", b"\r\n", b"\r"]),
    size=st.integers(1, 40),
)
def test_events_with_every_line_end_and_cut(events: list[tuple[bytes, bytes]], end: bytes, size: int) -> None:
    text = b"".join((b"event: " + n + end if n else b"") + b"data: " + d + end + end for n, d in events)
    reader, found = Events(), []
    for i in range(0, len(text), size):
        found += reader.feed(text[i : i + size])
    assert found == events
    assert reader.rest.strip() == b""


def test_a_send_that_is_due_waits_for_one_read_at_most() -> None:
    """Every kind of read looks at the clock: head, events with and without a template, the end."""
    pool = FakePool()
    connection = Connection(pool)
    connection.connection_made(FakeLink())  # type: ignore[arg-type]
    connection.begin(Exchange(0, 0.0, 0.0, b"", Response(chat=False, max_tokens=20, streamed=True)))
    pieces = [HEAD, *[chunk(e) for e in whole(20)], END]
    for k, piece in enumerate(pieces):
        pool.next_due = -1.0 if k % 2 else math.inf
        connection.data_received(piece)
    assert pool.rung == len(pieces) // 2


@pytest.mark.parametrize("head", [b"\r\n\r\n", b"HTTP/1.1\r\n\r\n", b"HTTP/1.1 two\r\n\r\n", b"SSH-2.0 200 x\r\n\r\n"])
def test_bytes_that_are_not_a_head_become_a_record(head: bytes) -> None:
    assert read([head])[0] == "protocol"


@given(
    st.text(alphabet="abc-_0", max_size=12), st.text(alphabet="abc-_0", max_size=12), st.text(min_size=1, max_size=5)
)
def test_a_template_of_the_same_server_is_what_the_proof_would_give(one: str, other: str, text: str) -> None:
    """Another answer of the same server differs in its id; an event in which anything else differs is checked again."""
    for ident in (one, other):
        payload = event(text)[6:-2].replace(b"cmpl-1", b"cmpl-" + ident.encode())
        found = learn(payload, chat=False)
        assert found is not None
        wanted = loads(payload)
        wanted["choices"][0]["text"] = "sibling"
        assert loads(found.payload(b"sibling")) == wanted
