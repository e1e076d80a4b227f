"""``make up`` and ``make down``: Prefect's server, work pool, deployments, limits and worker on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flows.cli import terminal
from flows.service import local
from flows.service.stack import Daemon, end, launch
from rooftune.errors import InputError, RooftuneError
from rooftune.files import read_json, write_json, write_text
from rooftune.shipped import PREFECT_YAML, shipped

POOL = "rooftune"
PROFILES = "profiles.toml"
WORKER_START_S = 90.0


def project_file() -> Path:
    """The deployments: ``prefect.yaml`` in the current folder, else the one that comes with rooftune."""
    own = Path(PREFECT_YAML)
    return own if own.is_file() else shipped(PREFECT_YAML)


def state_file() -> Path:
    """What is up, by pid."""
    return terminal.home() / "up.json"


def up(port: int, say: terminal.Say) -> dict[str, Any]:
    """Start what is missing and return its description; everything started is ended again when that fails.

    Raises:
        InputError: the port is taken.
        RooftuneError: server, deployments or worker did not come up.
    """
    there = local.running()
    if there and _daemon(there, "server").alive() and _daemon(there, "worker").alive():
        return there
    if there or state_file().is_file():
        down(say)
    if not _free(port):
        raise InputError(f"port {port} on 127.0.0.1 is taken; name another one with --port (make up PORT=4300).")
    api, started = f"http://127.0.0.1:{port}/api", time.monotonic()
    local.settle()
    os.environ["PREFECT_API_URL"] = api
    with _or_down(say):
        about: dict[str, Any] = {"api": api, "ui": f"http://127.0.0.1:{port}"}
        say("starting Prefect's server")
        _server(about, port)
        say("making the work pool and the limits")
        asyncio.run(_prepare())
        say("starting the worker, deploying prefect.yaml")
        _note(about, "worker", [sys.executable, "-m", "prefect", *_worker()], {})
        _deploy()
        asyncio.run(_wait_worker(_daemon(about, "worker")))
        about |= {"deployments": asyncio.run(_deployments()), "started_in_s": round(time.monotonic() - started, 1)}
        write_json(state_file(), about)
        write_profile(api)
    return about


def down(say: terminal.Say) -> bool:
    """End worker and server by pid; runs that were in flight can be retried later. False when nothing was up."""
    try:
        about = read_json(state_file())
    except RooftuneError:
        return False
    found = False
    local.settle()
    if "worker" in about:
        say("ending the worker")
        found |= end(_daemon(about, "worker"))
    if local.healthy(about["api"]):
        os.environ["PREFECT_API_URL"] = about["api"]
        with contextlib.suppress(Exception):
            from tasks.orphans import mark_crashed

            asyncio.run(mark_crashed())
    say("ending Prefect's server")
    found |= end(_daemon(about, "server"))
    profile().unlink(missing_ok=True)
    state_file().unlink(missing_ok=True)
    return found


def profile() -> Path:
    """Prefect's profiles of this checkout; ``pyproject.toml`` names it, so ``prefect`` reads it in the checkout."""
    return local.prefect_home() / PROFILES


def write_profile(api: str) -> None:
    """Let ``prefect`` talk to this server when it is run in the checkout without any environment."""
    write_text(profile(), f'active = "rooftune"\n\n[profiles.rooftune]\nPREFECT_API_URL = "{api}"\n')


@contextlib.contextmanager
def _or_down(say: terminal.Say) -> Iterator[None]:
    try:
        yield
    except BaseException:
        down(say)
        raise


def _server(about: dict[str, Any], port: int) -> None:
    log = terminal.home() / "logs" / "server.log"
    local.prefect_home().mkdir(parents=True, exist_ok=True)
    words = ["server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with local.alone():
        _note(about, "server", [sys.executable, "-m", "prefect", *words], {"PREFECT_UI_API_URL": about["api"]})
        deadline = time.monotonic() + local.START_S
        import prefect.main  # noqa: F401  (takes two seconds, which the server needs anyhow)

        while not local.healthy(about["api"]):
            if not _daemon(about, "server").alive():
                raise RooftuneError(f"Prefect's server ended before it answered; see the end of {log}.")
            if time.monotonic() > deadline:
                raise RooftuneError(f"Prefect's server did not answer within {local.START_S:.0f} s; see {log}.")
            time.sleep(0.2)


def _worker() -> list[str]:
    return ["worker", "start", "--pool", POOL, "--type", "process", "--name", socket.gethostname()]


def _note(about: dict[str, Any], name: str, command: list[str], environment: dict[str, str]) -> None:
    """Start a process and write its pid down at once, so that `down` finds it whatever happens next."""
    about[name] = launch(command, terminal.home() / "logs" / f"{name}.log", environment).model_dump()
    write_json(state_file(), about)


def _daemon(about: dict[str, Any], name: str) -> Daemon:
    return Daemon.model_validate(about.get(name) or {"pid": 0, "created": 0.0})


async def _prepare() -> None:
    """Work pool, one slot for each device of this machine, and no runs that only seem to run."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.workers.process import ProcessWorker

    from tasks.machine import limit_name, local_devices
    from tasks.orphans import mark_crashed

    pool = WorkPoolCreate(
        name=POOL,
        type="process",
        description="Runs of rooftune, as processes on this machine",
        base_job_template=ProcessWorker.get_default_base_job_template(),
    )
    async with get_client() as client:
        await client.create_work_pool(pool, overwrite=True)
        for device in local_devices():
            await client.upsert_global_concurrency_limit_by_name(limit_name(device), 1)
    await mark_crashed()


def _deploy() -> None:
    log = terminal.home() / "logs" / "deploy.log"
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(project_file())]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    write_text(log, done.stdout + done.stderr)
    if done.returncode:
        last = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()][-1:]
        raise RooftuneError(f"deploying {project_file()} failed ({' '.join(last).strip()}); see {log}.")


async def _wait_worker(worker: Daemon) -> None:
    """Wait until the server has heard from the worker."""
    from prefect.client.orchestration import get_client

    log, deadline = terminal.home() / "logs" / "worker.log", time.monotonic() + WORKER_START_S
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
