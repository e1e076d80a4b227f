"""Starts a server, reads the configuration that it resolved its flags to, and ends it reliably."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from rooftune.engines import failures, metrics, switching
from rooftune.engines.http_client import api_error, request
from rooftune.engines.launch_spec import (
    choose_port,
    recorded_environment,
    served_name,
    server_command,
    server_environment,
)
from rooftune.engines.logs import log_tail, read_effective
from rooftune.engines.process import GRACE_S, ServerProcess, end_group, spawn
from rooftune.engines.readiness import Say, wait_ready, warm_up
from rooftune.engines.server import EffectiveConfig, ServerInfo
from rooftune.engines.target import Target
from rooftune.engines.urls import server_root
from rooftune.engines.vocabulary import known_vocabulary, vocabulary
from rooftune.errors import EngineError, InputError
from rooftune.files import write_json
from rooftune.runfolder import TrialFolder
from rooftune.vllm_rules.config import EngineConfig

READY_TIMEOUT_S = {"simulated": 60.0, "vllm": 1200.0}
"""A large model with compilation may need many minutes. A stalled server is abandoned earlier (``QUIET_S``)."""
DYING_S = 10.0
"""Limit for the time from the death of vLLM's core to the end of its front end, which took 3.6 s (0.32.0, measured)."""
_ours: dict[int, ServerProcess] = {}


async def start(
    target: Target,
    config: EngineConfig,
    folder: TrialFolder,
    *,
    ready_timeout_s: float | None = None,
    port: int | None = None,
    host: str = "127.0.0.1",
    say: Say | None = None,
    switchable: bool = False,
) -> ServerInfo:
    """Start a simulated or vLLM server, wait until it serves, and write ``server.json``. Its output goes to
    ``server.log``.

    Args:
        switchable: give vLLM the scheduler whose limits can be lowered while it runs (``switching``).

    Raises:
        InputError: the port is taken, or vLLM was not found.
        EngineError: it died, hangs, or was not ready in time; the message says why. No process is left behind.
    """
    begun = _begin(target, config, folder, host, port, switchable=switchable)
    try:
        limit = ready_timeout_s or READY_TIMEOUT_S[target.engine]
        await wait_ready(begun.process, begun.url, served_name(config), begun.clock_s + limit, say)
        effective = await _effective(begun.url, folder.server_log)
    except BaseException:
        await _finish(begun.process)
        raise
    server = ServerInfo(
        engine=target.engine,
        url=begun.url,
        model=served_name(config),
        command=begun.command,
        environment=recorded_environment(begun.environment),
        supervisor_pid=begun.process.pid,
        server_pid=begun.process.server_pid,
        started_at=begun.at,
        ready_after_s=round(time.monotonic() - begun.clock_s, 3),
        log=folder.server_log.name,
        time_scale=target.time_scale if target.simulated else 1.0,
        simulated=target.simulated,
        vocab_size=known_vocabulary(target.model),
        effective=effective,
        switchable=switching.started_limits(log_tail(folder.server_log)) if switchable else None,
    )
    write_json(folder.server_json, server.model_dump())
    return server


@dataclass(frozen=True)
class _Begun:
    """A server whose process runs and which may not answer yet."""

    process: ServerProcess
    command: list[str]
    environment: dict[str, str]
    url: str
    at: float
    """Unix time of the start."""
    clock_s: float
    """The same on the monotonic clock."""


def _begin(
    target: Target, config: EngineConfig, folder: TrialFolder, host: str, port: int | None, *, switchable: bool
) -> _Begun:
    """Start the process of a server.

    Raises:
        InputError: an endpoint cannot be started, the port is taken, or vLLM was not found.
    """
    if target.engine == "endpoint":
        raise InputError(
            "rooftune does not run endpoints and cannot start one; use --engine vllm or --engine simulated."
        )
    chosen = choose_port(port, host)
    run_with = switching.with_scheduler(config) if switchable else config
    command = server_command(target, run_with, host=host, port=chosen)
    environment = server_environment(target, config) | (switching.environment(folder) if switchable else {})
    clock_s, at = time.monotonic(), time.time()
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.server_log.write_bytes(b"")
    process = spawn(command, folder.server_log, environment)
    _ours[process.pid] = process
    return _Begun(process, command, environment, f"http://{host}:{chosen}", at, clock_s)


async def connect(target: Target, folder: TrialFolder | None = None) -> ServerInfo:
    """Inspect a server that someone else runs. The API key is read from ``OPENAI_API_KEY``.

    Raises:
        InputError: the URL is missing, or the server does not serve the model.
        EngineError: the server does not answer, denies access, or is not OpenAI-compatible.
    """
    if target.url is None:
        raise InputError("the endpoint engine needs the URL of a server; set it with --url http://HOST:PORT.")
    began, begun_at = time.monotonic(), time.time()
    url = server_root(target.url)
    reply = await request(url, "/v1/models")
    error = api_error(reply, url)
    if error:
        raise error
    body = reply.json()
    cards = body.get("data") if isinstance(body, dict) else None
    served = [str(c.get("id")) for c in cards if isinstance(c, dict)] if isinstance(cards, list) else []
    if not served:
        raise EngineError(
            f"{url} lists no models at /v1/models; check that it is an OpenAI-compatible server.", "models"
        )
    model = _model_of(target, served, url)
    await warm_up(url, model)
    page = await asyncio.to_thread(metrics.scrape_once, url)
    effective = await _effective(url, None)
    server = ServerInfo(
        engine="endpoint",
        url=url,
        model=model,
        started_at=begun_at,
        ready_after_s=round(time.monotonic() - began, 3),
        simulated=bool(page and "rooftune:simulated" in page),
        time_scale=metrics.parse(page or "").get("rooftune:time_scale", 1.0),
        vocab_size=known_vocabulary(target.model) or await vocabulary(url, model),
        effective=effective,
    )
    if folder:
        write_json(folder.server_json, server.model_dump())
    return server


async def stop(server: ServerInfo) -> int | None:
    """End a server and wait until none of its processes is left, at most about 5 s. Endpoints stay untouched.

    Returns its exit code if this process started it.
    """
    process = _ours.get(server.supervisor_pid or 0)
    if process is not None:
        return await _finish(process)
    if server.supervisor_pid and server.server_pid:
        await asyncio.to_thread(_end_foreign, server.supervisor_pid, server.server_pid)
    return None


def died(server: ServerInfo, folder: TrialFolder | None = None) -> EngineError | None:
    """Why a server that this process started has ended; None while it runs or if this process did not start it."""
    process = _ours.get(server.supervisor_pid or 0)
    code = process.exit_code() if process else None
    if process is None or code is None:
        return None
    return failures.death(log_tail(folder.server_log if folder else process.log), code)


async def died_or_dying(server: ServerInfo, folder: TrialFolder | None = None) -> EngineError | None:
    """Like ``died``, but also recognise a server that is about to end: vLLM's front end outlives its core."""
    if server.supervisor_pid not in _ours:
        return None
    until = time.monotonic() + DYING_S
    while (found := died(server, folder)) is None and time.monotonic() < until:
        if (await request(server.url, "/health", timeout_s=5.0)).status == 200:
            return None
        await asyncio.sleep(0.2)
    return found


@contextlib.asynccontextmanager
async def running(
    target: Target,
    config: EngineConfig,
    folder: TrialFolder,
    *,
    ready_timeout_s: float | None = None,
    port: int | None = None,
    say: Say | None = None,
) -> AsyncIterator[ServerInfo]:
    """Run a server for the length of a block and end it on success, failure and cancellation. Endpoints are only
    inspected."""
    if target.engine == "endpoint":
        yield await connect(target, folder)
        return
    server = await start(target, config, folder, ready_timeout_s=ready_timeout_s, port=port, say=say)
    try:
        yield server
    finally:
        await stop(server)


async def _finish(process: ServerProcess) -> int:
    """Request the stop at once, then wait for the end even if this task is cancelled meanwhile."""
    process.request_stop()
    waiting = asyncio.ensure_future(asyncio.to_thread(process.stop))
    cancelled = False
    while not waiting.done():
        try:
            await asyncio.shield(waiting)
        except asyncio.CancelledError:
            cancelled = True
    _ours.pop(process.pid, None)
    if cancelled:
        raise asyncio.CancelledError
    return waiting.result()


def _end_foreign(supervisor_pid: int, server_pid: int) -> None:
    """End a server that another rooftune process started, after checking that the pid is still its supervisor."""
    import psutil

    try:
        supervisor = psutil.Process(supervisor_pid)
        if not any(word.endswith("supervisor.py") for word in supervisor.cmdline()):
            return
        supervisor.terminate()
        supervisor.wait(GRACE_S + 12.0)
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.TimeoutExpired):
        return
    end_group(server_pid)


async def _effective(url: str, log: Path | None) -> EffectiveConfig:
    models, version, stated = await asyncio.gather(
        request(url, "/v1/models"),
        request(url, "/version"),
        request(url, "/server_info?config_format=json", timeout_s=30.0),
    )
    page = await asyncio.to_thread(metrics.scrape_once, url)
    named = version.json() if version.status == 200 else None
    number = str(named["version"]) if isinstance(named, dict) and "version" in named else None
    info = stated.json() if stated.status == 200 else None
    return read_effective(
        log_tail(log) if log else "",
        page,
        models.json() if models.status == 200 else None,
        number,
        info if isinstance(info, dict) else None,
    )


def _model_of(target: Target, served: list[str], url: str) -> str:
    name = target.flags.get("served_model_name")
    for wanted in (name, target.model):
        if wanted in served:
            return str(wanted)
    if len(served) == 1:
        return served[0]
    raise InputError(f"{url} does not serve {target.model}; choose one of {', '.join(served[:8])} with --model.")
