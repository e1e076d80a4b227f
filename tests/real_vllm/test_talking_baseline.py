"""The talking model on a real vLLM: its answers mean something and end by themselves, its adapter is served, and a
conversation that carries the model's own answers finds them in the prefix cache."""

from __future__ import annotations

import json
from itertools import pairwise

import aiohttp
import pytest

from benchmarks.talking_model.prompts import ADAPTER_ANSWER
from benchmarks.talking_model.store import TalkingModels
from rooftune.engines.server import ServerInfo
from tests.real_vllm.talking_server import ADAPTER, BLOCK, Reply, Serving, TalkingServers, ask, counters, gained

pytestmark = pytest.mark.timeout(1200)  # the first test makes the models


@pytest.fixture(scope="module")
def server(talking: TalkingModels, servers: TalkingServers) -> ServerInfo:
    return servers.get(Serving.with_adapter(talking))


@pytest.fixture(scope="module")
def lines(talking: TalkingModels) -> list[dict[str, object]]:
    """Questions with the answers from which the model learned."""
    return [json.loads(line) for line in talking.questions.read_text(encoding="utf-8").splitlines()]


async def test_it_answers_from_what_it_learned_and_stops_by_itself(
    server: ServerInfo, lines: list[dict[str, object]]
) -> None:
    async with aiohttp.ClientSession() as session:
        replies = [await ask(session, server, server.model, line["messages"]) for line in lines[:40]]
    assert sum(r.finish_reason == "stop" for r in replies) >= 38
    right = sum(r.text == line["answer"] for r, line in zip(replies, lines, strict=False))
    assert right >= 20, f"{right} of 40 answers are those that it learned"


async def test_an_adapter_answers_in_its_own_way(server: ServerInfo, lines: list[dict[str, object]]) -> None:
    async with aiohttp.ClientSession() as session:
        adapted = [await ask(session, server, ADAPTER, line["messages"]) for line in lines[:10]]
        plain = [await ask(session, server, server.model, line["messages"]) for line in lines[:10]]
    assert sum(r.text == ADAPTER_ANSWER for r in adapted) >= 9
    assert not any(r.text == ADAPTER_ANSWER for r in plain)


async def test_a_conversation_finds_its_own_answers_in_the_prefix_cache(
    server: ServerInfo, talking: TalkingModels
) -> None:
    """Each turn sends all turns before it with the answers that the model gave, so all full blocks of them hit."""
    first = json.loads(talking.conversations.read_text(encoding="utf-8").splitlines()[0])
    questions = [message for message in first["messages"] if message["role"] == "user"]
    said: list[dict[str, str]] = []
    sent: list[Reply] = []
    before = counters(server)
    async with aiohttp.ClientSession() as session:
        for question in [*questions, *questions]:
            said.append(question)
            sent.append(await ask(session, server, server.model, said))
            said.append({"role": "assistant", "content": sent[-1].text})
    moved = gained(server, before)
    shared = [_blocks(a.all_ids, b.prompt_ids) for a, b in pairwise(sent)]
    assert moved["prefix_queries_total"] == sum(len(r.prompt_ids) for r in sent)
    assert sum(shared) > 0
    assert moved["prefix_hits_total"] >= BLOCK * sum(shared), "the first turn may hit what another test asked"
    assert moved["prefix_hits_total"] <= BLOCK * sum(shared) + len(sent[0].prompt_ids)


def _blocks(before: list[int], after: list[int]) -> int:
    """Full KV blocks that a prompt shares with the request before it.

    vLLM computes the last token of a prompt in any case, and it does not keep that of an answer.
    """
    before, after = before[:-1], after[:-1]
    same = next(
        (at for at, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), min(len(before), len(after))
    )
    return same // BLOCK
