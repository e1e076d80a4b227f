"""The audit of a ladder of rates finds what spoils it, and nothing in one that is in order."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from rooftune.evidence.audit.ladder import LadderContext, LadderStep, audit_ladder

CONTEXT = LadderContext(0.99, {"ttft_ms": 2.0, "tpot_ms": 0.05}, 7.6, 8.4, 0.02, 50.0)


def step(number: int, **changes: Any) -> LadderStep:
    base = LadderStep(
        number=number,
        rate_per_s=8.0,
        seed=1000 + number,
        started_at=100.0 * number,
        idle=True,
        present=0.0,
        settle_s=10.0,
        window_s=60.0,
        answer_s=6.0,
        requests=480,
        attainment=0.99,
        log_speed=0.0,
        log_ratio=0.0,
        send_lag_p99_s=0.002,
        answer_tokens=150.0,
        planned_tokens=150.0,
    )
    return replace(base, **changes)


GOOD = [step(n, log_speed=s) for n, s in enumerate((0.0, 0.01, -0.01, 0.005), 1)]


def found(steps: list[LadderStep], context: LadderContext = CONTEXT) -> dict[str, str]:
    return {c.id: c.status for c in audit_ladder(steps, context)}


def changed(number: int, **changes: Any) -> list[LadderStep]:
    return [replace(s, **changes) if s.number == number else s for s in GOOD]


def test_a_ladder_in_order_passes_every_check() -> None:
    assert set(found(GOOD).values()) == {"pass"}
    assert audit_ladder([], CONTEXT) == []


@pytest.mark.parametrize(
    ("name", "status", "steps"),
    [
        ("settled-start", "fail", changed(2, idle=False, present=3.0)),
        ("settled-start", "warn", changed(2, settle_s=2.0)),
        ("settled-start", "warn", changed(2, idle=None, cut_before=2)),
        ("fresh-prompts", "fail", changed(2, seed=1001)),
        ("window-length", "warn", changed(2, requests=200)),
        ("window-length", "warn", changed(2, window_s=15.0)),
        ("send-lag", "warn", changed(2, send_lag_p99_s=0.4)),
        ("send-lag", "fail", changed(2, send_lag_p99_s=1.2)),
        ("answer-lengths", "warn", [replace(s, answer_tokens=90.0) for s in GOOD]),
        ("answer-lengths", "no data", [replace(s, answer_tokens=None) for s in GOOD]),
        ("reference-fits", "warn", changed(2, log_speed=0.6)),
        ("reference-fits", "fail", [replace(s, log_speed=math.log(0.02)) for s in GOOD]),
        ("reference-fits", "fail", [replace(s, log_speed=math.log(50.0)) for s in GOOD]),
        ("reference-fits", "no data", [replace(s, log_ratio=1.5) for s in GOOD]),
        ("steps-agree", "fail", changed(2, rate_per_s=5.0, attainment=0.9)),
        ("steps-agree", "fail", changed(2, rate_per_s=11.0, attainment=1.0)),
        ("drift", "no data", GOOD[:2]),
    ],
)
def test_what_spoils_a_ladder_is_found(name: str, status: str, steps: list[LadderStep]) -> None:
    assert found(steps)[name] == status


def test_a_drift_is_found_where_it_exceeds_the_scatter() -> None:
    slower = [replace(s, log_speed=-0.08 * s.number) for s in GOOD]
    check = next(c for c in audit_ladder(slower, CONTEXT) if c.id == "drift")
    assert check.status == "warn"
    assert "slower" in check.sentence
    assert check.figures["change"] == pytest.approx(math.expm1(-0.24), abs=0.01)
    scattered = [replace(s, log_speed=0.03 * (-1) ** s.number) for s in GOOD]
    assert found(scattered)["drift"] == "pass"
    far = [replace(s, log_speed=-0.5) if s.number == 1 else s for s in GOOD]
    first_is_far = [replace(s, log_ratio=-1.2) if s.number == 1 else s for s in far]
    assert found(first_is_far)["drift"] == "pass", "the probe, far from the edge, is not drift"


def test_without_an_interval_nothing_can_be_contradicted() -> None:
    assert found(GOOD, replace(CONTEXT, low_per_s=None))["steps-agree"] == "no data"


def test_without_a_limit_from_the_schedule_lag_does_not_matter() -> None:
    late = changed(2, send_lag_p99_s=1.2)
    assert found(late, replace(CONTEXT, limits_s={"tpot_ms": 0.05}))["send-lag"] == "pass"
