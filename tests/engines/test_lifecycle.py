"""No engine process survives: success, failure, cancellation, Ctrl-C and kill -9, each with real processes.

A stand-in server of a few lines spawns children and grandchildren that try to get away: one ignores SIGTERM, one
leaves the process group, one is orphaned.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from rooftune.engines.process import ServerProcess, spawn

LEFT_S = 60.0
"""Longest wait for the end of all processes. On an idle machine they end within 5 s, as docs/engines.md says."""
STUBBORN = textwrap.dedent(
    """
    import os, signal, subprocess, sys, time
    mark = sys.argv[1]
    sleeper = [sys.executable, "-c", "import time; time.sleep(600)", mark]
    deaf = [sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)", mark]
    orphan = [sys.executable, "-c", f"import subprocess; subprocess.Popen({sleeper!r}, start_new_session=True)", mark]
    subprocess.Popen(sleeper)
    subprocess.Popen(deaf)
    subprocess.Popen(sleeper, start_new_session=True)
    subprocess.run(orphan)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("up", flush=True)
    time.sleep(600)
    """
)


def marked(mark: str) -> list[psutil.Process]:
    """All living processes that carry the mark on their command line."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        if mark in (process.info["cmdline"] or []) and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


def wait_for(count: int, mark: str, seconds: float = 60.0, log: Path | None = None) -> int:
    """Wait until the server is up and exactly ``count`` marked processes live; return how many there are in the end."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and log is not None and not (log.is_file() and "up" in log.read_text()):
        time.sleep(0.05)
    while time.monotonic() < deadline:
        if len(marked(mark)) == count:
            break
        time.sleep(0.05)
    return len(marked(mark))


@pytest.fixture
def mark(tmp_path: Path) -> str:
    """A word that only the processes of this test carry."""
    return f"mark-{tmp_path}"


def ended(process: ServerProcess, seconds: float = 60.0) -> int:
    """Wait until the server has ended by itself (ordering its end would be a race with that), then tidy up; its exit
    code."""
    deadline = time.monotonic() + seconds
    while process.exit_code() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert process.exit_code() is not None
    return process.stop()


def start_stubborn(folder: Path, mark: str, grace_s: float = 0.5) -> ServerProcess:
    """Five processes: the server and four below it, one of them orphaned; the supervisor is the sixth."""
    process = spawn([sys.executable, "-c", STUBBORN, mark], folder / "server.log", {}, grace_s=grace_s)
    assert wait_for(6, mark, log=folder / "server.log") == 6
    return process


def test_all_of_a_stubborn_server_ends(tmp_path: Path, mark: str) -> None:
    process = start_stubborn(tmp_path, mark)
    assert process.exit_code() is None
    assert process.stop() == 128 + signal.SIGKILL
    assert marked(mark) == []
    assert (tmp_path / "server.log").read_text() == "up\n"


def test_a_server_that_heeds_sigterm_may_say_goodbye(tmp_path: Path) -> None:
    script = (
        "import signal, sys, time\nsignal.signal(15, lambda *_: sys.exit(print('bye', flush=True)))\n"
        "print('up', flush=True)\ntime.sleep(600)"
    )
    process = spawn([sys.executable, "-c", script], tmp_path / "server.log", {}, grace_s=60.0)
    while "up\n" not in (tmp_path / "server.log").read_text():
        time.sleep(0.02)
    assert process.stop(timeout_s=120) == 0
    assert (tmp_path / "server.log").read_text() == "up\nbye\n"


def test_the_exit_code_is_the_servers(tmp_path: Path) -> None:
    process = spawn([sys.executable, "-c", "import sys; print('no'); sys.exit(3)"], tmp_path / "server.log", {})
    assert ended(process) == 3
    process = spawn(["/nowhere/python"], tmp_path / "other.log", {})
    assert ended(process) == 127
    assert "could not be started" in (tmp_path / "other.log").read_text()


def test_children_of_a_server_that_crashed_end_too(tmp_path: Path, mark: str) -> None:
    child = ["-c", "import time; time.sleep(600)", mark]
    script = f"import subprocess, sys; subprocess.Popen([sys.executable, *{child!r}]); sys.exit(1)"
    process = spawn([sys.executable, "-c", script], tmp_path / "server.log", {})
    assert ended(process) == 1
    assert marked(mark) == []


OWNER = textwrap.dedent(
    """
    import signal, sys, time
    from pathlib import Path
    from rooftune.engines.process import spawn
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite that runs in the background ignores interrupts
    process = spawn([sys.executable, "-c", sys.argv[3], sys.argv[1]], Path(sys.argv[2]) / "server.log", {}, grace_s=0.5)
    if sys.argv[4:] == ["fork"]:
        import os
        if os.fork() == 0:  # a forked child of the owner holds the pipe open and outlives it
            os.setsid()
            time.sleep(600)
    print("started", flush=True)
    time.sleep(600)
    """
)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_is_left_when_the_owner_dies(tmp_path: Path, mark: str, number: int) -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER, mark, str(tmp_path), STUBBORN], stderr=subprocess.DEVNULL)
    assert wait_for(7, mark, log=tmp_path / "server.log") == 7  # the owner, the supervisor and the five of the server
    while owner.poll() is None:  # an interrupt that arrives in a callback of C code is lost, and people press again
        owner.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            owner.wait(10)
    assert wait_for(0, mark, LEFT_S) == 0


def test_nothing_is_left_although_a_forked_child_holds_the_pipe(tmp_path: Path, mark: str) -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER, mark, str(tmp_path), STUBBORN, "fork"])
    assert wait_for(8, mark, log=tmp_path / "server.log") == 8
    owner.kill()
    owner.wait()
    assert wait_for(1, mark, LEFT_S) == 1
    for process in marked(mark):
        process.kill()


def test_nothing_is_left_when_the_supervisor_is_killed(tmp_path: Path, mark: str) -> None:
    process = start_stubborn(tmp_path, mark)
    os.kill(process.pid, signal.SIGKILL)
    process.stop()
    deadline = time.monotonic() + LEFT_S
    while time.monotonic() < deadline and psutil.pid_exists(process.server_pid):
        time.sleep(0.05)
    left = [p for p in marked(mark) if os.getpgid(p.pid) == process.server_pid]
    assert left == []
    for stray in marked(mark):  # those that had left the group; only the supervisor would have found them
        stray.kill()


def test_the_supervisor_needs_nothing_of_rooftune() -> None:
    """It starts by path with neither site packages nor our package in reach."""
    from rooftune.engines.process import SUPERVISOR

    done = subprocess.run(
        [sys.executable, "-I", "-S", str(SUPERVISOR), os.devnull, "1", str(os.getpid()), "/bin/true"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    assert done.stdout.startswith(b"started ")
    assert done.stderr == b""


async def test_cancelling_while_it_starts_leaves_nothing(tmp_path: Path) -> None:
    from rooftune.engines.launch import start
    from rooftune.engines.target import Target
    from rooftune.runfolder import TrialFolder
    from rooftune.vllm_rules.config import EngineConfig

    os.environ["ROOFTUNE_SIM_FAULT"] = "hang_at_start"
    before = {c.pid for c in psutil.Process().children(recursive=True)}
    try:
        target = Target(gpu="T4", model="llama-2-7b", engine_version="0.15.1")
        task = asyncio.create_task(start(target, EngineConfig(model="llama-2-7b"), TrialFolder(tmp_path)))
        children: list[psutil.Process] = []
        while not children:
            await asyncio.sleep(0.05)
            new = [c for c in psutil.Process().children(recursive=True) if c.pid not in before]
            children = [c for c in new if "supervisor" in " ".join(c.cmdline())]
        family = [*children, *(g for c in children for g in c.children(recursive=True))]
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    finally:
        del os.environ["ROOFTUNE_SIM_FAULT"]
