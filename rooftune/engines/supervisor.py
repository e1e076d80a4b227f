"""A small process that owns one server and ends all of it when its own owner dies, for whatever reason including ``kill
-9``.

It runs by file path, ``python -I -S supervisor.py LOG GRACE_S OWNER_PID COMMAND...``, and imports nothing of
rooftune, so it starts in about 20 ms. Its standard input is a pipe whose other end the owner holds. Nothing is ever
written to it; when it closes, the supervisor stops the server. The first line on standard output is ``started PID``.
The supervisor then runs as long as the server and exits with the server's code (128 + n after signal n).

To end a server, it sends SIGTERM to the leader. After the grace period, or once the leader has ended, it sends
SIGKILL to the process group and to every other descendant. It also finds descendants that left the group or lost
their parent, because Linux reparents them to the supervisor (``PR_SET_CHILD_SUBREAPER``). If the supervisor itself
is killed, the kernel kills the leader (``PR_SET_PDEATHSIG``).
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time

SET_PDEATHSIG, SET_CHILD_SUBREAPER = 1, 36
POLL_S = 0.1
UNKILLABLE_S = 10.0
"""How long to retry on processes that SIGKILL does not end at once because they are blocked in a driver."""
NOT_STARTED = 127


def control(option: int, value: int) -> None:
    """Call ``prctl``, which only Linux has."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def start(command: list[str], log: str) -> int:
    """Start the server in a new session with all its output in ``log``; return its pid, which is also its process
    group."""
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    pid = os.fork()
    if pid:
        os.close(output)
        os.close(nothing)
        return pid
    try:
        os.setsid()
        control(SET_PDEATHSIG, signal.SIGKILL)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        for source, target in ((nothing, 0), (output, 1), (output, 2)):
            os.dup2(source, target)
        os.execvp(command[0], command)
    except OSError as error:
        os.write(2, f"rooftune: {command[0]} could not be started: {error.strerror}\n".encode())
    os._exit(NOT_STARTED)


def children() -> dict[int, list[int]]:
    """Map each visible pid to its living children; empty without ``/proc``."""
    found: dict[int, list[int]] = {}
    for name in filter(str.isdigit, os.listdir("/proc") if os.path.isdir("/proc/self") else ()):
        try:
            with open(f"/proc/{name}/stat", "rb") as handle:
                fields = handle.read().rpartition(b")")[2].split()
        except OSError:
            continue
        if fields[0] != b"Z":
            found.setdefault(int(fields[1]), []).append(int(name))
    return found


def descendants(pid: int) -> list[int]:
    """All processes below ``pid``, nearest first."""
    tree, found = children(), [pid]
    for one in found:
        found += tree.get(one, [])
    return found[1:]


def send(number: int, group: int) -> None:
    """Send a signal to the server's group and to every descendant of the supervisor."""
    try:
        os.killpg(group, number)
    except OSError:
        pass
    for pid in descendants(os.getpid()):
        try:
            os.kill(pid, number)
        except OSError:
            pass


class Supervisor:
    """Runs one server from its start to the end of its last process."""

    def __init__(self, log: str, grace_s: float, owner: int) -> None:
        self.log, self.grace_s, self.owner = log, grace_s, owner
        self.group = 0
        self.code: int | None = None
        self.stopping = False

    def on_signal(self, *_: object) -> None:
        """Signal handler: stop as soon as possible."""
        self.stopping = True

    def reap(self) -> None:
        """Reap ended processes and keep the leader's exit code."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.group:
                self.code = os.waitstatus_to_exitcode(status)

    def owner_is_gone(self) -> bool:
        """Whether the pipe is closed or the owner is no longer the parent. A forked child of the owner may hold the
        pipe open."""
        ready, _, _ = select.select([0], [], [], POLL_S)
        return os.getppid() != self.owner or (bool(ready) and not os.read(0, 64))

    def end(self) -> None:
        """Stop the server and all its descendants."""
        deadline = time.monotonic() + self.grace_s
        if self.code is None:
            os.kill(self.group, signal.SIGTERM)
        while self.code is None and time.monotonic() < deadline:
            self.reap()
            time.sleep(0.01)
        deadline = time.monotonic() + UNKILLABLE_S
        send(signal.SIGKILL, self.group)
        while descendants(os.getpid()) and time.monotonic() < deadline:
            send(signal.SIGKILL, self.group)
            self.reap()
            time.sleep(0.01)
        self.reap()

    def run(self, command: list[str]) -> int:
        """Run the server; return its exit code."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self.on_signal)
        control(SET_CHILD_SUBREAPER, 1)
        self.group = start(command, self.log)
        try:
            os.write(1, f"started {self.group}\n".encode())
        except OSError:
            self.stopping = True
        while self.code is None and not self.stopping and not self.owner_is_gone():
            self.reap()
        self.end()
        code = NOT_STARTED if self.code is None else self.code
        return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(Supervisor(sys.argv[1], float(sys.argv[2]), int(sys.argv[3])).run(sys.argv[4:]))
