"""Work in a separate process: results, errors, and that nothing of it is left. Real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from rooftune.errors import EngineError
from tasks.apart import apart

WITH_GRANDCHILD = (
    "import subprocess, sys, time; "
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(3600)']); "
    "open({path!r}, 'w').write(str(child.pid)); time.sleep(3600)"
)
PARENT = """
import asyncio, time
from tasks.apart import apart
print("begun", flush=True)
asyncio.run(apart(time.sleep, 3600))
"""


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def until(true: Callable[[], bool], seconds: float = 60.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not true():
        time.sleep(0.05)
    return true()


async def test_it_returns_what_the_function_returns_in_another_process() -> None:
    assert await apart(os.path.join, "a", "b") == "a/b"
    assert await apart(os.getpid) != os.getpid()


async def test_what_the_function_prints_is_not_taken_for_its_result(capfd: pytest.CaptureFixture[str]) -> None:
    assert await apart(print, "a line") is None
    assert "a line" in capfd.readouterr().err


async def test_errors_arrive_with_their_type_and_traceback() -> None:
    with pytest.raises(EngineError) as refused:
        await apart(_refuse, "no memory")
    assert (str(refused.value), refused.value.kind) == ("no memory", "oom")
    assert "_refuse" in str(refused.value.__cause__)
    with pytest.raises(RuntimeError, match="ended with code 7"):
        await apart(os._exit, 7)


def _refuse(message: str) -> None:
    raise EngineError(message, "oom")


async def test_a_cancelled_flow_waits_for_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    running = asyncio.create_task(apart(exec, WITH_GRANDCHILD.format(path=str(path))))
    while not (path.is_file() and path.read_text()):
        await asyncio.sleep(0.05)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert until(lambda: gone(int(path.read_text())))


def test_it_ends_with_the_process_that_started_it() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "begun\n"
    family = psutil.Process(parent.pid)
    assert until(lambda: bool(family.children()))
    (child,) = family.children()
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert until(lambda: gone(child.pid))
