"""A run that a worker executes has its lines in Prefect's log, as a run in a pipe has them on standard error."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from live_run import write_tiny

from tasks import run_listener
from tasks.run_listener import RunListener

pytestmark = [pytest.mark.usefixtures("prefect", "patient_audit")]


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What is written to the log of the run; nothing else follows it."""
    said: list[str] = []
    monkeypatch.setattr(run_listener, "log", said.append)
    before = run_listener.install(RunListener())
    yield said
    run_listener.install(before)


async def test_a_sweep_says_workloads_phases_and_trials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: list[str]
) -> None:
    from flows.sweep import sweep

    monkeypatch.chdir(tmp_path)
    write_tiny(tmp_path)
    (found,) = await sweep(workloads=["tiny.yaml"], budget="12s")
    beginnings = [line.split(":")[0] for line in log]
    assert log[0] == "workload: tiny.yaml, 1 of 1"
    assert log[-1] == f"workload: tiny.yaml: {found.first_sentence}"
    for name in ("run", "probe", "plan", "trial 1", "roofline", "report"):
        assert name in beginnings, log
    assert [line for line in log if line.startswith("trial 1: baseline 1: ") and line.endswith(" left")], log
