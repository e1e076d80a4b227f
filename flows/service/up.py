"""``rooftune up`` and ``down``: Prefect's server, work pool, deployments, limits and worker on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from flows.inputs.home import home
from flows.service import local
from flows.service.stack import Daemon, PrefectStack, end, launch
from rooftune.errors import InputError, RooftuneError
from rooftune.files import as_model, read_json, write_json, write_text
from rooftune.shipped import PREFECT_YAML, shipped

POOL = "rooftune"
Say = Callable[[str], None]
"""Called with a few words about the current step."""
PROFILES = "profiles.toml"
WORKER_START_S = 90.0


def project_file() -> Path:
    """The deployments: ``prefect.yaml`` in the current folder, else the one that comes with rooftune."""
    own = Path(PREFECT_YAML)
    return own if own.is_file() else shipped(PREFECT_YAML)


def state_file() -> Path:
    """The pids of what was started."""
    return home() / "up.json"


def up(port: int, say: Say) -> PrefectStack:
    """Start what is missing and describe it. If anything fails, everything that was started is stopped again.

    Raises:
        InputError: the port is taken.
        RooftuneError: the server, the deployments or the worker could not be started.
    """
    running = local.running()
    if running and running.alive():
        return running
    if running or state_file().is_file():
        down(say)
    if not _free(port):
        raise InputError(f"port {port} on 127.0.0.1 is taken; choose another with --port (make up PORT=4300).")
    api, started = f"http://127.0.0.1:{port}/api", time.monotonic()
    local.settle()
    os.environ["PREFECT_API_URL"] = api
    with _or_down(say):
        stack = PrefectStack(api=api, ui=f"http://127.0.0.1:{port}")
        say("starting Prefect's server")
        _server(stack, port)
        say("creating the work pool and the limits")
        asyncio.run(_prepare())
        say("starting the worker, deploying prefect.yaml")
        stack.worker = _launched("worker", [sys.executable, "-m", "prefect", *_worker()], {})
        _record(stack)
        _deploy()
        asyncio.run(_wait_worker(stack.worker))
        stack.deployments = asyncio.run(_deployments())
        stack.started_in_s = round(time.monotonic() - started, 1)
        _record(stack)
        write_profile(api)
    return stack


def down(say: Say) -> bool:
    """Stop the worker and the server; interrupted runs can be retried later. False if nothing was running."""
    try:
        stack = as_model(read_json(state_file()), PrefectStack, str(state_file()))
    except RooftuneError:
        return False
    found = False
    local.settle()
    if stack.worker:
        say("stopping the worker")
        found |= end(stack.worker)
    if local.healthy(stack.api):
        os.environ["PREFECT_API_URL"] = stack.api
        with contextlib.suppress(Exception):
            from tasks.orphans import mark_crashed

            asyncio.run(mark_crashed())
    say("stopping Prefect's server")
    found |= stack.server is not None and end(stack.server)
    profile().unlink(missing_ok=True)
    state_file().unlink(missing_ok=True)
    return found


def profile() -> Path:
    """Prefect's profiles. ``pyproject.toml`` names this file, so ``prefect`` reads it in the checkout."""
    return local.prefect_home() / PROFILES


def write_profile(api: str) -> None:
    """Let ``prefect`` use this server when it is run in the checkout."""
    write_text(profile(), f'active = "rooftune"\n\n[profiles.rooftune]\nPREFECT_API_URL = "{api}"\n')


@contextlib.contextmanager
def _or_down(say: Say) -> Iterator[None]:
    try:
        yield
    except BaseException:
        down(say)
        raise


def _server(stack: PrefectStack, port: int) -> None:
    log = home() / "logs" / "server.log"
    local.prefect_home().mkdir(parents=True, exist_ok=True)
    words = ["server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with local.alone():
        stack.server = _launched("server", [sys.executable, "-m", "prefect", *words], {"PREFECT_UI_API_URL": stack.api})
        _record(stack)
        deadline = time.monotonic() + local.START_S
        import prefect.main  # noqa: F401  (takes two seconds, while the server starts)

        while not local.healthy(stack.api):
            if not stack.server.alive():
                raise RooftuneError(f"Prefect's server ended before it answered; see the end of {log}.")
            if time.monotonic() > deadline:
                raise RooftuneError(f"Prefect's server did not answer within {local.START_S:.0f} s; see {log}.")
            time.sleep(0.2)


def _worker() -> list[str]:
    return ["worker", "start", "--pool", POOL, "--type", "process", "--name", socket.gethostname()]


def _launched(name: str, command: list[str], environment: dict[str, str]) -> Daemon:
    return launch(command, home() / "logs" / f"{name}.log", environment)


def _record(stack: PrefectStack) -> None:
    """Write the pids at once, so that `down` finds the processes whatever happens next."""
    write_json(state_file(), stack.model_dump(exclude_none=True))


async def _prepare() -> None:
    """Create the work pool and a limit for each device of this machine, and mark orphaned runs as crashed."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.workers.process import ProcessWorker

    from tasks.machine import limit_name, local_devices
    from tasks.orphans import mark_crashed

    pool = WorkPoolCreate(
        name=POOL,
        type="process",
        description="Runs of rooftune as processes on this machine",
        base_job_template=ProcessWorker.get_default_base_job_template(),
    )
    async with get_client() as client:
        await client.create_work_pool(pool, overwrite=True)
        for device in local_devices():
            await client.upsert_global_concurrency_limit_by_name(limit_name(device), 1)
    await mark_crashed()


def _deploy() -> None:
    log = home() / "logs" / "deploy.log"
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(project_file())]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    write_text(log, done.stdout + done.stderr)
    if done.returncode:
        last = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()][-1:]
        raise RooftuneError(f"deploying {project_file()} failed ({' '.join(last).strip()}); see {log}.")


async def _wait_worker(worker: Daemon) -> None:
    """Wait until the worker has reported to the server."""
    from prefect.client.orchestration import get_client

    log, deadline = home() / "logs" / "worker.log", time.monotonic() + WORKER_START_S
    async with get_client() as client:
        while True:
            found = await client.read_workers_for_work_pool(POOL)
            if any(w.status == "ONLINE" for w in found):
                return
            if not worker.alive():
                raise RooftuneError(f"Prefect's worker ended before it was ready; see the end of {log}.")
            if time.monotonic() > deadline:
                raise RooftuneError(f"Prefect's worker was not ready within {WORKER_START_S:.0f} s; see {log}.")
            await asyncio.sleep(0.3)


async def _deployments() -> list[str]:
    from prefect.client.orchestration import get_client

    async with get_client() as client:
        found = await client.read_deployments()
        flows = {f.id: f.name for f in await client.read_flows()}
    return sorted(f"{flows[d.flow_id]}/{d.name}" for d in found)


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
