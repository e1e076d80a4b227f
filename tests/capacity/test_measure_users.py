"""The users of a running server: measured step by step in a closed loop, with think time, with a limit on the batch."""

from __future__ import annotations

from pathlib import Path

import pytest

from rooftune.capacity.measure import measure_capacity
from rooftune.capacity.search import Precision
from tests.capacity.made_capacity import Heard, served, target, twin, workload

pytestmark = [pytest.mark.slow]
PRECISION = Precision(half=0.12, most_steps=4)
SCALE = 8.0


@pytest.mark.parametrize(
    ("think_s", "flags", "limit"), [(0.0, {}, "tpot_ms"), (0.0, {"max_num_seqs": 8}, "ttft_ms"), (2.0, {}, "tpot_ms")]
)
async def test_the_users_of_a_server_are_counted(
    think_s: float, flags: dict[str, int], limit: str, tmp_path: Path
) -> None:
    load = workload(
        arrivals={"process": "closed", "concurrency": 100, "think_s": think_s},
        slo={"ttft_ms": 2000, "tpot_ms": 60, "share": 0.95},
    )
    which, heard = target(SCALE, **flags), Heard()
    async with served(tmp_path / "server", which) as server:
        found = await measure_capacity(server, load, twin(which), PRECISION, tmp_path / "a", seed=4, listener=heard)
    reference = twin(which).reference(load)
    predicted = reference.capacity(1.0)
    assert heard.plans[0].predicted == pytest.approx(predicted)
    assert heard.begun == [s.users for s in found.steps]
    assert found.per == "users"
    assert found.speed is not None
    assert found.speed < 1.15, "a busy machine slows the emulated server, and nothing makes it faster"
    assert found.users == pytest.approx(reference.capacity(found.speed), rel=0.1)
    assert found.low_users is not None
    assert found.high_users is not None
    assert found.low_users <= found.users <= found.high_users
    checks = {c.id: c.status for c in found.checks}
    if found.speed > 0.9 and checks["send-lag"] != "fail":
        assert found.limited_by == limit, "where the machine is late for every token, other limits break first"
    assert found.rate_per_s
    assert found.replicas is not None
    assert found.replicas.asked_users == 100
    assert found.replicas.at_estimate == -(-100 // found.users)
    assert all(s.start.idle for s in found.steps)
    assert {checks["settled-start"], checks["fresh-prompts"]} == {"pass"}
    assert all(s.census.failed == s.census.refused == 0 for s in found.steps)
