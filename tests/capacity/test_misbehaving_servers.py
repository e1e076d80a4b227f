"""Servers that refuse, fail, die, break the SLO without load, or have a limit that nobody named."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import pytest
from limited_server import LimitedServer
from made_capacity import Heard, served, target, twin, workload

from rooftune.capacity.bracket import Bracket
from rooftune.capacity.measure import measure_capacity
from rooftune.capacity.search import Precision
from rooftune.engines import launch
from rooftune.errors import EngineError
from rooftune.loadgen.progress import Progress
from rooftune.runfolder import TrialFolder

SHORT = {
    "output_tokens": {"distribution": "fixed", "value": 8},
    "slo": {"ttft_ms": 40_000, "tpot_ms": 4_000, "share": 0.9},
}


@pytest.mark.slow
async def test_a_server_that_refuses_from_some_rate_on_gets_a_bracket(tmp_path: Path) -> None:
    with LimitedServer(most_per_s=4.0, token_s=0.005, time_scale=20.0).running() as server:
        found = await measure_capacity(
            server, workload(**SHORT), twin(target()), Precision(most_steps=6), tmp_path, seed=1
        )
    assert server.refused
    assert found.limited_by == "errors"
    assert found.level is None
    assert found.rate_per_s == found.low_per_s
    broken = [s for s in found.steps if s.errors_break]
    assert broken
    assert found.high_per_s == min(s.rate_per_s for s in broken)
    assert found.rate_per_s
    assert found.rate_per_s < found.high_per_s
    assert all(s.rate_per_s != found.rate_per_s or s.attainment >= 0.9 for s in found.steps)


async def test_a_server_that_answers_only_errors_is_an_error(tmp_path: Path) -> None:
    broken, said = LimitedServer(most_per_s=0, token_s=0.005, time_scale=20.0), "this model cannot be served"
    with broken.running() as server, pytest.raises(EngineError, match=said):
        await measure_capacity(server, workload(**SHORT), twin(target()), Precision(), tmp_path, seed=1)


async def test_a_server_that_dies_under_load_is_an_error(tmp_path: Path) -> None:
    class Kills(Heard):
        def load(self, progress: Progress) -> None:
            if progress.sent > 20 and server.server_pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(server.server_pid, signal.SIGKILL)

    which, files = target(), TrialFolder(tmp_path / "server")
    async with served(files.path, which) as server:
        with pytest.raises(EngineError):
            await measure_capacity(
                server,
                workload(),
                twin(which),
                Precision(),
                tmp_path / "capacity",
                seed=1,
                listener=Kills(),
                died=lambda: launch.died_or_dying(server, files),
            )
    assert not (tmp_path / "capacity" / "steps" / "1" / "step.json").exists()


async def test_a_server_that_breaks_the_slo_without_load_says_by_how_much(tmp_path: Path) -> None:
    which = target()
    strict = workload(slo={"ttft_ms": 2000, "tpot_ms": 5})
    async with served(tmp_path / "server", which) as server:
        found = await measure_capacity(server, strict, twin(which), Precision(), tmp_path / "capacity", seed=1)
    assert found.rate_per_s == 0
    assert found.replicas is None
    assert found.limited_by == "tpot_ms"
    assert found.lone is not None
    assert found.lone.median_ratio
    assert found.lone.median_ratio > 1.5
    assert found.lone.attainment < 0.1


@pytest.mark.slow
async def test_a_limit_that_nobody_named_is_learned_from_an_overloaded_step(tmp_path: Path) -> None:
    which, heard = target(8.0, max_num_seqs=4), Heard()
    assumed = twin(target()).model_copy(update={"flags": {"quantization": "awq_marlin", "max_model_len": 2048}})
    assumed = assumed.model_copy(update={"flags_known": False})
    async with served(tmp_path / "server", which) as server:
        found = await measure_capacity(
            server, workload(), assumed, Precision(half=0.15), tmp_path / "capacity", seed=1, listener=heard
        )
    assert found.reference.flags["max_num_seqs"] == 4
    assert any("at most 4 requests" in s for s in heard.sentences)
    assert found.speed is not None
    assert found.speed < 1.25, "a busy machine slows the emulated server, and nothing makes it faster"
    true = twin(which).reference(workload()).capacity(found.speed)
    assert found.rate_per_s == pytest.approx(true, rel=0.1)


def test_the_next_rate_of_a_bracket() -> None:
    assert Bracket(None, 9.0, 1).middle() == 3.0
    assert Bracket(1.0, 9.0, 1).middle() == 3.0
    assert Bracket(1.0, 9.0, 1, served_per_s=4.0).middle() == pytest.approx(3.4)
    assert Bracket(4.0, 9.0, 1, served_per_s=4.0).middle() == 6.0
    assert Bracket(2.0, None).middle() == 3.0
    assert Bracket(2.0, 2.1, 1).narrow
    assert not Bracket(None, 2.1, 1).narrow
    assert Bracket(None, 2.1, 4).hopeless
    assert Bracket(None, 2.0, 1).allows(1.9)
    assert not Bracket(None, 2.0, 1).allows(1.99)
