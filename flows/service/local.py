"""The local Prefect: its settings, and a server of our own that always ends with this process."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
import urllib.request
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from flows.inputs.home import home
from flows.service.stack import PrefectStack
from rooftune.errors import RooftuneError

if TYPE_CHECKING:
    from rooftune.engines.process import ServerProcess

START_S = 180.0
"""Longest wait for the server to start; with a new database it takes 15 to 25 s on two cores."""
HAND_OVER_S = 15.0
OWN_SERVER = "ROOFTUNE_OWN_SERVER"
"""Set in a process that has its own Prefect server, so that no other run can be in its queue."""


def prefect_home() -> Path:
    """Where the local Prefect keeps its database, results and settings."""
    return Path(os.environ.get("PREFECT_HOME") or home() / "prefect")


def environment() -> dict[str, str]:
    """Prefect's settings for rooftune, except those that the user has set in the environment."""
    wanted = {
        "PREFECT_HOME": str(prefect_home()),
        "PREFECT_PROFILES_PATH": str(prefect_home() / "profiles.toml"),
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": f"{START_S:.0f}",
        "PREFECT_API_REQUEST_TIMEOUT": "120",
        "PREFECT_SERVER_DATABASE_TIMEOUT": "60",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "PYTHONWARNINGS": "ignore",
    }
    return {k: v for k, v in wanted.items() if k not in os.environ}


def settle() -> None:
    """Apply Prefect's settings to this process. Call it before Prefect is imported."""
    os.environ.update(environment())
    warnings.filterwarnings("ignore", message="Failed to create the Prefect home directory")


def running() -> PrefectStack | None:
    """What ``rooftune up`` started, if its server answers."""
    try:
        stack = PrefectStack.model_validate_json((home() / "up.json").read_bytes())
    except (OSError, ValueError):
        return None
    return stack if healthy(stack.api) else None


def healthy(api: str) -> bool:
    """Whether a Prefect server answers at this API address."""
    try:
        with urllib.request.urlopen(f"{api}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except (OSError, ValueError):
        return False


@contextlib.contextmanager
def server(*, quiet: bool = True) -> Iterator[str]:
    """A Prefect API for the length of a block; yields its address as soon as it answers.

    It is the server of ``PREFECT_API_URL`` or of ``rooftune up`` if there is one, else one of our own on the same
    database. Our own runs under the supervisor that also runs engines, so it ends whenever this process ends. Enter the
    block before Prefect is imported, because Prefect reads its settings then.
    """
    settle()
    if quiet:
        os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    given = os.environ.get("PREFECT_API_URL")
    found = None if given else running()
    if not given and found is None:
        with own_server() as api:
            yield api
        return
    api = given or str(found and found.api)
    if not healthy(api):
        raise RooftuneError(f"the Prefect server at {api} does not answer; start it or unset PREFECT_API_URL.")
    os.environ["PREFECT_API_URL"] = api
    yield api


@contextlib.contextmanager
def own_server() -> Iterator[str]:
    from rooftune.engines.process import spawn

    log = home() / "logs" / "prefect-server.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    prefect_home().mkdir(parents=True, exist_ok=True)
    if log.is_file() and log.stat().st_size > 2**22:
        log.unlink()
    with contextlib.ExitStack() as stack:
        with alone():
            port = free_port()
            api = f"http://127.0.0.1:{port}/api"
            process = spawn(_command(port), log, {"PREFECT__SERVER_EPHEMERAL": "1", "PREFECT_UI_ENABLED": "0"})
            stack.callback(process.stop)
            os.environ |= {"PREFECT_API_URL": api, OWN_SERVER: "1"}
            stack.callback(os.environ.pop, "PREFECT_API_URL", None)
            stack.callback(os.environ.pop, OWN_SERVER, None)
            import prefect.main  # noqa: F401  (takes two seconds, while the server starts)

            _wait(api, process, log)
        stack.callback(_hand_over)
        yield api


def _hand_over() -> None:
    """Let Prefect send its pending events and logs before its server ends."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for service in (EventsWorker, APILogWorker):
        with contextlib.suppress(Exception):
            service.drain_all(timeout=HAND_OVER_S)


def _command(port: int) -> list[str]:
    app = "prefect.server.api.server:create_app"
    words = [sys.executable, "-m", "uvicorn", "--factory", app, "--host", "127.0.0.1", "--port", str(port)]
    return [*words, "--log-level", "error", "--lifespan", "on"]


def _wait(api: str, process: ServerProcess, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while not healthy(api):
        code = process.exit_code()
        if code is not None:
            raise RooftuneError(
                f"Prefect's server ended with exit code {code} before it answered; see the end of {log}."
            )
        if time.monotonic() > deadline:
            raise RooftuneError(f"Prefect's server did not answer within {START_S:.0f} s; see the end of {log}.")
        time.sleep(0.1)


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Only one process at a time creates or migrates the database."""
    import fcntl

    with (prefect_home() / "start.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def free_port() -> int:
    """A free port of this host."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
