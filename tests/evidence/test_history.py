"""Runs of a workload over time, each configuration compared with its previous run."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rooftune.evidence.history import run_to_run


def rows(*runs: tuple[str, float], trials: int = 4, noise: float = 0.003, **more: Any) -> list[dict[str, Any]]:
    """Rows of runs by (name, tokens/s)."""
    random = np.random.default_rng(len(runs))
    return [
        {"candidate": "baseline", "workload_hash": "a", "gpu": "T4", "engine": "vllm", "model": "m", "flags": "{}",
         "time_scale": 1.0, "engine_version": "0.15.1", "believed": True, "run": run, "n": n, "seed": n,
         "started_at": 1.7e9 + 1000 * i + n, "output_throughput": rate * float(np.exp(random.normal(0, noise))), **more}
        for i, (run, rate) in enumerate(runs) for n in range(1, trials + 1)
    ]  # fmt: skip


def test_a_nightly_loss_is_found_and_a_steady_rate_is_not() -> None:
    (found,) = run_to_run(rows(("mon", 100.0), ("tue", 100.0), ("wed", 90.0)))
    assert found.comparison.answer == "worse"
    assert found.comparison.trials_a == found.comparison.trials_b == 4
    (calm,) = run_to_run(rows(("mon", 90.0), ("tue", 100.0), ("wed", 100.0), trials=6))
    assert calm.comparison.answer in ("no measurable difference", "more trials needed")


def test_only_runs_of_the_same_kind_are_compared() -> None:
    assert run_to_run(rows(("mon", 100.0))) == []
    assert run_to_run([*rows(("mon", 100.0)), *rows(("tue", 50.0), gpu="L4")]) == []
    assert run_to_run(rows(("mon", 100.0), ("tue", 50.0), believed=False)) == []


def test_another_engine_version_is_the_change() -> None:
    old, new = rows(("mon", 100.0)), rows(("tue", 112.0), engine_version="0.32.0")
    for r in new:
        r["started_at"] += 1e6
    (found,) = run_to_run([*old, *new])
    assert (found.engine_version, found.engine_version_before) == ("0.32.0", "0.15.1")
    assert found.comparison.answer == "better"


@given(counts=st.lists(st.integers(1, 4), min_size=2, max_size=4))
def test_runs_without_a_name_are_distinguished_by_their_numbers(counts: list[int]) -> None:
    """Rows of an older version: the trial's number begins again with each run."""
    found = []
    for i, count in enumerate(counts):
        for r in rows(("", 100.0), trials=count):
            found.append({**r, "started_at": 1.7e9 + 1000 * i + r["n"]})
    (change,) = run_to_run(found)
    assert (change.comparison.trials_a, change.comparison.trials_b) == (counts[-1], counts[-2])
