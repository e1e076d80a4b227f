"""Processes that outlive the command that started them: Prefect's server and worker of ``rooftune up``."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    import psutil

GRACE_S = 10.0


class Daemon(BaseModel):
    """A process that we started; its start time distinguishes it from a later one with the same pid."""

    model_config = ConfigDict(frozen=True)
    pid: int
    created: float

    def alive(self) -> bool:
        """Whether it is still running."""
        return self._process() is not None

    def _process(self) -> object | None:
        import psutil

        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.created) < 1.0 and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return None
        return process if same else None


class PrefectStack(BaseModel):
    """What ``rooftune up`` started: content of up.json."""

    model_config = ConfigDict(extra="ignore")
    api: str
    ui: str = ""
    server: Daemon | None = None
    worker: Daemon | None = None
    deployments: list[str] = Field(default_factory=list)
    started_in_s: float | None = None

    def alive(self) -> bool:
        """Whether both processes are running."""
        return all(daemon is not None and daemon.alive() for daemon in (self.server, self.worker))


def launch(command: list[str], log: Path, environment: dict[str, str]) -> Daemon:
    """Start a process in its own session, with all its output in ``log`` and without ignoring Ctrl-C.

    A shell without job control lets its background jobs ignore SIGINT. A Prefect worker that inherits this also
    ignores SIGTERM.
    """
    import psutil

    log.parent.mkdir(parents=True, exist_ok=True)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with log.open("ab") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
                start_new_session=True,
            )
    finally:
        signal.signal(signal.SIGINT, before)
    return Daemon(pid=process.pid, created=psutil.Process(process.pid).create_time())


def end(daemon: Daemon, grace_s: float = GRACE_S) -> bool:
    """End a process and its children: SIGTERM, then SIGKILL after ``grace_s``. False if it had already ended."""
    import psutil

    process = daemon._process()
    if not isinstance(process, psutil.Process):
        return False
    with contextlib.suppress(psutil.NoSuchProcess):
        family = [process, *process.children(recursive=True)]
        process.terminate()
        for one in _left(family, grace_s):
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        _left(family, grace_s)
    return True


def _left(family: list[psutil.Process], within_s: float) -> list[psutil.Process]:
    """Wait until all have ended (a zombie has ended); returns those that have not."""
    deadline = time.monotonic() + within_s
    while (living := [p for p in family if _lives(p)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    return living


def _lives(process: psutil.Process) -> bool:
    import psutil

    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
