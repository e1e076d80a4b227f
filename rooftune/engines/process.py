"""The owner's side of a supervised server: start it, check whether it runs, end it. See ``supervisor`` for the other
side."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from rooftune.errors import EngineError

SUPERVISOR = Path(__file__).with_name("supervisor.py")
GRACE_S = 2.5
"""Time from SIGTERM to SIGKILL. vLLM 0.32 ends 0.3 s after SIGTERM (measured). The documented limit for the whole stop
is 5 s."""


@dataclass
class ServerProcess:
    """A server under its supervisor."""

    supervisor: subprocess.Popen[bytes]
    server_pid: int
    log: Path

    @property
    def pid(self) -> int:
        """Pid of the supervisor."""
        return self.supervisor.pid

    def exit_code(self) -> int | None:
        """None while it runs; 128 + n when a signal ended it."""
        return self.supervisor.poll()

    def request_stop(self) -> None:
        """Request the stop and return at once. The supervisor does the rest, even if this process dies."""
        if self.supervisor.stdin and not self.supervisor.stdin.closed:
            self.supervisor.stdin.close()

    def stop(self, timeout_s: float = GRACE_S + 12.0) -> int:
        """Request the stop and wait until every process of the server has ended; return its exit code. Blocking.

        A running server gets SIGTERM, so call ``exit_code`` first to learn whether it has already ended.
        """
        self.request_stop()
        try:
            code = self.supervisor.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.supervisor.kill()
            code = self.supervisor.wait()
        if self.supervisor.stdout:
            self.supervisor.stdout.close()
        end_group(self.server_pid)
        return code


def spawn(
    command: list[str], log: Path, environment: dict[str, str], *, folder: Path | None = None, grace_s: float = GRACE_S
) -> ServerProcess:
    """Start ``command`` under a supervisor. All its output is appended to ``log``.

    Raises:
        EngineError: the supervisor did not start.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        supervisor = subprocess.Popen(
            [sys.executable, "-I", "-S", str(SUPERVISOR), str(log.resolve()), str(grace_s), str(os.getpid()), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            env={**os.environ, **environment},
            cwd=folder,
            start_new_session=True,
        )
    assert supervisor.stdout is not None
    words = supervisor.stdout.readline().split()
    if len(words) != 2 or words[0] != b"started":
        supervisor.kill()
        supervisor.wait()
        raise EngineError("the server's supervisor did not start; see the end of server.log.", "died")
    return ServerProcess(supervisor, int(words[1]), log)


def end_group(group: int) -> None:
    """Kill what is left of a process group: nothing, unless the supervisor itself was killed."""
    for _ in range(50):
        try:
            os.killpg(group, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            return
        time.sleep(0.02)
