"""Answers are asked of a server as token ids, a few requests at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field

import pytest
import pytest_asyncio
from aiohttp import web
from web_app import served

from rooftune.answers.ask import NoTokenIds
from rooftune.answers.collect import collect
from rooftune.errors import EngineError, InputError


@dataclass(frozen=True)
class Said:
    """A prompt of a test."""

    key: str
    text: str | None = None
    messages: tuple[dict[str, object], ...] | None = None
    max_tokens: int | None = None
    extra: Mapping[str, object] = field(default_factory=dict)


class Greedy:
    """Sampling of the tests."""

    def request_fields(self, own: Mapping[str, object] | None = None) -> dict[str, object]:
        return {"temperature": 0.0, **(own or {})}


@dataclass
class Fake:
    """A server that answers as vLLM does, and what it was asked."""

    url: str = ""
    bodies: list[dict[str, object]] = field(default_factory=list)
    running: int = 0
    most: int = 0
    reply: Callable[[dict[str, object]], object] | None = None
    status: int = 200

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.bodies.append({**body, "path": request.path})
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0.005)
        self.running -= 1
        if self.reply is not None:
            return web.json_response(self.reply(body), status=self.status)
        number = len(str(body.get("prompt") or body.get("messages")))
        choice = {"index": 0, "text": "yes", "finish_reason": "stop", "token_ids": [number, 7]}
        if "messages" in body:
            return web.json_response({"choices": [choice], "prompt_token_ids": [9, 9]})
        return web.json_response({"choices": [{**choice, "prompt_token_ids": [1, number]}]})


@pytest_asyncio.fixture
async def fake() -> AsyncIterator[Fake]:
    server, app = Fake(), web.Application()
    app.router.add_post("/v1/completions", server.answer)
    app.router.add_post("/v1/chat/completions", server.answer)
    async with served(app) as server.url:
        yield server


async def test_answers_have_the_order_of_the_prompts(fake: Fake) -> None:
    prompts = [Said(str(n), "x" * n) for n in range(1, 30)]
    found = await collect(fake.url, "m", prompts, Greedy(), 64)
    assert [a.key for a in found] == [p.key for p in prompts]
    assert [a.prompt_ids for a in found] == [(1, n) for n in range(1, 30)]
    assert all(a.output_ids[1] == 7 and a.finish_reason == "stop" and a.text is None for a in found)


async def test_no_more_requests_run_at_once_than_asked(fake: Fake) -> None:
    await collect(fake.url, "m", [Said(str(n), "x") for n in range(40)], Greedy(), 64, at_once=4)
    assert 2 <= fake.most <= 4


async def test_messages_go_to_the_chat_endpoint(fake: Fake) -> None:
    said = Said("c", messages=({"role": "user", "content": "hi"},))
    (found,) = await collect(fake.url, "m", [said], Greedy(), 64)
    assert found.prompt_ids == (9, 9)
    assert fake.bodies[0]["path"] == "/v1/chat/completions"


async def test_answers_end_by_themselves_within_a_limit(fake: Fake) -> None:
    await collect(fake.url, "m", [Said("a", "x"), Said("b", "x", max_tokens=5)], Greedy(), 64, at_once=1)
    assert [b["max_tokens"] for b in fake.bodies] == [64, 5]
    assert all("ignore_eos" not in b and b["return_token_ids"] is True for b in fake.bodies)
    assert all(b["temperature"] == 0.0 for b in fake.bodies)


async def test_texts_are_kept_where_asked(fake: Fake) -> None:
    (found,) = await collect(fake.url, "m", [Said("a", "x")], Greedy(), 64, keep_texts=True)
    assert found.text == "yes"


async def test_a_server_without_token_ids_is_named(fake: Fake) -> None:
    fake.reply = lambda body: {"choices": [{"index": 0, "text": "yes", "finish_reason": "stop"}]}
    with pytest.raises(NoTokenIds, match="does not return token ids"):
        await collect(fake.url, "m", [Said("a", "x")], Greedy(), 64)


@pytest.mark.parametrize("status", [400, 500])
async def test_a_rejected_request_ends_the_collection(fake: Fake, status: int) -> None:
    fake.reply, fake.status = (lambda body: {"error": {"message": "secret words are too long"}}), status
    with pytest.raises(EngineError, match=f"HTTP {status}") as failed:
        await collect(fake.url, "m", [Said(str(n), "secret words") for n in range(100)], Greedy(), 64, at_once=2)
    assert "secret" not in str(failed.value), "the server's words may quote the prompt"
    assert len(fake.bodies) < 10


async def test_a_reply_without_a_choice_is_one_sentence(fake: Fake) -> None:
    fake.reply = lambda body: {"choices": []}
    with pytest.raises(EngineError, match="without any choice"):
        await collect(fake.url, "m", [Said("a", "x")], Greedy(), 64)


async def test_fields_of_a_prompts_own_request_are_sent(fake: Fake) -> None:
    await collect(fake.url, "m", [Said("a", "x", extra={"temperature": 0.7, "min_p": 0.1})], Greedy(), 64)
    assert (fake.bodies[0]["temperature"], fake.bodies[0]["min_p"]) == (0.7, 0.1)


async def test_refused_prompts_are_left_out_where_asked(fake: Fake) -> None:
    def reply(body: dict[str, object]) -> object:
        fake.status = 400 if body["prompt"] == "long" else 200
        return {"choices": [{"text": "", "finish_reason": "stop", "token_ids": [1], "prompt_token_ids": [2]}]}

    fake.reply = reply
    prompts = [Said("a", "x"), Said("b", "long"), Said("c", "y")]
    found = await collect(fake.url, "m", prompts, Greedy(), 64, at_once=1, skip_rejected=True)
    assert [a.key for a in found] == ["a", "c"]
    with pytest.raises(EngineError, match="HTTP 400"):
        await collect(fake.url, "m", [Said("b", "long")], Greedy(), 64, skip_rejected=True)


async def test_no_server_is_one_sentence() -> None:
    with pytest.raises(EngineError, match="does not answer"):
        await collect("http://127.0.0.1:9", "m", [Said("a", "x")], Greedy(), 64)


async def test_no_prompts_is_an_error_of_the_input() -> None:
    with pytest.raises(InputError, match="no prompts"):
        await collect("http://127.0.0.1:9", "m", [], Greedy(), 64)
