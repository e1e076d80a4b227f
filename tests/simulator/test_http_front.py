"""The HTTP front in this process: what vLLM answers, and the same order and counts as virtual time."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import numpy as np
import pytest
from simulated_front import core_of, serving
from simulator_cases import plan_of

from rooftune.simulator.runs import ClientSettings
from rooftune.simulator.virtual.stepwise import run_stepwise


async def ask(port: int, method: str, path: str, body: Any = None) -> tuple[int, str]:
    """Status and decoded body of one exchange."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    writer.write(f"{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(data)}\r\n\r\n".encode() + data)
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    status = int(head.split()[1])
    length = next((int(x.split(":")[1]) for x in head.split("\r\n") if x.lower().startswith("content-length")), None)
    if length is not None:
        text = (await reader.readexactly(length)).decode()
    else:
        text = ""
        while size := int((await reader.readline()).decode(), 16):
            text += (await reader.readexactly(size + 2)).decode()[:-2]
    writer.close()
    return status, text


def events(text: str) -> list[Any]:
    lines = [x.removeprefix("data: ") for x in text.split("\n\n") if x]
    assert lines[-1] == "[DONE]"
    return [json.loads(x) for x in lines[:-1]]


PROMPT = {"model": "m", "prompt": list(range(20, 60)), "max_tokens": 5}


async def test_a_completion_without_streaming() -> None:
    async with serving(core_of()) as (_, port):
        status, text = await ask(port, "POST", "/v1/completions", PROMPT)
    answer = json.loads(text)
    assert status == 200
    assert answer["object"] == "text_completion"
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["choices"][0]["text"].split()
    assert answer["usage"] == {
        "prompt_tokens": 40, "total_tokens": 45, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 0},
    }  # fmt: skip


@pytest.mark.parametrize(
    "usage", [None, {"include_usage": True}, {"include_usage": True, "continuous_usage_stats": True}]
)
async def test_a_stream_has_a_chunk_for_each_token_and_usage_where_it_is_asked_for(usage: dict | None) -> None:
    body = {**PROMPT, "stream": True, **({"stream_options": usage} if usage else {})}
    async with serving(core_of()) as (_, port):
        _, text = await ask(port, "POST", "/v1/completions", body)
    found = events(text)
    chunks = [e for e in found if e["choices"]]
    assert len(chunks) == 5
    assert [c["choices"][0]["finish_reason"] for c in chunks] == [None] * 4 + ["length"]
    assert len({e["id"] for e in found}) == 1
    last = found[-1]
    if usage is None:
        assert all("usage" not in e for e in found)
    else:
        assert last["choices"] == []
        assert last["usage"]["completion_tokens"] == 5
    if usage and "continuous_usage_stats" in usage:
        assert [c["usage"]["completion_tokens"] for c in chunks] == [1, 2, 3, 4, 5]


async def test_a_chat_begins_with_the_role() -> None:
    body = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 3, "stream": True}
    async with serving(core_of()) as (_, port):
        _, text = await ask(port, "POST", "/v1/chat/completions", body)
        _, whole = await ask(port, "POST", "/v1/chat/completions", {**body, "stream": False})
    found = events(text)
    assert found[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    spoken = "".join(e["choices"][0]["delta"]["content"] for e in found)
    assert json.loads(whole)["choices"][0]["message"] == {"role": "assistant", "content": spoken}


async def test_tokens_are_sent_together_with_a_stream_interval_the_first_at_once() -> None:
    async with serving(core_of(stream_interval=4)) as (_, port):
        _, text = await ask(port, "POST", "/v1/completions", {**PROMPT, "max_tokens": 10, "stream": True})
    sizes = [len(e["choices"][0]["text"].split()) for e in events(text)]
    assert sizes == [1, 4, 4, 1]


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/v1/completions", b"{not json", 400, "parsing the body"),
        ("/v1/completions", [], 400, "parsing the body"),
        ("/v1/completions", {**PROMPT, "model": "other"}, 404, "The model `other` does not exist."),
        ("/v1/completions", {"model": "m"}, 400, "prompt"),
        ("/v1/completions", {**PROMPT, "prompt": ""}, 400, "prompt"),
        ("/v1/completions", {**PROMPT, "prompt": [10**6]}, 400, "out of vocabulary"),
        ("/v1/completions", {**PROMPT, "max_tokens": 0}, 400, "max_tokens must be at least 1, got 0."),
        ("/v1/completions", {**PROMPT, "max_tokens": 500}, 400, "maximum context length is 512 tokens"),
        ("/v1/completions", {**PROMPT, "n": 2}, 400, "n must be 1"),
        ("/v1/completions", {**PROMPT, "stream_options": {"include_usage": True}}, 400, "stream=True"),
        ("/v1/chat/completions", {"messages": []}, 400, "messages"),
        ("/nowhere", {}, 404, "Not Found"),
    ],
)  # fmt: skip
async def test_bad_requests_are_answered_as_vllm_does(path: str, body: Any, status: int, words: str) -> None:
    async with serving(core_of()) as (server, port):
        found, text = await ask(port, "POST", path, body)
        assert (await ask(port, "GET", "/health"))[0] == 200
    assert found == status
    error = json.loads(text)["error"]
    assert words in error["message"]
    assert error["code"] == status
    assert not server.active


async def test_a_wrong_method_and_a_request_that_is_not_http() -> None:
    async with serving(core_of()) as (_, port):
        assert (await ask(port, "GET", "/v1/completions"))[0] == 405
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"hello\r\n\r\n")
        assert b"400" in await reader.readline()
        writer.close()


async def test_models_tokenize_version() -> None:
    async with serving(core_of()) as (_, port):
        models = json.loads((await ask(port, "GET", "/v1/models"))[1])
        tokens = json.loads((await ask(port, "POST", "/tokenize", {"prompt": "hello there, world"}))[1])
        version = json.loads((await ask(port, "GET", "/version"))[1])
    assert models["data"][0]["id"] == "m"
    assert models["data"][0]["max_model_len"] == 512
    assert tokens["count"] == len(tokens["tokens"]) > 2
    assert version == {"version": "0.15.1"}


async def test_a_limit_of_requests_answers_503() -> None:
    core = core_of("0.32.0", quantization="awq_marlin", max_num_queued_reqs=2)
    async with serving(core) as (server, port):
        server.stalled_until = 1e12
        waiting = [asyncio.create_task(ask(port, "POST", "/v1/completions", PROMPT)) for _ in range(2)]
        while len(server.active) < 2:
            await asyncio.sleep(0.005)
        assert (await ask(port, "POST", "/v1/completions", PROMPT))[0] == 503
        server.stalled_until = 0.0
        assert [status for status, _ in await asyncio.gather(*waiting)] == [200, 200]


async def test_a_client_that_goes_away_ends_its_request_and_frees_its_blocks() -> None:
    async with serving(core_of(), time_scale=1.0) as (server, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        data = json.dumps({**PROMPT, "max_tokens": 400, "stream": True}).encode()
        writer.write(b"POST /v1/completions HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % len(data) + data)
        while not server.core.scheduler.running:
            await asyncio.sleep(0.005)
        writer.close()
        while server.active or not server.core.idle:
            await asyncio.sleep(0.005)
        pool = server.core.scheduler.pool
        assert server.core.idle
        assert pool.free_count == pool.total
        assert server.metrics.success["abort"] == 1


def series(text: str) -> dict[str, float]:
    """Sums over labels, by name; for the histograms only their counts and sums."""
    out: dict[str, float] = {}
    for line in text.splitlines():
        if line.startswith("#") or not line or "_bucket{" in line:
            continue
        name, value = line.split("{")[0], float(line.rsplit(" ", 1)[1])
        out[name] = out.get(name, 0.0) + value
    return out


async def test_metrics_bear_vllms_names_and_count_every_token() -> None:
    async with serving(core_of()) as (_, port):
        for n in (3, 7):
            await ask(port, "POST", "/v1/completions", {**PROMPT, "max_tokens": n})
        found = series((await ask(port, "GET", "/metrics"))[1])
    assert found["vllm:generation_tokens_total"] == 10
    assert found["vllm:prompt_tokens_total"] == 80
    assert found["vllm:request_success_total"] == 2
    assert found["vllm:prefix_cache_queries_total"] == 80
    assert found["vllm:prefix_cache_hits_total"] == 32
    assert found["vllm:time_to_first_token_seconds_count"] == 2
    assert found["vllm:inter_token_latency_seconds_count"] == 8
    assert found["vllm:num_requests_running"] == found["vllm:num_requests_waiting"] == 0
    assert found["rooftune:simulated"] == 1
    assert "rooftune:clock_behind_seconds" in found


@pytest.mark.parametrize("version", ["0.15.1", "0.32.0"])
async def test_the_front_and_virtual_time_agree_on_order_and_counts(version: str) -> None:
    """The same requests, all there at the beginning: with preemptions, shared prompts and a full cache."""
    rng = np.random.default_rng(5)
    n = 40
    group = rng.integers(0, 8, n)
    prompt, output = 20 + 15 * group, rng.integers(5, 90, n)
    flags = {"num_gpu_blocks_override": 60, "max_num_seqs": 16, "max_num_batched_tokens": 128}
    flags |= {"quantization": "awq" if version == "0.15.1" else "awq_marlin"}
    core = core_of(version, **flags)
    ends: list[int] = []
    async with serving(core) as (server, port):
        server.stalled_until = 1e12
        tasks = []
        for i in range(n):
            ids = [int(3 + group[i] * 500 + j) for j in range(prompt[i])]
            body = {"model": "m", "prompt": ids, "max_tokens": int(output[i])}

            async def one(i: int, body: Any) -> Any:
                answer = json.loads((await ask(port, "POST", "/v1/completions", body))[1])
                ends.append(i)
                return answer["usage"]

            tasks.append(asyncio.create_task(one(i, body)))
            while len(server.active) <= i:
                await asyncio.sleep(0)
        server.stalled_until = 0.0
        usage = await asyncio.gather(*tasks)
        scheduler, counters = core.scheduler, server.metrics.counters
    plan = plan_of(np.zeros(n), prompt, output, seeds=group)
    run = run_stepwise(plan, core.step_time, scheduler.limits, ClientSettings())
    assert [u["completion_tokens"] for u in usage] == run.generated.tolist()
    assert [u["prompt_tokens_details"]["cached_tokens"] for u in usage] == run.cached.tolist()
    assert scheduler.preemptions == run.preempted.sum()
    assert scheduler.preemptions > 0
    assert scheduler.prefix_hits == run.prefix_hits
    assert scheduler.prefix_queries == run.prefix_queries
    assert counters["generation_tokens"] == run.generated.sum()
    assert core.steps == run.steps
    assert core.clock_s == pytest.approx(sum(run.durations), rel=1e-9)
    order = [run.last_s[i] for i in ends]
    assert order == sorted(order)
