"""The capacity of a real vLLM on the CPU: measured with its simulated twin, whose speed is another one."""

from __future__ import annotations

import math
import os
from pathlib import Path

import psutil
import pytest

from rooftune.capacity.closed_loop import closed_loop
from rooftune.capacity.measure import measure_capacity
from rooftune.capacity.reference_server import ReferenceServer
from rooftune.capacity.search import Precision
from rooftune.engines.server import ServerInfo
from rooftune.workloads.spec import Workload
from tests.real_vllm.speed import Speed

PROMPT, OUTPUT = 64, 16
SHORT, LONG = 2, 4
"""Steps of a short and of a long measurement; the first step of each is short."""
CHANGED = 0.35
"""Difference of ln(speed) between steps that no single server shows; on a virtual machine its host causes it."""
IDLE_S, BUSY = 2.0, 0.4
"""For how long the processors are watched while the server is idle, and the share in use that is too much."""


def workload_for(speed: Speed) -> Workload:
    """Short requests, with limits that a server without load keeps many times over."""
    return Workload.model_validate(
        {
            "name": "short",
            "arrivals": {"process": "poisson", "rate_per_s": 4 / speed.request_s(PROMPT, OUTPUT)},
            "prompt_tokens": {"distribution": "uniform", "low": PROMPT // 2, "high": 3 * PROMPT // 2},
            "output_tokens": {"distribution": "uniform", "low": OUTPUT // 2, "high": 3 * OUTPUT // 2},
            "duration_s": 30,
            "slo": {
                "ttft_ms": max(2000.0, 20_000 * speed.first_token_s(PROMPT)),
                "tpot_ms": max(250.0, 15_000 * speed.step_s),
                "share": 0.9,
            },
        }
    )


def twin_of(server: ServerInfo, small: Path) -> ReferenceServer:
    """The simulated server with the flags of the real one."""
    flags = {"enforce_eager": True, "max_num_seqs": 16, "max_model_len": 2048}
    version = server.effective.engine_version or "0.32.0"
    return ReferenceServer(gpu="cpu", model=str(small), engine_version=version.split("+")[0], flags=flags)


@pytest.mark.timeout(900)
async def test_capacity_of_a_real_server(server: ServerInfo, small: Path, speed: Speed, tmp_path: Path) -> None:
    twin = twin_of(server, small)
    found = await measure_capacity(
        server, workload_for(speed), twin, Precision(half=0.25, most_steps=4), tmp_path, seed=3
    )
    assert found.rate_per_s
    assert found.low_per_s
    assert found.high_per_s
    assert found.low_per_s < found.rate_per_s < found.high_per_s
    alone = 1 / speed.request_s(PROMPT, OUTPUT)
    assert found.rate_per_s > alone, "a batch of 16 carries more than one request at a time"
    assert all(s.start.idle for s in found.steps), "vLLM reports its requests"
    checks = {c.id: c.status for c in found.checks}
    assert checks["answer-lengths"] == checks["fresh-prompts"] == checks["settled-start"] == "pass", found.checks
    assert all(s.census.failed == s.census.refused == 0 for s in found.steps)
    assert len({math.log(s.speed or 1.0) for s in found.steps}) == len(found.steps)


def needs_free_processors() -> None:
    """Skip where others use the processors that the server computes on: then it is not one server all the time."""
    busy = psutil.cpu_percent(IDLE_S) / 100
    if busy > BUSY:
        pytest.skip(f"others use {100 * busy:.0f} % of the processors, so the server's speed varies")


def needs_one_speed(log_speeds: list[float]) -> None:
    """Skip where the steps were not measured on one server: its speed changed by more than any noise of ours."""
    full = log_speeds[1:]
    if max(full) - min(full) > CHANGED:
        pytest.skip(f"the server's speed changed by {100 * math.expm1(max(full) - min(full)):.0f} % between steps")


@pytest.mark.skipif(not os.environ.get("ROOFTUNE_LONG_RUNS"), reason="needs idle processors for 15 minutes")
@pytest.mark.timeout(900)
@pytest.mark.parametrize("per", ["rate", "users"])
async def test_the_interval_of_a_short_run_holds_the_estimate_of_a_long_one(
    per: str, server: ServerInfo, small: Path, speed: Speed, tmp_path: Path
) -> None:
    twin, load = twin_of(server, small), workload_for(speed)
    if per == "users":
        load = closed_loop(load)
    needs_free_processors()
    found = []
    for steps in (SHORT, LONG):
        precision = Precision(half=1e-6, most_steps=steps)
        found.append(await measure_capacity(server, load, twin, precision, tmp_path / str(steps), seed=steps))
        needs_free_processors()
    short, long = found
    assert short.per == long.per == per
    assert short.low is not None
    assert short.high is not None
    assert long.capacity
    needs_one_speed([math.log(step.speed) for step in (*short.steps, *long.steps) if step.speed])
    # The estimate of the long run has an error too, here about half of the width of its interval below it.
    reach = math.log(long.capacity / long.low) / 2 if long.low else 0.0
    assert short.low * math.exp(-reach) <= long.capacity <= short.high * math.exp(reach)
    assert long.load_s > 1.5 * short.load_s
    assert not {s.workload.seed for s in short.steps} & {s.workload.seed for s in long.steps}
