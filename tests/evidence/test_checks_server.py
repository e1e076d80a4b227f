"""The server explains what the client saw, and nothing disturbed it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rooftune.engines.server import Limits, Switched
from rooftune.evidence.audit import server as checks
from rooftune.evidence.records.evidence import Evidence
from tests.evidence import made_load

USUAL = made_load.evidence()
FULL = made_load.evidence(rate=30.0, slots=16)


def with_figures(e: Evidence, **server: float) -> Evidence:
    assert e.trial is not None
    return replace(e, trial=e.trial.model_copy(update={"server": {**e.trial.server, **server}}))


def test_a_usual_server_passes() -> None:
    statuses = {c.__name__: c(USUAL).status for c in checks.ALL}
    assert {k for k, v in statuses.items() if v not in ("pass",)} == {"throttling", "switched", "simulated_clock"}


def test_littles_law_holds_under_overload_too() -> None:
    assert checks.little(FULL).status == "pass"
    assert checks.little(FULL).figures["difference"] < 0.05


def test_requests_of_others_on_the_same_server() -> None:
    found = checks.little(made_load.evidence(samples={"running": 60.0, "waiting": 0.0}))
    assert found.status == "fail"
    assert "other clients use the same server" in found.sentence


def test_requests_that_something_holds_back() -> None:
    half = {"running": np.minimum(FULL.ticks["running"], 5), "waiting": 0 * FULL.ticks["waiting"]}
    found = checks.little(replace(FULL, ticks={**FULL.ticks, **half}))
    assert found.status == "fail"
    assert "between" in found.sentence


def test_waiting_is_explained_by_a_limit_of_the_server() -> None:
    assert checks.queue(USUAL).status == "pass"
    assert "max_num_seqs = 16" in checks.queue(FULL).sentence
    full_cache = {**FULL.ticks, "running": 0 * FULL.ticks["running"] + 7, "kv_usage": 0 * FULL.ticks["kv_usage"] + 0.98}
    assert "KV cache is full" in checks.queue(replace(FULL, ticks=full_cache)).sentence
    nothing = {**full_cache, "kv_usage": 0 * FULL.ticks["kv_usage"] + 0.2}
    assert checks.queue(replace(FULL, ticks=nothing)).status == "warn"


def test_overload_is_a_finding_and_not_a_failure() -> None:
    found = checks.overload(FULL)
    assert found.status == "pass"
    assert found.sentence.startswith("Finding")
    assert found.figures["queue_growth_per_s"] > 0
    assert "kept up" in checks.overload(USUAL).sentence


def test_overload_of_another_tools_run_is_a_warning() -> None:
    foreign = replace(FULL, tool="csv", trial=None, ticks={})
    assert checks.overload(foreign).status == "warn"
    assert checks.overload(replace(USUAL, tool="csv", trial=None)).status == "pass"


@pytest.mark.parametrize(("count", "status"), [(0, "pass"), (5, "pass"), (400, "warn")])
def test_preemptions(count: int, status: str) -> None:
    assert checks.preemptions(with_figures(USUAL, preemptions=count)).status == status


@pytest.mark.parametrize(("share", "status"), [(0.0, "pass"), (0.05, "warn"), (0.59, "fail")])
def test_prefix_hits_that_the_workload_does_not_plan(share: float, status: str) -> None:
    assert checks.prefix_hits(with_figures(USUAL, prefix_hit_share=share)).status == status


def test_prefix_hits_that_the_workload_asks_for() -> None:
    talks = made_load.workload(10.0, conversations={"turns": {"distribution": "fixed", "value": 3}, "think_s": 1})  # fmt: skip
    assert checks.prefix_hits(replace(with_figures(USUAL, prefix_hit_share=0.6), workload=talks)).status == "pass"


@pytest.mark.parametrize(
    ("bits", "word"), [(0x40, "hardware thermal slowdown"), (0x80, "power brake"), (0x04, "power limit")]
)
def test_throttling_is_named(bits: int, word: str) -> None:
    found = checks.throttling(made_load.evidence(samples={"gpu_throttle_reasons": float(bits)}))
    assert found.status == "warn"
    assert word in found.sentence
    assert checks.throttling(made_load.evidence(samples={"gpu_throttle_reasons": 0.0})).status == "pass"


def test_drift_within_the_window() -> None:
    rows = made_load.serve(10.0, 80.0, slots=64, tpot_s=0.02)
    for row in rows:
        slower = 1 + max(0.0, (row["scheduled_s"] - 20) / 60) * 0.5
        row["chunk_s"] = [x * slower for x in row["chunk_s"]]
        row["last_token_s"] = row["scheduled_s"] + row["chunk_s"][-1]
        row["end_s"] = row["last_token_s"] + 0.001
    found = checks.drift(made_load.evidence(rows=rows))
    assert found.status == "warn"
    assert found.figures["gap_change"] == pytest.approx(0.31, abs=0.03)
    assert checks.drift(USUAL).status == "pass"


def test_a_restart_under_load() -> None:
    counter = np.array(USUAL.ticks["generation_tokens_total"])
    counter[50:] -= counter[50] - 1
    found = checks.restarts(replace(USUAL, ticks={**USUAL.ticks, "generation_tokens_total": counter}))
    assert found.status == "fail"
    assert "restarted" in found.sentence


def test_a_server_that_does_not_answer() -> None:
    up = np.ones(len(USUAL.ticks["t_s"]))
    up[::3] = 0
    assert checks.restarts(replace(USUAL, ticks={**USUAL.ticks, "up": up})).status == "warn"
    assert checks.restarts(replace(USUAL, ticks={**USUAL.ticks, "up": 0 * up})).status == "no data"


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("INFO 11-24 all is well\n", "pass"),
        ("INFO x\nERROR 11-24 10:00:00 [serving.py] bad request\n", "warn"),
        ("(EngineCore pid=7) ERROR 11-24 step failed\nvllm.v1.engine.exceptions.EngineDeadError\n", "fail"),
        ("torch.OutOfMemoryError: CUDA out of memory\n", "fail"),
    ],
)
def test_errors_in_the_log(text: str, status: str) -> None:
    assert checks.log(replace(USUAL, log=text)).status == status


@pytest.mark.parametrize(
    ("behind", "time_scale", "status"),
    [
        (0.002, 1.0, "pass"),
        (0.004, 1.0, "warn"),
        (0.006, 1.0, "fail"),
        (0.02, 25.0, "pass"),
        (0.04, 25.0, "warn"),
        (0.06, 25.0, "fail"),
    ],
)
def test_a_simulated_engine_that_runs_late(behind: float, time_scale: float, status: str) -> None:
    e = with_figures(USUAL, behind_s=behind)
    assert e.trial is not None
    trial = e.trial.model_copy(update={"simulated": True, "time_scale": time_scale})
    assert checks.simulated_clock(replace(e, trial=trial)).status == status


def switched_to(seqs: int, **flags: int) -> Evidence:
    """A trial on a server whose limit was lowered to ``seqs``."""
    assert FULL.trial is not None
    limits = Limits(max_num_seqs=seqs, max_num_batched_tokens=512, long_prefill_token_threshold=0)
    started = limits.model_copy(update={"max_num_seqs": 64})
    how = Switched(server_of="baseline/1", started=started, limits=limits, log_from=0)
    return replace(FULL, trial=FULL.trial.model_copy(update={"switched": how, "flags": {**flags}}))


def test_a_server_that_was_switched_kept_its_limits() -> None:
    found = checks.switched(switched_to(16, max_num_seqs=16))
    assert (found.status, found.figures["running_max"]) == ("pass", 16)
    assert "the server of baseline/1" in found.sentence.lower()


def test_a_server_that_ran_more_than_it_acknowledged() -> None:
    found = checks.switched(switched_to(8, max_num_seqs=8))
    assert found.status == "fail"
    assert "its limit is 8" in found.sentence


def test_a_server_that_was_given_other_limits_than_the_trial_asked_for() -> None:
    found = checks.switched(switched_to(16, max_num_seqs=16, max_num_batched_tokens=256))
    assert found.status == "fail"
    assert "max_num_batched_tokens 512 in place of 256" in found.sentence
