"""Whatever a server sends, the response becomes a record: no unforeseen exception, and a row that Parquet can hold."""

from __future__ import annotations

import json
import math
import random

import pytest

from rooftune.loadgen.job import split
from rooftune.loadgen.records import RequestRows
from rooftune.loadgen.wire import Exchange
from rooftune.loadgen.wire.sse import Events
from rooftune.workloads.draw import draw
from tests.faults.server import DONE, END, HEAD, chunk, event, usage, whole
from tests.loadgen.fed_connection import cut, exchanged
from tests.loadgen.harness import workload
from tests.mutations import mutations

VARIANTS = 400
"""Mutations of each response; the campaign takes a few seconds."""
ROLE = b'data: {"id":"c","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'
PLAIN_JSON = b'{"choices":[{"text":" hi","finish_reason":"length"}],"usage":{"prompt_tokens":5,"completion_tokens":1}}'
CACHED = usage(6).replace(b'"usage":{', b'"usage":{"prompt_tokens_details":{"cached_tokens":4},')
RESPONSES = {
    "stream": HEAD + b"".join(chunk(e) for e in whole(6)) + END,
    "chat": HEAD + b"".join(chunk(e) for e in [ROLE, *[event(" w", chat=True)] * 5, CACHED, DONE]) + END,
    "merged": HEAD + chunk(b"".join(whole(6))) + END,
    "crlf": HEAD + b"".join(chunk(e.replace(b"\n", b"\r\n")) for e in whole(4)) + END,
    "plain": b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n"
    % len(b"".join(whole(3)))
    + b"".join(whole(3)),
    "json": b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
    % (len(PLAIN_JSON), PLAIN_JSON),
    "error": b"HTTP/1.1 429 Too Many\r\nretry-after: 7\r\ncontent-length: 30\r\n\r\n"
    + b'{"error":{"message":"slow it"}}',
}


def read(pieces: list[bytes], *, chat: bool, streamed: bool) -> Exchange:
    """The exchange whose response arrives in these reads."""
    return exchanged(pieces, chat=chat, max_tokens=8, streamed=streamed)


@pytest.mark.parametrize("name", RESPONSES)
@pytest.mark.parametrize("streamed", [True, False])
def test_a_mutated_response_becomes_a_record(name: str, streamed: bool) -> None:
    chance = random.Random(name)
    (share,) = split(draw(workload(duration_s=0.01)), 1)
    rows = RequestRows(share, 0, began=0.0, scale=1.0)
    for variant in mutations(RESPONSES[name], VARIANTS, seed=len(name)):
        pieces = cut(variant, [chance.randrange(10**6) for _ in range(chance.randrange(12))])
        exchange = read(pieces, chat=name == "chat", streamed=streamed)
        rows.add(exchange, "failed" if exchange.response.error_class else "completed")
    table = rows.table().to_pydict()
    assert len(table["status"]) == VARIANTS
    assert len(set(table["error_class"])) > 2, "the mutations reach several classes"
    for status, tokens, chunks, reason in zip(
        table["status"], table["output_tokens"], table["chunks"], table["error"], strict=True
    ):
        assert (status == "completed") is (reason is None)
        if status == "completed":
            assert tokens is not None
            assert chunks or not streamed or tokens == 0
    assert all(math.isfinite(t) for times in table["chunk_s"] for t in times)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("completion_tokens", v) for v in ("6", 6.5, -1, 2**40, [], True, "\ud800")],
        *[("prompt_tokens", v) for v in ("5", 2**31, {}, 1e400)],
        *[("prompt_tokens_details", v) for v in ({"cached_tokens": "x"}, {"cached_tokens": 2**33}, [1], "x")],
    ],
)
def test_a_usage_that_is_not_a_count_is_an_error(field: str, value: object) -> None:
    counts = {"prompt_tokens": 5, "completion_tokens": 6, field: value}
    last = b"data: " + json.dumps({"choices": [], "usage": counts}).encode() + b"\n\n"
    events = [*whole(6)[:-2], last, DONE]
    exchange = read([HEAD, *[chunk(e) for e in events], END], chat=False, streamed=True)
    assert exchange.response.error_class in ("bad_event", "bad_json")
    (share,) = split(draw(workload(duration_s=0.01)), 1)
    rows = RequestRows(share, 0, began=0.0, scale=1.0)
    rows.add(exchange, "failed")
    assert rows.table().num_rows == 1


def test_mutated_events_are_read_in_any_cut() -> None:
    text = b"".join([b"event: ping\ndata: 1\n\n", b": comment\n\n", *whole(5)])
    found = 0
    for seed, variant in enumerate(mutations(text, 500, seed=1)):
        reader, size = Events(), 1 + seed % 50
        for i in range(0, len(variant), size):
            found += len(reader.feed(variant[i : i + size]))
    assert found > 500
