"""No engine survives its run, measured trials are kept, and an interrupted run continues. Real processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import live_run
import psutil
import pytest

from rooftune.files import read_json

pytestmark = [pytest.mark.slow]
SLOWER = ("--time-scale", "8")
REFUSED = "tiny could not be measured"
"""Error of a run whose baseline fails its audit: on a busy machine, requests are sent late."""


def measured(folder: Path) -> dict[str, bytes]:
    """trial.json of every trial that is over."""
    return {
        str(p.parent.relative_to(folder)): p.read_bytes() for p in folder.glob("artifacts/*/*/trials/*/*/trial.json")
    }


def run_folder(folder: Path) -> Path:
    (found,) = folder.glob("artifacts/tiny/*")
    return found


def little_more(folder: Path) -> str:
    """A budget that holds the trials so far and about four more, however fast this machine is."""
    spent = sum(read_json(p)["wall_s"] for p in folder.glob("artifacts/*/*/trials/*/*/spent.json"))
    return f"{5.5 * spent:.0f}s"


def ended_in_second_load(folder: Path, api: str, number: int) -> tuple[subprocess.Popen[str], dict[str, bytes]]:
    """Start a run, send it a signal while its second trial is under load; the process, and what had been measured."""
    workload = live_run.write_tiny(folder)
    process = live_run.start(folder, api, "optimize", workload, *SLOWER, "--budget", "10m")
    assert live_run.until(live_run.in_load_phase(folder, 1, process))
    assert len(live_run.left(folder)) >= 3  # the flow, the supervisor and its engine
    kept = measured(folder)
    os.kill(process.pid, number)
    return process, kept


def test_kill_9_in_the_load_phase_and_go_on(tmp_path: Path, prefect_api: str) -> None:
    process, kept = ended_in_second_load(tmp_path, prefect_api, signal.SIGKILL)
    process.wait()
    assert live_run.until(lambda: not live_run.left(tmp_path), live_run.LEFT_S), live_run.left(tmp_path)
    assert measured(tmp_path) == kept
    again = live_run.start(
        tmp_path, prefect_api, "optimize", "tiny", "--resume", "latest", "--budget", little_more(tmp_path), "--json"
    )
    out, err = again.communicate(timeout=1500)
    assert again.returncode == 0 or REFUSED in err, err
    now = measured(tmp_path)
    assert {k: now[k] for k in kept} == kept, "what was measured is not measured again"
    assert len(now) > len(kept), "the interrupted trial was measured"
    assert (run_folder(tmp_path) / "report.md").is_file()
    assert REFUSED in err or json.loads(out)["trials"] == len(now)
    assert live_run.left(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_says_how_to_continue(tmp_path: Path, prefect_api: str, number: int) -> None:
    process, kept = ended_in_second_load(tmp_path, prefect_api, number)
    out, err = process.communicate(timeout=1500)
    assert live_run.until(lambda: not live_run.left(tmp_path), live_run.LEFT_S)
    assert process.returncode == 130
    assert out == ""
    sentence = err.splitlines()[-1]
    assert f"--resume {run_folder(tmp_path).relative_to(tmp_path)}" in sentence
    assert measured(tmp_path) == kept


def test_a_run_that_is_stopped_while_it_predicts_does_not_wait_for_the_prediction(
    tmp_path: Path, prefect_api: str
) -> None:
    process = live_run.start(tmp_path, prefect_api, "optimize", "chat-medium", ROOFTUNE_NO_NUMBA="1")
    assert live_run.until(lambda: predicting(tmp_path))
    predicting(tmp_path)[0].suspend()  # from here on the prediction would never end
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=1500)
    assert process.returncode == 130
    assert out == ""
    (run,) = tmp_path.glob("artifacts/chat-medium/*-*")
    assert f"--resume {run.relative_to(tmp_path)}" in err.splitlines()[-1]
    assert not (run / "plan.json").exists()
    assert live_run.until(lambda: not live_run.left(tmp_path), live_run.LEFT_S)


def predicting(folder: Path) -> list[psutil.Process]:
    """The process that predicts the space of a run in ``folder``."""
    return [p for p in live_run.left(folder) if any("tasks.apart" in word for word in p.cmdline())]


RETRY = """
import asyncio, sys
from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow_async
from prefect.states import Scheduled
from flows.optimize import optimize
from tasks.orphans import mark_crashed

async def main(flow_run_id):
    print("marked", await mark_crashed())
    async with get_client() as client:
        await client.set_flow_run_state(flow_run_id, Scheduled(), force=True)
        run = await client.read_flow_run(flow_run_id)
    await run_flow_async(flow=optimize, flow_run=run, parameters={**run.parameters, "budget": sys.argv[2]})

asyncio.run(main(sys.argv[1]))
"""
"""What `prefect flow-run retry` and a worker do with a run."""


def test_retry_in_prefect_goes_on_in_the_same_run_folder(tmp_path: Path, prefect_api: str) -> None:
    process, kept = ended_in_second_load(tmp_path, prefect_api, signal.SIGKILL)
    process.wait()
    flow_run = read_json(run_folder(tmp_path) / "run.json")["flow_run_id"]
    done = subprocess.run(
        [sys.executable, "-c", RETRY, flow_run, little_more(tmp_path)],
        env=live_run.environment(tmp_path, prefect_api),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )
    assert done.returncode == 0 or REFUSED in done.stderr, done.stdout + done.stderr
    assert "marked 0" not in done.stdout, "a run whose process is gone is not called running any more"
    now = measured(tmp_path)
    assert {k: now[k] for k in kept} == kept
    assert len(now) > len(kept)
    assert (run_folder(tmp_path) / "report.md").is_file()
    assert asyncio.run(state_of(prefect_api, flow_run)) == ("Failed" if REFUSED in done.stderr else "Completed")


async def state_of(api: str, flow_run: str) -> str:
    from prefect.client.orchestration import PrefectClient

    async with PrefectClient(api) as client:
        found = await client.read_flow_run(flow_run)  # type: ignore[arg-type]
    return str(found.state_name)
