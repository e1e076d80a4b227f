"""Start a server, wait until it has answered a request, read what it resolved its flags to, and end it for certain."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from rooftune.engines import failures, metrics
from rooftune.engines.ask import ask, base_url, explain, one_completion, said
from rooftune.engines.commands import choose_port, recorded_environment, served_name, server_command, server_environment
from rooftune.engines.logs import read_effective
from rooftune.engines.process import GRACE_S, ServerProcess, end_group, spawn
from rooftune.engines.server import EffectiveConfig, ServerInfo
from rooftune.engines.target import Target
from rooftune.engines.vocabulary import known_vocabulary, vocabulary
from rooftune.errors import EngineError, InputError
from rooftune.files import write_json
from rooftune.runfolder import TrialFolder
from rooftune.vllm_rules.config import EngineConfig

READY_TIMEOUT_S = {"simulated": 60.0, "vllm": 1200.0}
"""A large model with compilation may need many minutes; a server that makes no progress is given up earlier (QUIET_S)."""
QUIET_S = 300.0
"""No line in the log and no CPU time used for so long means that the server hangs."""
WARM_UP_TIMEOUT_S = 180.0
DYING_S = 10.0
"""From the death of its core to the end of vLLM's front: 3.6 s (0.32.0, measured)."""
Said = Callable[[str], None]
"""Told a short text now and then while a server starts."""
_ours: dict[int, ServerProcess] = {}


async def start(
    target: Target,
    config: EngineConfig,
    folder: TrialFolder,
    *,
    ready_timeout_s: float | None = None,
    port: int | None = None,
    host: str = "127.0.0.1",
    say: Said | None = None,
) -> ServerInfo:
    """Start a simulated or vLLM server, wait until it serves, and write ``server.json``. Its output goes to ``server.log``.

    Raises:
        InputError: the port is taken, or there is no vLLM here.
        EngineError: it died, hangs, or did not serve in time; the sentence says why. No process is left then.
    """
    if target.engine == "endpoint":
        raise InputError("an endpoint is run by someone else and cannot be started; use --engine vllm or simulated.")
    chosen = choose_port(port, host)
    command = server_command(target, config, host=host, port=chosen)
    environment = server_environment(target, config)
    began, begun_at = time.monotonic(), time.time()
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.server_log.write_bytes(b"")
    process = spawn(command, folder.server_log, environment)
    _ours[process.pid] = process
    url = f"http://{host}:{chosen}"
    try:
        limit = ready_timeout_s or READY_TIMEOUT_S[target.engine]
        await _wait_ready(process, url, served_name(config), began + limit, say)
        effective = await _effective(url, folder.server_log, target)
    except BaseException:
        await _finish(process)
        raise
    server = ServerInfo(
        engine=target.engine,
        url=url,
        model=served_name(config),
        command=command,
        environment=recorded_environment(environment),
        supervisor_pid=process.pid,
        server_pid=process.server_pid,
        started_at=begun_at,
        ready_after_s=round(time.monotonic() - began, 3),
        log=folder.server_log.name,
        time_scale=target.time_scale if target.simulated else 1.0,
        simulated=target.simulated,
        vocab_size=known_vocabulary(target.model),
        effective=effective,
    )
    write_json(folder.server_json, server.model_dump())
    return server


async def connect(target: Target, folder: TrialFolder | None = None) -> ServerInfo:
    """Look at a server that someone else runs. The API key is read from ``OPENAI_API_KEY``.

    Raises:
        InputError: no URL, or the server does not serve that model.
        EngineError: it does not answer, refuses us, or is no OpenAI-compatible server.
    """
    if target.url is None:
        raise InputError("the endpoint engine needs the URL of a server; give it with --url http://HOST:PORT.")
    began, begun_at = time.monotonic(), time.time()
    url = base_url(target.url)
    answer = await ask(url, "/v1/models")
    wrong = explain(answer, url)
    if wrong:
        raise wrong
    body = answer.json()
    cards = body.get("data") if isinstance(body, dict) else None
    served = [str(c.get("id")) for c in cards if isinstance(c, dict)] if isinstance(cards, list) else []
    if not served:
        raise EngineError(f"{url} names no model at /v1/models; is it an OpenAI-compatible server?", "models")
    model = _model_of(target, served, url)
    await _warm_up(url, model)
    page = await asyncio.to_thread(metrics.scrape_once, url)
    about = await _effective(url, None, target)
    server = ServerInfo(
        engine="endpoint",
        url=url,
        model=model,
        started_at=begun_at,
        ready_after_s=round(time.monotonic() - began, 3),
        simulated=bool(page and "rooftune:simulated" in page),
        time_scale=metrics.parse(page or "").get("rooftune:time_scale", 1.0),
        vocab_size=known_vocabulary(target.model) or await vocabulary(url, model),
        effective=about,
    )
    if folder:
        write_json(folder.server_json, server.model_dump())
    return server


async def stop(server: ServerInfo) -> int | None:
    """End a server and wait until none of its processes is left (at most about 5 s). Nothing is done to an endpoint.

    Returns its exit code, where this process started it.
    """
    process = _ours.get(server.supervisor_pid or 0)
    if process is not None:
        return await _finish(process)
    if server.supervisor_pid and server.server_pid:
        await asyncio.to_thread(_end_foreign, server.supervisor_pid, server.server_pid)
    return None


def died(server: ServerInfo, folder: TrialFolder | None = None) -> EngineError | None:
    """Why a server that we started is gone; None while it lives (or was never ours)."""
    process = _ours.get(server.supervisor_pid or 0)
    code = process.exit_code() if process else None
    if process is None or code is None:
        return None
    return failures.death(_read(folder.server_log if folder else process.log), code)


async def gone(server: ServerInfo, folder: TrialFolder | None = None) -> EngineError | None:
    """As ``died``, but a server that is about to go counts too: vLLM's front lives on for seconds after its core died."""
    if server.supervisor_pid not in _ours:
        return None
    until = time.monotonic() + DYING_S
    while (found := died(server, folder)) is None and time.monotonic() < until:
        if (await ask(server.url, "/health", timeout_s=5.0)).status == 200:
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
    say: Said | None = None,
) -> AsyncIterator[ServerInfo]:
    """A server for the length of a block; ended on success, failure and cancellation alike. Endpoints are only looked at."""
    if target.engine == "endpoint":
        yield await connect(target, folder)
        return
    server = await start(target, config, folder, ready_timeout_s=ready_timeout_s, port=port, say=say)
    try:
        yield server
    finally:
        await stop(server)


async def _finish(process: ServerProcess) -> int:
    """Order the end at once, then wait for it, also when we are being cancelled meanwhile."""
    process.let_go()
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
    """End a server that another process of ours started, if it is still that one."""
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


async def _wait_ready(process: ServerProcess, url: str, model: str, deadline: float, say: Said | None) -> None:
    """Until ``/health`` answers 200 and a completion came back."""
    progress = _Progress(process)
    pause = 0.05
    while True:
        _raise_if_dead(process)
        if (await ask(url, "/health", timeout_s=5.0)).status == 200:
            break
        now = time.monotonic()
        if now > deadline or progress.quiet_for() > QUIET_S:
            raise _hangs(process, progress.quiet_for())
        if say:
            say(progress.last_line())
        await asyncio.sleep(pause)
        pause = min(0.5, pause * 1.3)
    try:
        await _warm_up(url, model)
    except EngineError:
        await asyncio.sleep(0.3)
        _raise_if_dead(process)
        raise


async def _warm_up(url: str, model: str) -> None:
    """One completion must come back; a server that knows only chat is asked for that."""
    answer = await one_completion(url, model, timeout_s=WARM_UP_TIMEOUT_S)
    if answer.status == 404:
        answer = await one_completion(url, model, timeout_s=WARM_UP_TIMEOUT_S, chat=True)
    if answer.status == 0:
        raise EngineError(f"{url} took the warm-up request but did not answer it ({answer.text}).", "hang")
    wrong = explain(answer, url)
    if wrong:
        raise wrong
    body = answer.json()
    if not isinstance(body, dict) or not body.get("choices"):
        raise EngineError(f"{url} answered the warm-up request without a completion: {said(answer)}.", "http")


class _Progress:
    """Whether a starting server does anything: its log grows or its processes use the CPU."""

    def __init__(self, process: ServerProcess) -> None:
        self.process = process
        self.size, self.cpu_s, self.since = -1, -1.0, time.monotonic()

    def quiet_for(self) -> float:
        """Seconds since the last sign of life."""
        size, cpu_s = self.process.log.stat().st_size, _cpu_seconds(self.process.server_pid)
        if size != self.size or cpu_s > self.cpu_s + 0.5:
            self.size, self.cpu_s, self.since = size, cpu_s, time.monotonic()
        return time.monotonic() - self.since

    def last_line(self) -> str:
        """The newest line of its log, without the prefix."""
        lines = [x for x in _read(self.process.log, 4096).splitlines() if x.strip()]
        return lines[-1].split("] ", 1)[-1].strip()[:120] if lines else ""


def _cpu_seconds(pid: int) -> float:
    """CPU time of a process and its children so far."""
    import psutil

    total = 0.0
    with contextlib.suppress(psutil.Error):
        leader = psutil.Process(pid)
        for one in [leader, *leader.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                times = one.cpu_times()
                total += times.user + times.system
    return total


def _raise_if_dead(process: ServerProcess) -> None:
    code = process.exit_code()
    if code is None:
        return
    found = failures.classify(_read(process.log), code)
    raise found or EngineError(
        f"the engine ended with exit code {code} before it served; see the end of {process.log.name}.", "died"
    )


def _hangs(process: ServerProcess, quiet_s: float) -> EngineError:
    text = _read(process.log)
    known = failures.classify(text, None)
    if known:
        return known
    last = [x for x in text.splitlines() if x.strip()][-1:]
    if quiet_s > QUIET_S:
        why = f"the engine hangs: no line in its log and no CPU time for {quiet_s:.0f} s"
    else:
        why = "the engine was not ready in time"
    return EngineError(f"{why}; see {process.log.name}, or allow more time with --ready-timeout.", "hang", tuple(last))


async def _effective(url: str, log: Path | None, target: Target) -> EffectiveConfig:
    models, version, stated = await asyncio.gather(
        ask(url, "/v1/models"), ask(url, "/version"), ask(url, "/server_info?config_format=json", timeout_s=30.0)
    )
    page = await asyncio.to_thread(metrics.scrape_once, url)
    named = version.json() if version.status == 200 else None
    number = str(named["version"]) if isinstance(named, dict) and "version" in named else None
    info = stated.json() if stated.status == 200 else None
    return read_effective(
        _read(log) if log else "",
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
    raise InputError(f"{url} does not serve {target.model}; name one of {', '.join(served[:8])} with --model.")


def _read(path: Path, most: int = 4 * 2**20) -> str:
    """The end of a log, at most ``most`` bytes."""
    try:
        with path.open("rb") as handle:
            handle.seek(0, os.SEEK_END)
            handle.seek(max(0, handle.tell() - most))
            return handle.read().decode(errors="replace")
    except OSError:
        return ""
