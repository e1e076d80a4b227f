"""A real vLLM from its start to its end: the configuration that it resolves, and whether its counters agree with the
client's."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pyarrow.parquet as pq
import pytest

from rooftune.engines import metrics
from rooftune.engines.interpreter import Installed
from rooftune.engines.launch import connect, stop
from rooftune.engines.server import ServerInfo
from rooftune.engines.target import Target
from rooftune.runfolder import TrialFolder
from rooftune.vllm_rules.flag_entries import registry
from rooftune.vllm_rules.flags import choices
from rooftune.vllm_rules.versions import parse_version
from tests.loadgen.harness import ended, load_server, stop_when, workload
from tests.real_vllm.speed import Speed
from tests.real_vllm.user_environment import user_environment


def test_the_effective_configuration_is_what_the_server_reports(
    server: ServerInfo, folder: TrialFolder, small: Path, vllm: Installed, dtype: str
) -> None:
    found = server.effective
    assert found.engine_version == vllm.version
    assert found.model == str(small)
    assert (found.max_model_len, found.max_num_seqs) == (2048, 16)
    assert (found.enforce_eager, found.cuda_graphs) == (True, False)
    assert found.max_num_batched_tokens is not None
    assert found.max_num_batched_tokens >= 2048
    assert (found.chunked_prefill, found.prefix_caching) == (True, True)
    assert found.async_scheduling is not None
    assert found.kv_cache_tokens is not None
    assert found.kv_cache_tokens > 10_000
    assert found.dtype == dtype
    assert found.attention_backend
    assert found.block_size
    assert ServerInfo.model_validate_json(folder.server_json.read_text()) == server


async def _stream(session: aiohttp.ClientSession, server: ServerInfo, number: int) -> tuple[int, int, int]:
    """Send one streamed request of token ids; return prompt tokens, output tokens, and chunks with text."""
    body = {
        "model": server.model,
        "prompt": [3 + (number * 31 + i * 7) % 4000 for i in range(20 + number)],
        "max_tokens": 5 + number,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    usage: dict[str, int] = {}
    chunks = 0
    async with session.post(server.url + "/v1/completions", json=body) as answer:
        assert answer.status == 200
        async for line in answer.content:
            if line.startswith(b"data: {"):
                event = json.loads(line[6:])
                chunks += bool(event["choices"])
                usage = event.get("usage") or usage
    return usage["prompt_tokens"], usage["completion_tokens"], chunks


async def test_counters_agree_with_what_was_sent(server: ServerInfo) -> None:
    before = metrics.parse(metrics.scrape_once(server.url) or "")
    async with aiohttp.ClientSession() as session:
        seen = await asyncio.gather(*(_stream(session, server, n) for n in range(24)))
    after = metrics.parse(metrics.scrape_once(server.url) or "")
    gained = {k: after[k] - before.get(k, 0.0) for k in after}
    assert gained["request_success_total"] == 24
    assert gained["prompt_tokens_total"] == sum(s[0] for s in seen) == sum(20 + n for n in range(24))
    assert gained["generation_tokens_total"] == sum(s[1] for s in seen) == sum(5 + n for n in range(24))
    assert gained["ttft_count"] == 24
    assert gained["preemptions_total"] == 0
    assert after["running"] == 0
    assert {"kv_usage", "waiting", "queue_sum_s", "iteration_tokens_count", "prefix_queries_total"} <= set(after)


async def test_it_can_be_inspected_as_an_endpoint(server: ServerInfo) -> None:
    target = Target(engine="endpoint", model=server.model, engine_version="0.32.0", url=server.url + "/v1")
    seen = await connect(target)
    assert (seen.model, seen.simulated, seen.vocab_size) == (server.model, False, 4096)
    assert seen.effective.max_num_seqs == 16
    assert seen.effective.kv_cache_tokens == server.effective.kv_cache_tokens


def short_load(speed: Speed) -> list[str]:
    """Options for about twenty requests that this server handles easily, after a warm-up of one and a half answers.

    chat-low has 50 tokens in and 150 out.
    """
    rate, answer_s = speed.easy_rate_per_s(50, 150), speed.request_s(50, 150)
    return ["--rate", f"{rate:.3f}", "--duration", f"{20 / rate:.0f}", "--warmup", f"{1.5 * answer_s:.0f}"]


def rooftune(place: Path, *words: str) -> dict[str, Any]:
    """Run a command; return what it prints as JSON. Skip if the machine was too busy for a measurement."""
    command = [str(Path(sys.executable).with_name("rooftune")), *words, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=place, env=user_environment(place), check=False)
    if "could not be measured: " in done.stderr and "after they were due" in done.stderr:
        pytest.skip(f"this machine is too busy to measure: {done.stderr}")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.measurement
def test_load_counts_what_the_server_counts(server: ServerInfo, speed: Speed, tmp_path: Path) -> None:
    before = metrics.parse(metrics.scrape_once(server.url) or "")
    found = rooftune(
        tmp_path, "load", "chat-low", "--url", server.url, *short_load(speed), "--save", str(tmp_path / "kept")
    )
    after = metrics.parse(metrics.scrape_once(server.url) or "")
    census = found["census"]
    assert census["completed"] == census["scheduled"] > 10
    rows = pq.read_table(tmp_path / "kept" / "requests.parquet", columns=["output_tokens", "prompt_tokens"]).to_pydict()
    warmed_up = 4  # the completion with which rooftune inspects the server
    assert (
        after["generation_tokens_total"] - before["generation_tokens_total"] == sum(rows["output_tokens"]) + warmed_up
    )
    assert after["request_success_total"] - before["request_success_total"] == census["completed"] + 1
    check = next(c for c in found["checks"] if c["id"] == "token-count")
    assert check["status"] != "fail", check["sentence"]
    assert 0 < check["figures"]["client"] <= check["figures"]["usage"], (
        "vLLM merges tokens into a chunk when it is late"
    )


async def test_every_token_is_counted_in_merged_chunks_too(server: ServerInfo, tmp_path: Path) -> None:
    """A busy vLLM sends several tokens per chunk. With usage in every chunk, the client counts each of them."""
    load = workload(output_tokens={"distribution": "fixed", "value": 40}, drain_s=300)
    watch = stop_when(ended(10))
    loaded = await load_server(
        load, server.url, tmp_path, watch=watch, model=server.model, vocab_size=4000, continuous_usage=True
    )
    assert [(r["status"], r["output_tokens"], r["streamed_tokens"]) for r in loaded.records] == [
        ("completed", 40, 40)
    ] * 10
    assert all(sum(r["chunk_tokens"]) == 40 and r["chunks"] <= 40 for r in loaded.records)


@pytest.mark.measurement
def test_an_endpoint_is_measured_and_not_tuned(server: ServerInfo, speed: Speed, tmp_path: Path) -> None:
    words = ("--engine", "endpoint", "--url", server.url, "--objective", "median_e2el_ms", *short_load(speed))
    words = (*words, "--artifacts", str(tmp_path / "here"))
    found = rooftune(tmp_path, "optimize", "chat-low", *words)
    assert [v["candidate"] for v in found["verdicts"]] == ["baseline"]
    (run,) = (tmp_path / "here" / "chat-low").glob("2*")
    seen = json.loads((run / "trials" / "baseline" / "1" / "server.json").read_text())
    assert (seen["engine"], seen["supervisor_pid"], seen["command"]) == ("endpoint", None, [])
    report = (run / "report.md").read_text()
    assert f"OpenAI-compatible endpoint {server.url} (vLLM {seen['effective']['engine_version']})" in report
    assert not list(run.glob("start_vllm*")), "rooftune cannot start an endpoint"
    assert metrics.scrape_once(server.url), "an endpoint keeps running"


def test_the_registry_of_flags_is_true_for_this_release(vllm: Installed) -> None:
    """``--help=all`` lists each flag that the registry has for this version, and none that it has only for others."""
    done = subprocess.run(
        [vllm.python, "-m", "vllm.entrypoints.openai.api_server", "--help=all"],
        capture_output=True,
        text=True,
        check=True,
    )
    there = set(re.findall(r"(?<![\w-])--([a-z][a-z0-9-]+)", done.stdout))
    engine = parse_version(vllm.version)
    wrong = []
    for name, flag in registry().items():
        expected = flag.releases.has(engine)
        if expected is not None and (name.replace("_", "-") in there) != expected:
            wrong.append(name)
    assert not wrong
    usage = " ".join(done.stdout.split())
    for name in ("dtype", "scheduling_policy", "prefix_caching_hash_algo", "kv_cache_dtype"):
        found = re.search(rf"--{name.replace('_', '-')} \{{([^}}]+)\}}", usage)
        if found:
            assert set(choices(name, vllm.version)) <= {c.strip(" '\"") for c in found[1].split(",")}, name


def test_it_ends_with_all_its_processes(server: ServerInfo, folder: TrialFolder) -> None:
    """Inspects the shared server's processes, then ends them, so this test is the last of those that use it."""
    assert server.supervisor_pid
    supervisor = psutil.Process(server.supervisor_pid)
    family = [supervisor, *supervisor.children(recursive=True)]
    assert len(family) >= 3, "vLLM runs its engine core in a separate process"
    asyncio.run(stop(server))
    assert not [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    assert folder.server_log.stat().st_size > 1000
