"""Loads with real texts: what goes into each body, conversations with the server's own answers, and private errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rooftune.loadgen.private_errors import LEFT_OUT, without_texts
from rooftune.loadgen.request_bodies import RequestBodies
from rooftune.loadgen.summary import LoadOptions
from rooftune.workloads.draw import draw
from rooftune.workloads.load import as_workload, load_workload
from rooftune.workloads.spec import Workload
from rooftune.workloads.texts.prompt_text import PromptText, key_of
from tests.loadgen.chat_server import chat_server
from tests.loadgen.harness import ended, load_server, stop_when

TALK = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "recorded 1"},
        {"role": "user", "content": "two"},
        {"role": "assistant", "content": "recorded 2"},
        {"role": "user", "content": "three"},
        {"role": "assistant", "content": "recorded 3"},
    ]
}


def workload(folder: Path, records: list[Any], more: str = "", duration_s: float = 0.1) -> Workload:
    (folder / "mine.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    path = folder / "mine.yaml"
    path.write_text(
        f"name: mine\narrivals: {{process: constant, rate_per_s: 20}}\nduration_s: {duration_s}\ndrain_s: 20\n"
        f"prompts: {{file: mine.jsonl, think_s: 0.01}}\n{more}"
    )
    return load_workload(str(path))


def talks(folder: Path, conversations: int) -> Workload:
    """One conversation begins every fourth of a second, and the load is stopped once all are over."""
    load = workload(folder, [TALK], duration_s=20)
    (folder / "begins.csv").write_text(
        "arrival,prompt_tokens,output_tokens\n" + "".join(f"{i / 4},5,5\n" for i in range(conversations))
    )
    trace = {"process": "trace", "file": str(folder / "begins.csv"), "time_unit": "s"}
    return as_workload({**load.model_dump(), "arrivals": trace}, "talks")


def bodies(load: Workload, **options: Any) -> list[dict[str, Any]]:
    plan = draw(load)
    chosen = LoadOptions(**{"url": "http://x", "model": "m", "endpoint": load.endpoint, **options})
    made = RequestBodies(plan, chosen, load.requests_sampling, ignore_eos=load.ignore_eos)
    return [json.loads(made.body(i, ["answer"] * int(plan.turn[i]))) for i in range(len(plan))]


def test_a_text_is_sent_as_it_is_with_its_limit_and_a_salt(tmp_path: Path) -> None:
    first, second = bodies(workload(tmp_path, [{"prompt": 'A "text"\n', "max_tokens": 9}]))
    assert first == {
        "model": "m",
        "prompt": 'A "text"\n',
        "cache_salt": "0-0",
        "max_tokens": 9,
        "temperature": 0.0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert second["cache_salt"] == "0-1"


def test_passes_may_share_the_cache(tmp_path: Path) -> None:
    load = workload(tmp_path, [{"prompt": "a"}])
    assert load.prompts is not None
    same = load.model_copy(update={"prompts": load.prompts.model_copy(update={"repeats": "same"})})
    assert not any("cache_salt" in body for body in bodies(same))


def test_the_sampling_of_the_workload_and_of_a_record(tmp_path: Path) -> None:
    records = [{"messages": [{"role": "user", "content": "a"}], "temperature": 0.7, "tools": [{"type": "function"}]}]
    (body, _) = bodies(workload(tmp_path, records, "sampling: {top_p: 0.9, extra_body: {min_p: 0.1}}\n"))
    assert (body["temperature"], body["top_p"], body["min_p"]) == (0.7, 0.9, 0.1)
    assert body["tools"] == [{"type": "function"}]


def test_sampling_reaches_drawn_prompts_too() -> None:
    from tests.loadgen.harness import workload as drawn

    found = bodies(drawn(sampling={"temperature": 0.5, "seed": 3}))
    assert {(b["temperature"], b["seed"], b["ignore_eos"]) for b in found} == {(0.5, 3, True)}


def test_the_simulated_engine_gets_the_planned_lengths(tmp_path: Path) -> None:
    load = workload(tmp_path, [{"prompt": "a", "output_tokens": 5, "max_tokens": 50}])
    assert {b["max_tokens"] for b in bodies(load)} == {50}
    assert {b["max_tokens"] for b in bodies(load, ends="planned")} == {5}


@pytest.mark.parametrize("through", ["sockets", "aiohttp"])
@pytest.mark.parametrize("stream", [True, False])
async def test_a_conversation_carries_the_answers_of_the_server(tmp_path: Path, through: str, stream: bool) -> None:
    load = talks(tmp_path, 3)
    async with chat_server() as server:
        parts, over = tmp_path / "parts", stop_when(ended(9))
        found = await load_server(load, server.url, parts, watch=over, through=through, stream=stream)
    assert {r["status"] for r in found.records} == {"completed"}
    sent = [[(m["role"], m["content"]) for m in body["messages"]] for body in server.bodies]
    opening = [("system", "Be brief."), ("user", "one")]
    first = [i for i, messages in enumerate(sent) if messages == opening]
    assert len(first) == 3
    for i in first:
        second = [*opening, ("assistant", server.answers[i]), ("user", "two")]
        third = [*second, ("assistant", server.answers[sent.index(second)]), ("user", "three")]
        assert third in sent
    assert not found.runner._answers, "answers of conversations that are over are forgotten"


async def test_reasoning_is_no_part_of_the_next_turn(tmp_path: Path) -> None:
    async with chat_server(reasons=True) as server:
        await load_server(talks(tmp_path, 1), server.url, tmp_path / "parts", watch=stop_when(ended(3)))
    carried = {m["content"] for b in server.bodies for m in b["messages"] if m["role"] == "assistant"}
    assert carried
    assert carried <= set(server.answers)


async def test_after_a_failed_turn_the_conversation_is_over(tmp_path: Path) -> None:
    load = talks(tmp_path, 1)
    async with chat_server(fails=frozenset({1})) as server:
        found = await load_server(load, server.url, tmp_path / "parts", watch=stop_when(ended(2)))
    assert [r["status"] for r in found.records] == ["completed", "failed", "never_begun"]
    assert not found.runner._answers


async def test_an_error_does_not_quote_the_prompt(tmp_path: Path) -> None:
    secret = "the passphrase is correct horse battery staple"
    async with chat_server(fails=frozenset(range(99))) as server:
        load = workload(tmp_path, [{"messages": [{"role": "user", "content": secret}]}])
        found = await load_server(load, server.url, tmp_path / "parts")
    errors = {r["error"] for r in found.records}
    assert len(errors) == 1
    (error,) = errors
    assert error.startswith("HTTP 500 cannot do")
    assert error.endswith(LEFT_OUT)
    assert "horse" not in error


def test_only_what_quotes_is_left_out() -> None:
    prompt = PromptText(key_of("x", None), "please translate the long sentence that follows")
    limit = "HTTP 400 This model's maximum context length is 64 tokens"
    assert without_texts("http_400", limit, prompt) == limit
    assert without_texts("http_400", "bad: translate the long sentence", prompt) == f"bad:{LEFT_OUT}"
    assert without_texts("bad_json", "an event is not JSON: b'answer'", prompt) == f"an event is not JSON{LEFT_OUT}"
