"""One run at a time on a machine: two real processes, and one that is killed while it holds the machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from rooftune.engines.target import Target
from tasks import machine

TARGET = Target(gpu="T4", model="llama-2-7b", engine_version="0.15.1")
WITHOUT_PREFECT = textwrap.dedent(
    """
    import asyncio, importlib, os, sys

    class Refuses:
        @staticmethod
        def find_spec(name, path=None, target=None):
            assert name.partition(".")[0] != "prefect", "Prefect is imported"

    sys.meta_path.insert(0, Refuses)
    os.environ["PREFECT_API_URL"] = "http://127.0.0.1:9/api"
    for name in (
        "flows.cli.capacity", "flows.cli.capacity_progress", "flows.inputs.capacity", "tasks.capacity_run",
        "rooftune.capacity.measure_target", "rooftune.report.capacity_report",
    ):
        importlib.import_module(name)
    from rooftune.engines.target import Target
    from tasks import machine, run_listener

    async def main():
        async with machine.exclusive_machine(Target(gpu="T4", model="llama-2-7b", engine_version="0.15.1"), "me"):
            run_listener.log("measured")

    asyncio.run(main())
    """
)
HOLDER = textwrap.dedent(
    """
    import asyncio, sys
    from pathlib import Path
    from rooftune.engines.target import Target
    from tasks import run_listener
    from tasks.machine import exclusive_machine

    class Printer(run_listener.RunListener):
        def waiting(self, sentence):
            print("waiting:", sentence, flush=True)

    async def main(who, book, hold_s):
        run_listener.install(Printer())
        target = Target(gpu="T4", model="llama-2-7b", engine_version="0.15.1")
        async with exclusive_machine(target, who):
            async with exclusive_machine(target, who):  # a flow inside of a flow does not wait for itself
                with open(book, "a") as pages:
                    print("in", who, file=pages, flush=True)
                    print("in", flush=True)
                    await asyncio.sleep(hold_s)
                    print("out", who, file=pages, flush=True)

    asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
    """
)


def hold(who: str, book: Path, seconds: float) -> subprocess.Popen[str]:
    """A process that keeps the machine for this many seconds."""
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, who, str(book), str(seconds)], stdout=subprocess.PIPE, text=True
    )


@pytest.fixture(autouse=True)
def locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks of our own, so that a run on this machine does not disturb."""
    monkeypatch.setenv("ROOFTUNE_LOCKS", str(tmp_path / "locks"))


def test_two_runs_never_overlap(tmp_path: Path) -> None:
    book = tmp_path / "book"
    both = [hold(who, book, 0.5) for who in ("first", "second")]
    assert [p.wait(150) for p in both] == [0, 0]
    lines = [line.split() for line in book.read_text().splitlines()]
    assert [word for word, _ in lines] == ["in", "out", "in", "out"]
    assert {lines[0][1], lines[2][1]} == {"first", "second"}
    assert lines[0][1] == lines[1][1]


def test_a_waiting_run_names_the_holder_and_a_killed_holder_frees_the_machine(tmp_path: Path) -> None:
    book = tmp_path / "book"
    holder = hold("artifacts/chat-low/one", book, 600)
    assert holder.stdout
    assert holder.stdout.readline() == "in\n"
    waiter = hold("two", book, 0)
    assert waiter.stdout
    line = waiter.stdout.readline()
    assert f"run artifacts/chat-low/one (process {holder.pid})" in line
    assert machine.busy() == f"run artifacts/chat-low/one (process {holder.pid})"
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert waiter.stdout.readline() == "in\n"
    assert waiter.wait(150) == 0
    assert machine.busy() is None


def test_a_capacity_needs_no_prefect() -> None:
    """The command, its display, the measurement and the machine's lock work where Prefect cannot be imported."""
    done = subprocess.run([sys.executable, "-c", WITHOUT_PREFECT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


async def test_a_failed_block_gives_the_machine_back() -> None:
    with pytest.raises(ZeroDivisionError):
        async with machine.exclusive_machine(TARGET, "me"):
            assert machine.busy()
            raise ZeroDivisionError
    assert machine.busy() is None
    async with machine.exclusive_machine(TARGET, "me"):
        assert machine.busy()


def test_devices_that_a_run_reserves(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.devices(TARGET) == ["host"]
    assert "host" in machine.local_devices()
