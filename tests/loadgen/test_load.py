"""The whole load: client processes, ticks, the joined files, and what survives a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest

from rooftune.errors import EngineError, InputError, RooftuneError
from rooftune.loadgen import parts, recover
from rooftune.loadgen.client import run_load
from rooftune.loadgen.progress import Progress
from rooftune.loadgen.schema import REQUESTS, TICKS
from rooftune.loadgen.summary import LoadOptions
from rooftune.runfolder import TrialFolder
from rooftune.workloads.draw import draw
from tests.faults import faults  # noqa: F401 - registers them
from tests.faults.server import MisbehavingServer, misbehaving
from tests.loadgen.harness import workload

LOAD = workload(arrivals={"process": "poisson", "rate_per_s": 40}, warmup_s=0.5, duration_s=1.0)


@pytest.fixture(scope="module")
def server() -> Iterator[MisbehavingServer]:
    with misbehaving() as running:
        yield running


def options(server: MisbehavingServer, name: str = "good", **more: Any) -> LoadOptions:
    return LoadOptions(**{"url": f"{server.url}/{name}", "model": "m", **more})


async def test_several_processes_send_what_one_sends(server: MisbehavingServer, tmp_path: Path) -> None:
    plan, sent, tables = draw(LOAD), [], []
    for n in (1, 3):
        server.bodies.clear()
        seen: list[Progress] = []
        folder = TrialFolder(tmp_path / str(n))
        summary = await run_load(LOAD, plan, options(server, processes=n), folder, progress=seen.append)
        sent.append(sorted(server.bodies))
        tables.append(pq.read_table(folder.requests))
        assert (summary.processes, summary.scheduled) == (n, len(plan))
        assert seen[-1].sent == seen[-1].completed == len(plan)
        assert not parts.parts_folder(folder.path).exists()
    assert sent[0] == sent[1]
    for table, n in zip(tables, (1, 3), strict=True):
        assert table.schema.equals(REQUESTS)
        assert table["index"].to_pylist() == list(range(len(plan)))
        assert set(table["status"].to_pylist()) == {"completed"}
        assert set(table["process"].to_pylist()) == set(range(n))
        np.testing.assert_allclose(table["scheduled_s"].to_numpy(), plan.arrival_s, atol=1e-6)


async def test_the_files_of_a_load(server: MisbehavingServer, tmp_path: Path) -> None:
    folder = TrialFolder(tmp_path)
    summary = await run_load(LOAD, draw(LOAD), options(server, time_scale=2.0), folder)
    ticks = pq.read_table(folder.ticks)
    assert ticks.schema.equals(TICKS)
    assert ticks.num_rows >= 2
    assert not any(ticks["up"].to_pylist()), "this server has no /metrics"
    assert ticks["t_s"].to_pylist() == sorted(ticks["t_s"].to_pylist())
    assert json.loads(folder.load_json.read_text()) == json.loads(summary.model_dump_json())
    plan = draw(LOAD)
    inside = ((plan.arrival_s >= 0.5) & (plan.arrival_s < 1.5)).sum()
    assert summary.asked_rate_per_s == pytest.approx(inside)
    assert summary.descriptors_limit
    assert 0 < (summary.connections_peak or 0) < (summary.descriptors_peak or 0)
    assert summary.loop_lag_p99_ms is not None
    table = pq.read_table(folder.requests)
    after = [c[-1] + s for c, s in zip(table["chunk_s"].to_pylist(), table["scheduled_s"].to_pylist(), strict=True)]
    np.testing.assert_allclose(after, table["last_token_s"].to_numpy(), atol=1e-4)


async def test_several_tokens_a_chunk_are_recognised(server: MisbehavingServer, tmp_path: Path) -> None:
    folder = TrialFolder(tmp_path)
    summary = await run_load(LOAD, draw(LOAD), options(server, "four_tokens_a_chunk"), folder)
    assert summary.stream_interval_seen == 4.0
    table = pq.read_table(folder.requests)
    assert set(table["streamed_tokens"].to_pylist()) == {8}
    assert set(table["chunks"].to_pylist()) == {2}
    assert any("4.00 tokens per chunk" in note for note in summary.notes)


async def test_the_key_comes_from_the_environment(
    server: MisbehavingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "sesame")
    server.heads.clear()
    await run_load(
        workload(duration_s=0.05),
        draw(workload(duration_s=0.05)),
        options(server, api_key_env="MY_KEY"),
        TrialFolder(tmp_path),
    )
    assert server.heads
    assert all("authorization: Bearer sesame\r\n" in head for head in server.heads)
    assert "sesame" not in "".join(p.read_text(errors="replace") for p in tmp_path.iterdir())


async def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    load = workload(duration_s=0.05)
    summary = await run_load(load, draw(load), LoadOptions(url="http://127.0.0.1:9", model="m"), TrialFolder(tmp_path))
    table = pq.read_table(tmp_path / "requests.parquet")
    assert summary.scheduled == 5
    assert set(table["error_class"].to_pylist()) == {"connect"}
    with pytest.raises(InputError):
        await run_load(load, draw(load), LoadOptions(url="here", model="m"), TrialFolder(tmp_path))
    with pytest.raises(EngineError, match="has no address"):
        await run_load(load, draw(load), LoadOptions(url="http://no.invalid:1", model="m"), TrialFolder(tmp_path))


async def test_a_full_disk_is_one_sentence(server: MisbehavingServer, full_disk: Path) -> None:
    load = workload(arrivals={"process": "constant", "rate_per_s": 200}, duration_s=1.5)
    with pytest.raises(RooftuneError, match="disk is full"):
        await run_load(load, draw(load), options(server), TrialFolder(full_disk / "trial"))


SCRIPT = """
import asyncio, sys
from pathlib import Path
from rooftune.loadgen.client import run_load
from rooftune.loadgen.summary import LoadOptions
from rooftune.runfolder import TrialFolder
from rooftune.workloads.draw import draw
from tests.loadgen.harness import workload
load = workload(arrivals={"process": "constant", "rate_per_s": 50}, duration_s=60)
options = LoadOptions(url=sys.argv[1], model="m", processes=2)
asyncio.run(run_load(load, draw(load), options, TrialFolder(Path(sys.argv[2]))))
"""


def _started(server: MisbehavingServer, folder: Path) -> subprocess.Popen[bytes]:
    """A load in a separate process that has written some parts."""
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, f"{server.url}/good", str(folder)])
    until = time.monotonic() + 150
    while len(list(parts.parts_folder(folder).glob("requests-*.parquet"))) < 4:
        assert time.monotonic() < until
        time.sleep(0.05)
    return process


def _gone(processes: list[psutil.Process]) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=120)
    return not alive


def test_after_kill_9_no_client_process_is_left_and_the_records_are(server: MisbehavingServer, tmp_path: Path) -> None:
    process = _started(server, tmp_path)
    children = psutil.Process(process.pid).children()
    assert len(children) == 2
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert _gone(children)
    written = sum(pq.ParquetFile(p).metadata.num_rows for p in parts.parts_folder(tmp_path).glob("requests-*.parquet"))
    assert recover.main([str(tmp_path)]) == 0
    table = pq.read_table(tmp_path / "requests.parquet")
    index = table["index"].to_pylist()
    assert len(index) == written
    assert index == sorted(set(index))
    assert set(table["process"].to_pylist()) == {0, 1}
    assert pq.read_table(tmp_path / "ticks.parquet").num_rows >= 1


def test_a_client_process_that_is_killed_keeps_its_records_and_ends_the_load(
    server: MisbehavingServer, tmp_path: Path
) -> None:
    process = _started(server, tmp_path)
    children = psutil.Process(process.pid).children()
    before = sum(pq.ParquetFile(p).metadata.num_rows for p in parts.parts_folder(tmp_path).glob("requests-*.parquet"))
    children[0].kill()
    assert process.wait(timeout=120) == 1
    assert _gone(children)
    assert parts.recover(tmp_path) >= before > 0
