"""Steps give the server's speed, the speed gives the capacity, and the search ends when that is known."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from rooftune.capacity.estimate import CapacityEstimate, estimate, estimate_speed
from rooftune.capacity.reference import Reference
from rooftune.capacity.search import Ended, NextStep, Precision, next_step
from rooftune.capacity.steps import Step, judged_requests, response_of, workload_at
from rooftune.errors import InputError
from rooftune.simulator.virtual.predict import engine_of
from rooftune.workloads.spec import Workload

FLAGS: dict[str, Any] = {"quantization": "awq_marlin", "max_model_len": 2048, "max_num_seqs": 64}


def workload(**changes: Any) -> Workload:
    fields = {
        "name": "made",
        "arrivals": {"process": "poisson", "rate_per_s": 4},
        "prompt_tokens": {"distribution": "lognormal", "mean": 50, "sigma": 0.5, "low": 8, "high": 200},
        "output_tokens": {"distribution": "lognormal", "mean": 40, "sigma": 0.4, "low": 2, "high": 120},
        "duration_s": 60,
        "seed": 3,
        "slo": {"ttft_ms": 2000, "tpot_ms": 60},
        **changes,
    }
    return Workload.model_validate(fields)


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference(engine_of("T4", "llama-2-7b", "0.15.1", FLAGS), workload(), requests=4_000, exact=True)


def measured(reference: Reference, order: NextStep, speed: float) -> Step:
    """The step as a server of that speed shows it: the reference itself, scaled."""
    return Step(order.workload, reference.respond(order.workload, speed), order.workload.total_s)


def run(reference: Reference, speed: float, precision: Precision) -> tuple[list[Step], CapacityEstimate, Ended]:
    steps: list[Step] = []
    found: CapacityEstimate | None = None
    while True:
        order = next_step(reference, steps, precision, seed=5, found=found)
        if isinstance(order, Ended):
            assert found is not None
            return steps, found, order
        steps.append(measured(reference, order, speed))
        found = estimate(reference, steps)


@pytest.mark.parametrize("speed", [0.3, 0.8, 1.0, 1.7])
def test_a_measurement_finds_the_capacity_of_a_faster_or_slower_server(reference: Reference, speed: float) -> None:
    steps, found, ended = run(reference, speed, Precision())
    assert ended.precise or "hardly narrow" in ended.reason, "near no capacity at all, it depends steeply on the speed"
    assert found.speed == pytest.approx(speed, rel=0.01)
    assert found.rate_per_s == pytest.approx(reference.capacity(speed), rel=0.01)
    assert found.low_per_s < found.rate_per_s < found.high_per_s
    assert len({s.workload.seed for s in steps}) == len(steps)


def test_an_overloaded_step_still_gives_the_speed(reference: Reference) -> None:
    shape = reference.shape(1.0)
    sent = workload_at(workload(), 3 * reference.capacity(1.0), shape, 9)
    response = reference.respond(sent, 0.7)
    assert response.attainment < 0.5
    assert reference.speed_of(Step(sent, response, 60.0)) == pytest.approx(0.7, rel=0.02)


def test_a_server_that_is_shown_to_be_beaten_is_measured_no_longer(reference: Reference) -> None:
    much = 1.5 * reference.capacity(1.0)
    steps, found, ended = run(reference, 1.0, Precision(beaten_by_per_s=much, half=0.001))
    assert found.high_per_s < much
    assert "less than another" in ended.reason
    assert len(steps) == 2


def test_steps_and_load_are_bounded(reference: Reference) -> None:
    steps, _, ended = run(reference, 1.0, Precision(half=1e-6, most_steps=4))
    assert len(steps) == 4
    assert not ended.precise
    steps, _, ended = run(reference, 1.0, Precision(half=1e-6, most_load_s=1.0))
    assert len(steps) == 1


def test_a_step_far_from_the_edge_counts_less() -> None:
    near = estimate_speed([0.0, 0.1], [0.0, 0.0])
    far = estimate_speed([0.0, 0.1], [0.0, 1.5])
    assert near.log_speed == pytest.approx(0.05)
    assert far.log_speed < 0.02


def test_more_steps_narrow_the_interval_and_scattered_ones_widen_it() -> None:
    offsets = [0.0] * 3
    assert estimate_speed([0.0] * 6, [0.0] * 6).half < estimate_speed([0.0] * 3, offsets).half
    assert estimate_speed([-0.1, 0.0, 0.1], offsets).half > estimate_speed([0.0] * 3, offsets).half


def test_every_step_has_its_own_rate_and_requests() -> None:
    shape = replace(Reference(engine_of("T4", "llama-2-7b", "0.15.1", FLAGS), workload(), 1_000).shape(1.0))
    burst = workload(arrivals={"process": "burst", "rate_per_s": 2, "burst_size": 5, "burst_every_s": 10})
    faster = workload_at(burst, 4.0, shape, 1)
    assert faster.arrivals.model_dump() == {
        "process": "burst", "rate_per_s": 4.0, "burst_size": 5, "burst_every_s": 5.0
    }  # fmt: skip
    assert faster.duration_s == pytest.approx(shape.requests / 4.0)
    with pytest.raises(InputError, match="no rate to vary"):
        workload_at(workload(arrivals={"process": "ramp", "from_rate_per_s": 1, "to_rate_per_s": 2}), 1.0, shape, 1)


def test_unended_requests_leave_a_quantile_undetermined() -> None:
    ratios = {"ttft_ms": np.array([0.5] * 90 + [math.inf] * 10)}
    found = response_of(ratios, np.ones(100, bool), 2.0, 0.99)
    assert found.attainment == pytest.approx(0.9)
    assert math.isinf(found.quantile(0.99))
    assert found.quantile(0.5) == 0.5
    assert judged_requests(0.999) > judged_requests(0.99) > judged_requests(0.5)
