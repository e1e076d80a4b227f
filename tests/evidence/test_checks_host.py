"""Clock and host: time runs one way, and the client was not the bottleneck."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from rooftune.evidence.audit import host as checks
from rooftune.evidence.records.evidence import Evidence
from tests.evidence import made_load

USUAL = made_load.evidence()


def test_a_usual_load_passes() -> None:
    assert {c(USUAL).status for c in checks.ALL} == {"pass"}


@pytest.mark.parametrize(
    ("cause", "effect"), [("scheduled_s", "sent_s"), ("sent_s", "first_token_s"), ("first_token_s", "last_token_s")]
)
def test_an_effect_before_its_cause(cause: str, effect: str) -> None:
    assert USUAL.requests is not None
    times = np.array(getattr(USUAL.requests, effect))
    times[:30] = getattr(USUAL.requests, cause)[:30] - 0.5
    found = checks.clock(replace(USUAL, requests=replace(USUAL.requests, **{effect: times})))
    assert found.status == "fail"
    assert "monotonic" in found.remedy


def test_tokens_out_of_order() -> None:
    assert USUAL.requests is not None
    times = np.array(USUAL.requests.token_s)
    times[5::40] -= 5
    assert checks.clock(replace(USUAL, requests=replace(USUAL.requests, token_s=times))).status == "fail"


@pytest.mark.parametrize(
    ("share", "lag", "status"), [(0.5, 1.0, "pass"), (0.9, 1.0, "warn"), (0.99, 1.0, "warn"), (0.99, 60.0, "fail")]
)
def test_a_saturated_client(share: float, lag: float, status: str) -> None:
    """A busy client is the bottleneck when it also sends late."""
    assert checks.client_cpu(made_load.evidence(client_cpu_share=share, send_lag_p99_ms=lag)).status == status


@pytest.mark.parametrize(
    ("check", "given", "status"),
    [
        (checks.event_loop, {"loop_lag_p99_ms": 5.0}, "pass"),
        (checks.event_loop, {"loop_lag_p99_ms": 40.0}, "warn"),
        (checks.event_loop, {"loop_lag_p99_ms": 40.0, "time_scale": 10.0}, "pass"),
        (checks.event_loop, {"loop_lag_p99_ms": None}, "no data"),
        (checks.garbage, {"gc_pause_max_ms": 200.0}, "warn"),
        (checks.garbage, {"gc_pause_max_ms": None}, "no data"),
    ],
)
def test_pauses_of_the_client(check: Any, given: dict[str, Any], status: str) -> None:
    assert check(made_load.evidence(**given)).status == status


def test_swapping() -> None:
    grown = np.linspace(0, 2**30, len(USUAL.ticks["t_s"]))
    assert checks.swap(replace(USUAL, ticks={**USUAL.ticks, "host_swap_bytes": grown})).status == "warn"
    steady = np.full(len(grown), 2.0**33)
    assert checks.swap(replace(USUAL, ticks={**USUAL.ticks, "host_swap_bytes": steady})).status == "pass"


def test_other_load_on_the_machine() -> None:
    assert checks.host_load(made_load.evidence(samples={"host_cpu_share": 0.99})).status == "warn"


def on_cpu(busy: float) -> Evidence:
    e = made_load.evidence(samples={"host_cpu_share": busy})
    assert e.trial is not None
    return replace(e, trial=e.trial.model_copy(update={"gpu": "cpu"}))


def test_a_server_that_computes_on_the_clients_cores() -> None:
    assert checks.shared_cores(on_cpu(0.95)).status == "warn"
    assert checks.shared_cores(on_cpu(0.4)).status == "pass"


def test_other_tools_do_not_report_it() -> None:
    foreign = Evidence("csv", "x")
    assert {c(foreign).status for c in checks.ALL} == {"no data"}
