"""Recorded answers over HTTP: the same prompt gets the same answer, with its own end, and drafts are counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from simulated_front import FLAGS, serving
from test_http_front import ask, events
from test_played_answers import NGRAM, Answered, answers

from rooftune.answers.answer import Answer, Answers
from rooftune.engines.metrics import parse
from rooftune.errors import InputError
from rooftune.simulator.engine.core import EngineCore, Noise
from rooftune.simulator.front.__main__ import build
from rooftune.simulator.front.played import PlayedAnswer, PlayedAnswers, played_answers
from rooftune.simulator.front.tokens import encode
from rooftune.speculation.acceptance import from_counters
from rooftune.speculation.configured import proposer_of
from rooftune.speculation.replay import replay
from rooftune.workloads.texts.pieces import chat_text, pieces


def core(**flags: Any) -> EngineCore:
    return build("T4", "llama-2-7b", "0.15.1", {**FLAGS, **flags}, Noise(), plays_answers=True)


def played(of: list[Answered]) -> PlayedAnswers:
    return PlayedAnswers(PlayedAnswer(a.prompt_ids, a.output_ids, ends=True) for a in of)


def request(answer: Answered, **more: Any) -> dict[str, Any]:
    return {"model": "m", "prompt": list(answer.prompt_ids), "max_tokens": 200, **more}


async def test_an_answer_comes_as_it_was_recorded_and_ends_by_itself() -> None:
    one = answers(1)[0]
    async with serving(core()) as (server, port):
        server.played = played([one])
        _, text = await ask(port, "POST", "/v1/completions", request(one, return_token_ids=True))
        _, longer = await ask(port, "POST", "/v1/completions", request(one, ignore_eos=True, return_token_ids=True))
        _, cut = await ask(port, "POST", "/v1/completions", request(one, max_tokens=3))
    choice = json.loads(text)["choices"][0]
    assert choice["token_ids"] == list(one.output_ids)
    assert choice["prompt_token_ids"] == list(one.prompt_ids)
    assert choice["finish_reason"] == "stop"
    going_on = json.loads(longer)["choices"][0]
    assert going_on["token_ids"][: len(one.output_ids)] == list(one.output_ids)
    assert (len(going_on["token_ids"]), going_on["finish_reason"]) == (200, "length")
    assert json.loads(cut)["choices"][0]["finish_reason"] == "length"


async def test_the_text_of_an_answer_is_streamed_whole() -> None:
    said = 'A "quoted" word, then\na line that goes on for a while.'
    tokens = tuple(range(5, 5 + len(pieces(said))))
    answer = PlayedAnswer((7, 8, 9), tokens, ends=True, pieces=tuple(pieces(said)))
    async with serving(core()) as (server, port):
        server.played = PlayedAnswers([answer])
        body = {"model": "m", "prompt": [7, 8, 9], "max_tokens": 100, "stream": True}
        _, text = await ask(port, "POST", "/v1/completions", body)
    found = events(text)
    assert "".join(e["choices"][0]["text"] for e in found) == said
    assert found[-1]["choices"][0]["finish_reason"] == "stop"


async def test_the_counters_of_the_engine_are_those_of_the_replay() -> None:
    given = answers(6)
    async with serving(core(speculative_config=NGRAM)) as (server, port):
        server.played = played(given)
        for answer in given:
            await ask(port, "POST", "/v1/completions", request(answer))
        _, page = await ask(port, "GET", "/metrics")
        config = server.core.config
    found = parse(page)
    counters = {name.removesuffix("_total"): value for name, value in found.items()}
    counted = from_counters({**counters, "first_tokens": found["ttft_count"]})
    proposer = proposer_of(config)
    assert proposer is not None
    assert counted is not None
    foreseen = replay(given, proposer, max_model_len=512)
    assert (counted.drafts, counted.drafted, counted.accepted) == (
        foreseen.drafts, foreseen.drafted, foreseen.accepted
    )  # fmt: skip
    assert counted.by_position[0] > 0.1
    assert abs(counted.tokens_per_step - foreseen.tokens_per_step) < 0.1


def test_a_file_of_answers_is_read(tmp_path: Path) -> None:
    said = "One two three."
    texts = (said, None)
    Answers(
        tuple(
            Answer(str(i), (i, 2, 3), tuple(range(3, 3 + len(pieces(said)))), "stop" if i else "length", text)
            for i, text in enumerate(texts)
        )
    ).write(tmp_path / "answers.parquet")
    found = played_answers(tmp_path / "answers.parquet")
    assert len(found) == 2
    first, second = found.of([0, 2, 3]), found.of([1, 2, 3])
    assert first is not None
    assert second is not None
    assert (first.pieces, first.ends) == (tuple(pieces(said)), False)
    assert (second.pieces, second.ends) == ((), True)
    assert found.of([5]) is None


def test_a_file_of_prompts_with_answers_is_played_as_texts_and_as_messages(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text(json.dumps({"prompt": "Say it", "answer": "All of it."}))
    found = played_answers(tmp_path / "mine.jsonl")
    for asked in (encode("Say it"), encode(chat_text([{"role": "user", "content": "Say it"}]))):
        answer = found.of(asked)
        assert answer is not None
        assert "".join(answer.pieces) == "All of it."
    (tmp_path / "none.jsonl").write_text(json.dumps({"prompt": "Say it"}))
    with pytest.raises(InputError, match="no recorded answers"):
        played_answers(tmp_path / "none.jsonl")
