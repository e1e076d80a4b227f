"""The capacity of a real vLLM on the CPU: measured with its simulated twin, whose speed is another one."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from rooftune.capacity.measure import measure_capacity
from rooftune.capacity.reference_server import ReferenceServer
from rooftune.capacity.search import Precision
from rooftune.engines.server import ServerInfo
from rooftune.workloads.spec import Workload
from tests.real_vllm.speed import Speed

PROMPT, OUTPUT = 64, 16


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


@pytest.mark.timeout(900)
async def test_capacity_of_a_real_server(server: ServerInfo, small: Path, speed: Speed, tmp_path: Path) -> None:
    flags = {"enforce_eager": True, "max_num_seqs": 16, "max_model_len": 2048}
    version = server.effective.engine_version or "0.32.0"
    twin = ReferenceServer(gpu="cpu", model=str(small), engine_version=version.split("+")[0], flags=flags)
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
