"""Starting the simulated engine, what goes wrong then, and looking at endpoints."""

from __future__ import annotations

import asyncio
import inspect
import json
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp.web
import psutil
import pytest

from rooftune.engines import readiness
from rooftune.engines.http_client import request
from rooftune.engines.interpreter import installed
from rooftune.engines.launch import connect, died, died_or_dying, running, start, stop
from rooftune.engines.server import ServerInfo
from rooftune.engines.target import Target
from rooftune.engines.urls import server_root
from rooftune.errors import EngineError, InputError
from rooftune.runfolder import TrialFolder
from rooftune.vllm_rules.config import EngineConfig

TARGET = Target(gpu="T4", model="llama-2-7b", engine_version="0.15.1", time_scale=10.0)
CONFIG = EngineConfig(model="TheBloke/Llama-2-7B-AWQ", quantization="awq", enforce_eager=True, max_num_seqs=8)


async def test_from_start_to_end(tmp_path: Path) -> None:
    folder = TrialFolder(tmp_path)
    async with running(TARGET, CONFIG, folder) as server:
        assert server.simulated
        assert server.model == "TheBloke/Llama-2-7B-AWQ"
        assert server.effective.max_num_seqs == 8
        assert server.effective.linear_kernel == "AWQ GEMM"
        assert server.effective.chunked_prefill is True
        assert ServerInfo.model_validate_json(folder.server_json.read_text()) == server
        assert (await request(server.url, "/health")).status == 200
        assert died(server) is None
        pids = [server.supervisor_pid, server.server_pid]
    assert not [p for p in pids if p and psutil.pid_exists(p)]
    assert (await request(server.url, "/health")).status == 0
    assert "simulated" in folder.server_log.read_text()


async def test_a_taken_port_is_an_input_error(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port} on 127.0.0.1 cannot be used"):
            await start(TARGET, CONFIG, TrialFolder(tmp_path), port=port)


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [("oom_at_start", "oom", "172.00 MiB"), ("die_at_start", "died", "exit code 1")],
)
async def test_a_server_that_dies_at_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, kind: str, words: str
) -> None:
    monkeypatch.setenv("ROOFTUNE_SIM_FAULT", fault)
    before = {child.pid for child in psutil.Process().children()}  # of other tests of this process
    with pytest.raises(EngineError, match=words) as caught:
        await start(TARGET, CONFIG, TrialFolder(tmp_path))
    assert caught.value.kind == kind
    started = [child for child in psutil.Process().children() if child.pid not in before]
    assert not any("supervisor" in " ".join(c.cmdline()) for c in started)


async def test_a_server_that_is_never_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOFTUNE_SIM_FAULT", "hang_at_start")
    with pytest.raises(EngineError, match="not ready in time") as caught:
        await start(TARGET, CONFIG, TrialFolder(tmp_path), ready_timeout_s=1.5)
    assert caught.value.kind == "hang"


async def test_a_server_without_any_sign_of_life_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOFTUNE_SIM_FAULT", "hang_at_start")
    monkeypatch.setattr(readiness, "QUIET_S", 1.0)
    with pytest.raises(EngineError, match="the engine hangs") as caught:
        await start(TARGET, CONFIG, TrialFolder(tmp_path), ready_timeout_s=60)
    assert caught.value.kind == "hang"


async def test_a_server_that_dies_later_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOFTUNE_SIM_FAULT", "die_after_requests:2")
    folder = TrialFolder(tmp_path)
    server = await start(TARGET, CONFIG, folder)
    assert died(server, folder) is None
    await request(server.url, "/v1/completions", body={"prompt": [5, 6], "max_tokens": 1}, timeout_s=60)
    while not died(server, folder):
        await asyncio.sleep(0.02)
    found = await died_or_dying(server, folder)
    assert found is not None
    assert "under load" in str(found)
    await stop(server)
    assert died(server) is None
    assert await died_or_dying(server) is None


async def test_an_endpoint_cannot_be_started(tmp_path: Path) -> None:
    target = Target(engine="endpoint", model="m", engine_version="0.15.1", url="http://127.0.0.1:9")
    with pytest.raises(InputError, match="does not run endpoints"):
        await start(target, EngineConfig(model="m"), TrialFolder(tmp_path))


async def test_no_vllm_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ROOFTUNE_VLLM_PYTHON", raising=False)
    target = Target(engine="vllm", model="m", engine_version="0.32.0")
    with pytest.raises(InputError, match="make vllm"):
        await start(target, EngineConfig(model="m"), TrialFolder(tmp_path))
    with pytest.raises(InputError, match="not a Python interpreter"):
        await start(
            target.model_copy(update={"vllm_python": "/nowhere/py"}), EngineConfig(model="m"), TrialFolder(tmp_path)
        )


def test_an_interpreter_without_vllm_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no vLLM"):
        installed(sys.executable)
    with pytest.raises(InputError, match="is not a Python interpreter"):
        installed(str(tmp_path / "nothing"))


async def test_the_simulated_engine_as_an_endpoint(tmp_path: Path) -> None:
    async with running(TARGET, CONFIG, TrialFolder(tmp_path / "server")) as server:
        target = Target(engine="endpoint", model="llama-2-7b", engine_version="0.15.1", url=server.url + "/v1/")
        async with running(target, CONFIG, TrialFolder(tmp_path / "look")) as seen:
            assert seen.engine == "endpoint"
            assert seen.simulated
            assert seen.time_scale == 10.0
            assert seen.model == server.model
            assert seen.supervisor_pid is None
            assert seen.effective.max_model_len == server.effective.max_model_len
        assert (await request(server.url, "/health")).status == 200


Handler = Callable[[aiohttp.web.Request], aiohttp.web.Response | Awaitable[aiohttp.web.Response]]


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[Handler], asyncio.Future[str]]]:
    """Serve a handler for every path; returns the URL."""
    runners: list[aiohttp.web.AppRunner] = []

    async def begin(handler: Handler) -> str:
        async def handle(request: aiohttp.web.Request) -> aiohttp.web.Response:
            answer = handler(request)
            return await answer if inspect.isawaitable(answer) else answer

        app = aiohttp.web.Application()
        app.router.add_route("*", "/{tail:.*}", handle)
        runner = aiohttp.web.AppRunner(app)
        runners.append(runner)
        await runner.setup()
        site = aiohttp.web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    yield begin  # type: ignore[misc]
    for runner in runners:
        await runner.cleanup()


MODELS = {"object": "list", "data": [{"id": "m1"}, {"id": "m2"}]}


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (401, '{"error": "no"}', "OPENAI_API_KEY"),
        (403, "", "OPENAI_API_KEY"),
        (404, "nothing", "no OpenAI-compatible API"),
        (429, "", "rate limit"),
        (503, '{"error": {"message": "the engine is dead"}}', "the engine is dead"),
        (200, "<html>login</html>", "HTML page"),
        (200, "ok", "not JSON"),
        (200, "[1]", "no models"),
        (200, '{"data": []}', "no models"),
        (200, json.dumps(MODELS), "m1, m2"),
    ],
)
async def test_addresses_that_are_not_endpoints(
    serve: Callable[[Handler], asyncio.Future[str]], status: int, body: str, words: str
) -> None:
    kind = "text/html" if "<html" in body else "application/json"
    url = await serve(lambda _: aiohttp.web.Response(status=status, text=body, content_type=kind))
    target = Target(engine="endpoint", model="m", engine_version="0.15.1", url=url)
    with pytest.raises((EngineError, InputError), match=words) as caught:
        await connect(target)
    assert "\n" not in str(caught.value)


async def test_an_endpoint_that_is_down() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        target = Target(engine="endpoint", model="m", engine_version="0.15.1", url=url)
        with pytest.raises(EngineError, match="does not answer"):
            await connect(target)


async def test_the_key_goes_along(
    serve: Callable[[Handler], asyncio.Future[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def handler(request: aiohttp.web.Request) -> aiohttp.web.Response:
        if request.headers.get("Authorization") != "Bearer secret-1":
            return aiohttp.web.Response(status=401)
        if request.path == "/v1/models":
            return aiohttp.web.json_response({"data": [{"id": "m", "max_model_len": 99}]})
        if request.path == "/v1/chat/completions":
            return aiohttp.web.json_response({"choices": [{"text": "x"}]})
        return aiohttp.web.Response(status=404)

    url = await serve(handler)
    target = Target(engine="endpoint", model="m", engine_version="0.15.1", url=url)
    with pytest.raises(EngineError, match="OPENAI_API_KEY"):
        await connect(target)
    monkeypatch.setenv("OPENAI_API_KEY", "secret-1")
    server = await connect(target)
    assert server.effective.max_model_len == 99
    assert "secret-1" not in server.model_dump_json()


@pytest.mark.parametrize(("largest", "found"), [(100_000, None), (4096, 4000), (500, 500), (50, None)])
async def test_token_ids_stay_below_what_the_server_takes(
    serve: Callable[[Handler], asyncio.Future[str]], largest: int, found: int | None
) -> None:
    """A server whose model is not known here, and which refuses ids beyond its vocabulary."""
    seen: list[object] = []

    async def handler(request: aiohttp.web.Request) -> aiohttp.web.Response:
        if request.path == "/v1/models":
            return aiohttp.web.json_response({"data": [{"id": "theirs"}]})
        if request.path == "/v1/completions":
            prompt = (await request.json())["prompt"]
            seen.append(prompt)
            refused = isinstance(prompt, list) and max(prompt) >= largest
            return aiohttp.web.json_response({"choices": [{"text": "x"}]}, status=400 if refused else 200)
        return aiohttp.web.Response(status=404)

    url = await serve(handler)
    server = await connect(Target(engine="endpoint", model="", engine_version="unknown", url=url))
    assert server.vocab_size == found
    assert len(seen) <= 10


@pytest.mark.parametrize("url", ["http://h:1", "http://h:1/", "http://h:1/v1", "http://h:1/v1/chat/completions"])
def test_urls_as_people_write_them(url: str) -> None:
    assert server_root(url) == "http://h:1"


@pytest.mark.parametrize("url", ["h:8000", "ftp://h", "http://", ""])
def test_text_that_is_not_a_url(url: str) -> None:
    with pytest.raises(InputError):
        server_root(url)
