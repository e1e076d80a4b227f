"""Measurements of a simulated server that runs as a real process: whole, killed and resumed, stopped, refused."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from made_capacity import Heard, served, target, twin, workload

from rooftune.capacity.measure import Stopped, measure_capacity
from rooftune.capacity.measured_step import StepRecord
from rooftune.capacity.result import CapacityResult
from rooftune.capacity.search import Precision
from rooftune.errors import InputError

PRECISION = Precision(half=0.1)
SCALE = 8.0


@pytest.mark.slow
async def test_a_server_is_measured_and_a_killed_measurement_goes_on(tmp_path: Path) -> None:
    """With a limit on TPOT alone: a busy machine that holds up one token breaks a limit on TTFT first."""
    which, folder, heard, load = target(SCALE), tmp_path / "capacity", Heard(), workload(slo={"tpot_ms": 60})
    async with served(tmp_path / "server", which) as server:
        found = await measure_capacity(server, load, twin(which), PRECISION, folder, seed=4, listener=heard)
        reference = twin(which).reference(load)
        predicted = reference.capacity(1.0)
        assert found.speed is not None
        assert found.speed < 1.15, "a busy machine slows the emulated server, and nothing makes it faster"
        assert found.rate_per_s == pytest.approx(reference.capacity(found.speed), rel=0.1)
        assert found.half is not None
        assert found.precise == (found.half <= PRECISION.half)
        assert found.low_per_s
        assert found.high_per_s
        assert found.low_per_s < found.rate_per_s < found.high_per_s
        assert found.limited_by == "tpot_ms"
        assert heard.plans[0].predicted == pytest.approx(predicted)
        assert [s.start.idle for s in found.steps] == [True] * len(found.steps)
        assert len({s.workload.seed for s in found.steps}) == len(found.steps)
        assert CapacityResult.model_validate(json.loads((folder / "capacity.json").read_text())) == found

        # Killed in the last step: its load had begun, and its result was not written.
        last = folder / "steps" / str(len(found.steps))
        (last / "step.json").unlink()
        again = Heard()
        resumed = await measure_capacity(server, load, twin(which), PRECISION, folder, listener=again)
    assert again.kept == [s.number for s in found.steps[:-1]]
    assert len(again.made) == 1
    assert resumed.steps[:-1] == found.steps[:-1]
    assert resumed.steps[-1].workload.seed not in {s.workload.seed for s in found.steps}
    assert resumed.low_per_s is not None
    assert resumed.high_per_s is not None
    assert max(resumed.low_per_s, found.low_per_s) < min(resumed.high_per_s, found.high_per_s)
    with pytest.raises(InputError, match="another workload"):
        await measure_capacity(server, workload(slo={"tpot_ms": 30}), twin(which), PRECISION, folder)


async def test_a_measurement_can_be_stopped_at_any_time(tmp_path: Path) -> None:
    class StopsAfterOne(Heard):
        def measured(self, record: StepRecord, *rest: object) -> None:
            stop.set()

    which, stop = target(SCALE), asyncio.Event()
    async with served(tmp_path / "server", which) as server:
        found = await measure_capacity(
            server, workload(), twin(which), PRECISION, tmp_path / "a", seed=4, listener=StopsAfterOne(), stop=stop
        )
        assert found.stopped
        assert not found.precise
        assert len(found.steps) == 1
        assert found.rate_per_s
        with pytest.raises(Stopped):
            await measure_capacity(server, workload(), twin(which), PRECISION, tmp_path / "b", seed=5, stop=stop)
