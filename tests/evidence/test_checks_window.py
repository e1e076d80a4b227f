"""The window: warm-up, steady state, enough requests, long enough."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.validity.scenes import slack
from benchmarks.validity.steady import FALSE_ALARMS, LEFT_OVER, LOADS, Load, main, shares
from rooftune.evidence.audit import window as checks
from rooftune.evidence.records.evidence import Evidence
from rooftune.metrics.window import Window
from tests.evidence import made_load

USUAL = made_load.evidence()


def over(e: Evidence, start: float, end: float) -> Evidence:
    """The same load, measured over another window."""
    assert e.trial is not None
    return replace(e, trial=e.trial.model_copy(update={"window": Window(start_s=start, end_s=end)}))


def test_a_usual_window_is_fine() -> None:
    assert [c(USUAL).status for c in checks.ALL] == ["pass"] * 4


@pytest.mark.parametrize(("start", "status"), [(0.0, "warn"), (0.3, "warn"), (20.0, "pass")])
def test_the_first_answers_are_left_out(start: float, status: str) -> None:
    """Answers take 0.8 s: a warm-up of 0.3 s is too short."""
    assert checks.warm_up(over(USUAL, start, 80.0)).status == status


@given(change=st.floats(-0.8, 0.8), noise=st.floats(1e-4, 0.02), seed=st.integers(0, 99))
def test_a_trend_is_measured(change: float, noise: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    rates = 100 * (1 + change * (np.linspace(0, 1, 12) - 0.5)) * (1 + noise * random.normal(size=12))
    found = checks.trend(rates)
    assert found.change == pytest.approx(change * 12 / 11, abs=8 * noise)
    if abs(change) > 20 * noise:
        assert found.p_value < 0.001


def test_noise_is_not_a_trend() -> None:
    random = np.random.default_rng(1)
    chances = [checks.trend(100 + random.normal(size=12)).p_value for _ in range(500)]
    assert np.mean(np.array(chances) < 0.01) < 0.03
    assert checks.trend(np.full(12, 5.0)) == checks.Change(0.0, 1.0)
    assert checks.trend(np.zeros(12)) == checks.Change(0.0, 1.0)


FULL = made_load.evidence(rate=40.0, slots=16, rows=made_load.serve(40.0, 80.0, slots=16, tpot_s=0.02, drain_s=90))


def slowed(factor: float, *, at_once: bool = False) -> Evidence:
    """A saturated server whose rate falls by this factor over the window, or in its last third."""
    r = FULL.requests
    assert r is not None
    share = np.where(r.token_s < 60, 1, factor) if at_once else np.interp(r.token_s, [20, 80], [1, factor])
    keep = np.random.default_rng(0).random(len(r.token_s)) < share
    thin = replace(r, token_s=r.token_s[keep], token_count=r.token_count[keep], token_owner=r.token_owner[keep])
    return replace(FULL, requests=thin)


@pytest.mark.parametrize(("factor", "status"), [(0.98, "pass"), (0.8, "warn"), (0.4, "fail")])
def test_a_server_that_slows_down_has_no_steady_state(factor: float, status: str) -> None:
    assert checks.steady_state(slowed(factor)).status == status


@pytest.mark.parametrize(("factor", "status"), [(0.98, "pass"), (0.8, "warn"), (0.3, "fail")])
def test_a_step_in_mid_window_is_seen(factor: float, status: str) -> None:
    assert checks.steady_state(slowed(factor, at_once=True)).status == status


def test_few_long_answers_of_a_steady_load_are_steady() -> None:
    """About two requests in flight, arrived by chance; the window holds seven answers, and a block less than one."""
    load = made_load.workload(0.2, duration=84.0, warmup=24.0)
    found = []
    for seed in range(60):
        rows = made_load.serve(0.2, load.total_s, slots=64, tpot_s=0.08, tokens=150, seed=seed)
        e = replace(made_load.evidence(0.2, rows=rows), workload=load)
        found.append(checks.steady_state(over(e, load.warmup_s, load.total_s)).status)
    assert found.count("fail") == 0
    assert found.count("warn") <= 2


def test_arrivals_that_become_rare_are_not_steady() -> None:
    """The second check, on answers, still sees that the load itself changes."""
    rows = made_load.serve(20.0, 80.0, slots=64, tpot_s=0.02)
    random = np.random.default_rng(0)
    rare = [row for row in rows if row["scheduled_s"] < 60 or random.random() < 0.3]
    assert checks.steady_state(made_load.evidence(20.0, rows=rare)).status == "fail"


def test_a_ramp_is_not_meant_to_be_steady() -> None:
    ramp = {"process": "ramp", "from_rate_per_s": 1, "to_rate_per_s": 20}
    found = checks.steady_state(replace(slowed(0.4), workload=made_load.workload(10.0, arrivals=ramp)))
    assert found.status == "pass"
    assert "ramp" in found.sentence


def test_a_p99_of_few_requests_is_doubted_only_where_it_is_quoted() -> None:
    few = over(USUAL, 70.0, 80.0)
    assert checks.quantiles(few).status == "warn"
    assert "368" in checks.quantiles(few).remedy
    assert checks.quantiles(replace(few, quoted={"median_ttft_ms": 20.0})).status == "pass"


def test_a_window_shorter_than_an_answer_fails() -> None:
    assert checks.length(over(USUAL, 40.0, 41.0)).status == "fail"
    assert checks.length(over(USUAL, 40.0, 43.0)).status == "warn"
    assert checks.length(over(USUAL, 40.0, 60.0)).status == "pass"


def test_filling_and_draining_dilutes_the_figures_of_other_tools() -> None:
    foreign = replace(USUAL, tool="csv", trial=None, duration_s=140.0)
    found = checks.length(foreign)
    assert found.status == "warn"
    assert "lowers the throughput" in found.sentence


@pytest.mark.parametrize("load", LOADS, ids=str)
def test_hardly_any_steady_load_fails(load: Load) -> None:
    """On a small scale: ``python -m benchmarks.validity.steady`` is the whole."""
    failed, _ = shares(load, 100, np.random.default_rng(2))
    assert failed <= FALSE_ALARMS + slack(FALSE_ALARMS, 100)


def test_arrivals_that_fall_are_seen_where_there_are_enough() -> None:
    failed, warned = shares(Load(5, 0.08, 24, 83), 50, np.random.default_rng(2), LEFT_OVER)
    assert failed >= 0.8
    assert failed + warned >= 0.95


def test_the_table_has_a_row_for_each_load(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--loads", "1"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("\n| ") == 1 + len(LOADS)
