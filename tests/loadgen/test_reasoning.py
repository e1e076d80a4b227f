"""Reasoning before an answer: the first token and the first token of the answer are two moments."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_front import core_of, serving

from rooftune.capacity.measured_step import slo_ratios_of
from rooftune.errors import InputError
from rooftune.evidence.metrics.request_metrics import request_metrics, require_reasoning
from rooftune.evidence.records.columns import requests_of
from rooftune.loadgen.schema import REQUESTS
from rooftune.loadgen.wire import Response
from rooftune.loadgen.wire.connection import Connection
from rooftune.loadgen.wire.template import learn
from rooftune.metrics.window import Window
from rooftune.workloads.slo import Slo
from tests.faults.server import DONE, END, HEAD, chunk, misbehaving
from tests.loadgen.fed_connection import cut, exchanged
from tests.loadgen.harness import load_server, workload
from tests.loadgen.server_dialects import DIALECTS


def delta(fields: dict[str, Any], finish: str | None = None) -> bytes:
    """One event of a chat, as vLLM writes it."""
    choice = {"index": 0, "delta": fields, "logprobs": None, "finish_reason": finish}
    value = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n"


def counts(tokens: int, reasoning: int | None) -> bytes:
    details = {} if reasoning is None else {"completion_tokens_details": {"reasoning_tokens": reasoning}}
    usage = {"prompt_tokens": 5, "completion_tokens": tokens, "total_tokens": 5 + tokens, **details}
    return b"data: " + json.dumps({"id": "chatcmpl-1", "choices": [], "usage": usage}).encode() + b"\n\n"


def pieces_of(thoughts: int, words: int, *, field: str = "reasoning", counted: int | None = None) -> list[bytes]:
    """The reads of a stream with one token in each event."""
    events = [delta({"role": "assistant", "content": ""})]
    events += [delta({field: f" thought{i}"}) for i in range(thoughts)]
    events += [delta({"content": f" word{i}"}) for i in range(words)]
    events += [delta({}, "stop"), counts(thoughts + words, counted), DONE]
    return [HEAD, *map(chunk, events), END]


def read(pieces: list[bytes]) -> Response:
    response = exchanged(pieces, chat=True, max_tokens=500).response
    assert response.error_class == ""
    return response


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
@pytest.mark.parametrize(("thoughts", "words"), [(1, 1), (3, 40), (40, 3), (200, 200)])
def test_reasoning_and_answer_are_kept_apart(field: str, thoughts: int, words: int) -> None:
    response = read(pieces_of(thoughts, words, field=field))
    assert len(response.chunk_t) == thoughts + words
    assert (response.reasoning_chunks, response.answer_chunk) == (thoughts, thoughts)


@settings(max_examples=60, deadline=None)
@given(places=st.lists(st.integers(0, 10**6), max_size=20), thoughts=st.integers(0, 12), words=st.integers(1, 12))
def test_it_does_not_depend_on_how_the_stream_is_cut(places: list[int], thoughts: int, words: int) -> None:
    body = b"".join(pieces_of(thoughts, words))
    response = read(cut(body, places))
    assert (response.reasoning_chunks, response.answer_chunk) == (thoughts, thoughts)


def test_reasoning_stays_on_the_hot_path(monkeypatch: pytest.MonkeyPatch) -> None:
    parses = []
    monkeypatch.setattr(
        Connection, "_parse_pieces", lambda self, parse=Connection._parse_pieces: (parses.append(1), parse(self))[1]
    )
    read(pieces_of(200, 200))
    assert len(parses) <= 8, "the role, the first thought, the first word and what ends the stream"


def test_empty_events_before_the_reasoning_do_not_begin_the_answer() -> None:
    events = [delta({"content": ""}), delta({"reasoning": "so"}), delta({"content": ""}), delta({"content": "yes"})]
    response = read([HEAD, *map(chunk, [*events, delta({}, "stop"), counts(4, 2), DONE]), END])
    assert (response.reasoning_chunks, response.answer_chunk, len(response.chunk_t)) == (1, 3, 4)
    assert response.reasoning_tokens == 2


def test_reasoning_after_the_beginning_of_the_answer_belongs_to_it() -> None:
    events = [delta({"reasoning": "a"}), delta({"content": "b"}), *[delta({"reasoning": f"c{i}"}) for i in range(20)]]
    response = read([HEAD, *map(chunk, [*events, delta({}, "stop"), counts(22, None), DONE]), END])
    assert (response.reasoning_chunks, response.answer_chunk) == (1, 1)


def test_a_tool_call_is_an_answer() -> None:
    call = {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}
    events = [delta({"reasoning": "a"}), delta({"reasoning": "b"}), delta(call), delta({}, "tool_calls")]
    assert read([HEAD, *map(chunk, [*events, counts(3, None), DONE]), END]).answer_chunk == 2


def test_a_text_that_quotes_the_field_is_an_answer() -> None:
    payload = delta({"content": 'say "reasoning":"x"'})[6:-2]
    found = learn(payload, chat=True)
    assert found is not None
    assert not found.reasoning


async def test_records_have_the_first_token_of_the_answer(tmp_path: Path) -> None:
    dialects = {name: DIALECTS[name] for name in ("vllm", "vllm-reasoning", "ollama-reasoning")}
    with misbehaving({name: d.fault() for name, d in dialects.items()}) as server:
        load = workload(duration_s=0.03, endpoint="chat")
        found = {n: (await load_server(load, f"{server.url}/{n}", tmp_path / n)).records for n in dialects}
    for record in found["vllm"]:
        assert record["answer_s"] is None
        assert record["reasoning_tokens"] is None
    for record in found["vllm-reasoning"]:
        assert record["answer_s"] is None, "only reasoning came"
        assert record["reasoning_tokens"] == 8
    for record in found["ollama-reasoning"]:
        assert record["answer_s"] == pytest.approx(record["scheduled_s"] + record["chunk_s"][6], abs=1e-5)
        assert record["reasoning_tokens"] == 6


async def test_the_simulated_engine_with_a_reasoning_parser(tmp_path: Path) -> None:
    """Over real HTTP: half of each answer is reasoning, and the answer begins with the token after it."""
    load = workload(endpoint="chat", output_tokens={"distribution": "fixed", "value": 40}, drain_s=600)
    async with serving(core_of(reasoning_parser="qwen3"), time_scale=20.0) as (_, port):
        records = (await load_server(load, f"http://127.0.0.1:{port}", tmp_path, time_scale=20.0)).records
    assert {r["status"] for r in records} == {"completed"}
    assert {r["reasoning_tokens"] for r in records} == {20}
    everything = Window(start_s=0.0, end_s=600.0)  # on a busy machine, the answers come late by this fast clock
    metrics = request_metrics(pa.Table.from_pylist(records, REQUESTS), everything).metrics
    assert metrics["total_reasoning_tokens"] == 20 * len(records)
    assert metrics["reasoning_share"] == pytest.approx(0.5)
    assert {len(r["chunk_s"]) for r in records} == {40}
    thinking_s = [r["chunk_s"][20] - r["chunk_s"][0] for r in records]
    found_ms = metrics["mean_answer_ttft_ms"] - metrics["mean_ttft_ms"]
    assert found_ms == pytest.approx(1000 * np.mean(thinking_s), rel=1e-4)


async def test_an_slo_on_the_answer_judges_its_first_token(tmp_path: Path) -> None:
    """A limit between the two times of a request: the first token of all keeps it, and that of the answer does not."""
    load = workload(endpoint="chat", output_tokens={"distribution": "fixed", "value": 40}, drain_s=600)
    async with serving(core_of(reasoning_parser="qwen3"), time_scale=20.0) as (_, port):
        records = (await load_server(load, f"http://127.0.0.1:{port}", tmp_path, time_scale=20.0)).records
    r, window = requests_of(pa.Table.from_pylist(records, REQUESTS)), Window(start_s=0.0, end_s=600.0)
    first_ms, answer_ms = 1000 * (r.first_token_s - r.scheduled_s), 1000 * (r.answer_s - r.scheduled_s)
    assert (first_ms < answer_ms).all()
    between, whole = float(first_ms[0] + answer_ms[0]) / 2, float(answer_ms.max())

    def attainment(slo: Slo) -> float:
        return request_metrics(r, window, slo).metrics["slo_attainment"]

    assert attainment(Slo(ttft_ms=between)) == pytest.approx((first_ms <= between).mean())
    assert attainment(Slo(answer_ttft_ms=between)) == pytest.approx((answer_ms <= between).mean())
    assert attainment(Slo(answer_ttft_ms=between)) < attainment(Slo(ttft_ms=between))
    assert attainment(Slo(answer_ttft_ms=1.001 * whole)) == 1
    ratios = slo_ratios_of(r, Slo(answer_ttft_ms=whole))
    assert np.max(ratios["answer_ttft_ms"]) == pytest.approx(1)


def row(**values: Any) -> dict[str, Any]:
    return {
        **dict.fromkeys(REQUESTS.names), "index": 0, "status": "completed", "scheduled_s": 1.0, "sent_s": 1.0,
        "first_token_s": 1.2, "last_token_s": 4.0, "end_s": 4.0, "planned_prompt_tokens": 9, "planned_output_tokens": 9,
        "output_tokens": 9, "streamed_tokens": 9, "chunks": 1, "prefix_id": -1, "conversation": -1, "turn": 0,
        "part": 0, "process": 0, "bytes_received": 1, "chunk_s": [0.2], **values,
    }  # fmt: skip


def metrics_of(*rows: dict[str, Any]) -> dict[str, float]:
    return request_metrics(pa.Table.from_pylist(list(rows), REQUESTS), Window(start_s=0.0, end_s=10.0)).metrics


def test_without_reasoning_there_is_no_such_metric() -> None:
    assert not [name for name in metrics_of(row()) if "answer" in name or "reasoning" in name]


def test_a_request_that_only_reasoned_is_a_lower_bound() -> None:
    """Left out, it would make the answers look faster than they are."""
    answered = [row(answer_s=2.0, reasoning_tokens=4) for _ in range(9)]
    found = metrics_of(*answered, row(reasoning_tokens=9))
    assert found["median_answer_ttft_ms"] == pytest.approx(1000)
    assert "p99_answer_ttft_ms" not in found
    assert "mean_answer_ttft_ms" not in found


def judged(*rows: dict[str, Any], **limits: float) -> float:
    table, window = pa.Table.from_pylist(list(rows), REQUESTS), Window(start_s=0.0, end_s=10.0)
    return request_metrics(table, window, Slo.model_validate(limits)).metrics["slo_attainment"]


def test_an_answer_without_reasoning_begins_with_its_first_token() -> None:
    """A model that may think does not always; a request that only thought has no answer."""
    direct, thought, cut = row(), row(answer_s=2.0, reasoning_tokens=4), row(reasoning_tokens=9)
    assert judged(direct, thought, cut, answer_ttft_ms=1100) == pytest.approx(2 / 3)
    assert judged(direct, thought, cut, answer_ttft_ms=900) == pytest.approx(1 / 3)
    assert judged(direct, thought, cut, ttft_ms=900) == 1


def test_a_server_that_never_separates_reasoning_cannot_be_judged() -> None:
    r = requests_of(pa.Table.from_pylist([row(), row()], REQUESTS))
    require_reasoning(r, Slo(ttft_ms=500))
    with pytest.raises(InputError, match=r"no answer of this server has reasoning .*--reasoning-parser"):
        require_reasoning(r, Slo(answer_ttft_ms=500))
    reasoned = pa.Table.from_pylist([row(), row(answer_s=2.0, reasoning_tokens=4)], REQUESTS)
    require_reasoning(requests_of(reasoned), Slo(answer_ttft_ms=500))
