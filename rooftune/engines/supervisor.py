"""A small process that holds one server and ends all of it when its owner goes, for whatever reason, ``kill -9`` included.

Run by file path with ``python -I -S supervisor.py LOG GRACE_S OWNER_PID COMMAND...``; it imports nothing of rooftune, so that it
is up in some 20 ms. Its standard input is a pipe whose other end the owner holds: nothing is ever written to it, its end
is the order to stop. The first line on standard output is ``started PID``; then the supervisor lives as long as
the server and exits with the server's code (128 + n after signal n).

Ending a server: SIGTERM to its leader; after the grace, or when the leader is gone, SIGKILL to its process group and to every
other descendant. Descendants that left the group or lost their parent are found too, because on Linux they fall to the
supervisor (``PR_SET_CHILD_SUBREAPER``). Should the supervisor itself be killed, the kernel kills the leader (``PR_SET_PDEATHSIG``).
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
"""How long to insist on processes that SIGKILL does not end at once (they hang in a driver)."""
NOT_STARTED = 127


def control(option: int, value: int) -> None:
    """Call ``prctl`` where there is one (Linux)."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def start(command: list[str], log: str) -> int:
    """Start the server in a session of its own with all its output in ``log``; return its pid, which is its group too."""
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
    """Pid -> its living children, of all processes that can be seen; empty where there is no ``/proc``."""
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
    """One server from its start to the end of its last process."""

    def __init__(self, log: str, grace_s: float, owner: int) -> None:
        self.log, self.grace_s, self.owner = log, grace_s, owner
        self.group = 0
        self.code: int | None = None
        self.asked = False

    def ask(self, *_: object) -> None:
        """Signal handler: stop as soon as possible."""
        self.asked = True

    def reap(self) -> None:
        """Collect whoever has ended; keep the leader's exit code."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.group:
                self.code = os.waitstatus_to_exitcode(status)

    def owner_left(self) -> bool:
        """Whether the pipe has ended or the owner is no longer our parent (its forked children may hold the pipe open)."""
        ready, _, _ = select.select([0], [], [], POLL_S)
        return os.getppid() != self.owner or (bool(ready) and not os.read(0, 64))

    def end(self) -> None:
        """Stop the server and everything that came from it."""
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
        """Hold the server; return its exit code."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self.ask)
        control(SET_CHILD_SUBREAPER, 1)
        self.group = start(command, self.log)
        try:
            os.write(1, f"started {self.group}\n".encode())
        except OSError:
            self.asked = True
        while self.code is None and not self.asked and not self.owner_left():
            self.reap()
        self.end()
        code = NOT_STARTED if self.code is None else self.code
        return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(Supervisor(sys.argv[1], float(sys.argv[2]), int(sys.argv[3])).run(sys.argv[4:]))
