"""The talking model on a real vLLM: its answers mean something and end by themselves, its adapter is served, and a
conversation that carries the model's own answers finds them in the prefix cache."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import aiohttp
import numpy as np
import pytest

from benchmarks.talking_model.prompts import ADAPTER_ANSWER
from benchmarks.talking_model.store import TalkingModels
from rooftune.engines.server import ServerInfo
from rooftune.evidence.records.columns import Requests
from rooftune.evidence.records.parquet_files import read_requests
from rooftune.evidence.records.trial import TrialResult
from rooftune.evidence.records.trial_files import read_trial
from rooftune.runfolder import TrialFolder
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


LOAD = """name: short
arrivals: {{process: poisson, rate_per_s: 4}}
prompts: {{file: {file}}}
sampling: {{temperature: 0}}
max_tokens: 60
duration_s: 5
seed: 5
"""


def loaded(server: ServerInfo, folder: Path, prompts: Path) -> tuple[TrialResult, Requests]:
    """What ``rooftune load --prompts`` measures and keeps."""
    from flows.cli.app import run

    kept, workload = TrialFolder(folder / "kept"), folder / "short.yaml"
    workload.write_text(LOAD.format(file=prompts))
    words = ["load", str(workload), "--prompts", str(prompts), "--url", server.url, "--model", server.model]
    assert run([*words, "--save", str(kept.path)]) == 0
    return read_trial(kept), read_requests(kept.requests)


def test_load_sends_the_prompts_of_a_file_whose_answers_end_by_themselves(
    server: ServerInfo, talking: TalkingModels, tmp_path: Path
) -> None:
    trial, requests = loaded(server, tmp_path, talking.questions)
    assert trial.census is not None
    assert trial.census.completed == trial.census.scheduled == len(requests) >= 8
    checks = {c.id: c for c in trial.checks}
    assert checks["prompt-lengths"].status == "pass", "the tokenizer of the model planned what the server counts"
    assert (requests.prompt_tokens == requests.planned_prompt_tokens).all()
    assert (requests.finish_reason == "stop").mean() > 0.9
    assert len(set(requests.output_tokens.tolist())) > 3, "each answer has its own length"
    assert checks["answer-lengths"].figures["cut_share"] < 0.1


def test_load_plays_conversations_that_hit_the_prefix_cache(
    server: ServerInfo, talking: TalkingModels, tmp_path: Path
) -> None:
    """Each turn finds all full blocks of the turn before it, prompt and answer."""
    before = counters(server)
    _, r = loaded(server, tmp_path, talking.conversations)
    moved = gained(server, before)
    assert (r.status == "completed").all()
    least = 0
    for talk in set(r.conversation.tolist()):
        turns = np.flatnonzero(r.conversation == talk)
        turns = turns[np.argsort(r.turn[turns])]
        known = r.prompt_tokens[turns] + r.output_tokens[turns]
        least += int(sum(BLOCK * ((tokens - 1) // BLOCK) for tokens in known[:-1]))
    assert moved["prefix_hits_total"] >= least > 0


def _blocks(before: list[int], after: list[int]) -> int:
    """Full KV blocks that a prompt shares with the request before it.

    vLLM computes the last token of a prompt in any case, and it does not keep that of an answer.
    """
    before, after = before[:-1], after[:-1]
    same = next(
        (at for at, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), min(len(before), len(after))
    )
    return same // BLOCK
