"""The number of users that a server carries: in virtual time, from steps of a closed loop, and in words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rooftune.capacity.closed_loop import closed_loop
from rooftune.capacity.estimate import CapacityEstimate, estimate
from rooftune.capacity.listener import measurement_plan
from rooftune.capacity.search import Ended, Precision, next_step
from rooftune.capacity.steps import Step
from rooftune.capacity.units import amount, load_of, per_of
from rooftune.capacity.users import UsersReference
from rooftune.errors import InputError
from rooftune.simulator.runs import ClientSettings, SimulatedRun
from rooftune.simulator.virtual.capacity import slo_ratios
from rooftune.simulator.virtual.predict import EmulatedEngine, engine_of
from rooftune.simulator.virtual.stepwise import run_stepwise
from rooftune.simulator.virtual.users import users_capacity, users_sample
from rooftune.workloads.draw import draw
from rooftune.workloads.spec import Workload
from tasks.capacity_lines import duration, plan_text
from tests.capacity.made_capacity import workload

TALK = {"turns": {"distribution": "fixed", "value": 3}, "think_s": 2.0}


def closed(users: int = 4, think_s: float = 0.0, **changes: Any) -> Workload:
    return workload(arrivals={"process": "closed", "concurrency": users, "think_s": think_s}, **changes)


def engine(**flags: Any) -> EmulatedEngine:
    chosen = {"quantization": "awq_marlin", "max_model_len": 2048, "max_num_seqs": 64, **flags}
    return engine_of("T4", "llama-2-7b", "0.15.1", chosen)


def users_of(load: Workload, requests: int = 4_000, **flags: Any) -> float:
    return users_capacity(engine(**flags), users_sample(load, requests)).users


def share_within(found: EmulatedEngine, load: Workload) -> float:
    """Share of the requests of the measured window within the SLO, one token after another."""
    plan = draw(load)
    plan = replace(plan, **{n: getattr(plan, n)[:6_000] for n in COLUMNS})
    client = ClientSettings(users=plan.concurrency, send_until_s=load.total_s)
    run = run_stepwise(plan, found.step_time, found.limits, client, acceptance=found.acceptance)
    assert np.isnan(run.sent_s[-1]), "the plan holds more than the users get to"
    ended = run.generated >= plan.output_tokens
    shown = type("Run", (), {**run.__dict__, "ended": ended, "times": SimulatedRun.times})()
    worst = np.max(np.stack(list(slo_ratios(shown, load.slo).values())), axis=0)
    judged = (run.due_s >= load.warmup_s) & np.isfinite(run.sent_s)
    return float((worst[judged] <= 1).mean())


COLUMNS = (
    "arrival_s", "prompt_tokens", "output_tokens", "prefix_id", "prefix_tokens", "prompt_seed", "conversation", "turn",
    "think_s", "part",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("load", "flags"),
    [
        (closed(slo={"tpot_ms": 30, "share": 0.9}), {}),
        (closed(slo={"ttft_ms": 900, "share": 0.9}), {"max_num_seqs": 4}),
        (closed(think_s=1.5, slo={"tpot_ms": 30, "share": 0.9}), {}),
        (closed(slo={"e2el_ms": 2000, "share": 0.9}, conversations=TALK), {"max_num_seqs": 8}),
    ],
)
def test_the_capacity_is_that_of_counting_users_one_by_one(load: Workload, flags: dict[str, Any]) -> None:
    """A closed loop of each number of users, through the plain scheduler, until the SLO breaks."""
    found = users_of(load, **flags)
    server, counted = engine(**flags), 0
    begin = max(1, int(0.7 * found))
    while True:
        users = begin + counted
        arrivals = load.arrivals.model_copy(update={"concurrency": users})
        long = load.model_copy(update={"arrivals": arrivals, "warmup_s": 20.0, "duration_s": 120.0, "seed": 11})
        if share_within(server, long) < load.slo.share:
            break
        counted += 1
    assert counted, "the SLO holds well below the capacity"
    assert users - 1 == pytest.approx(int(found), abs=max(1.0, 0.03 * found))


@settings(max_examples=12, deadline=None)
@given(
    ttft=st.sampled_from([400.0, 900.0, 2000.0]),
    tpot=st.sampled_from([20.0, 35.0, 60.0]),
    wider=st.floats(1.05, 2.0),
    think=st.sampled_from([0.0, 3.0]),
)
def test_a_stricter_slo_never_raises_the_number_of_users(ttft: float, tpot: float, wider: float, think: float) -> None:
    strict = {"ttft_ms": ttft, "tpot_ms": tpot}
    loose = {name: wider * limit for name, limit in strict.items()}
    of = [users_of(closed(think_s=think, slo=slo), 1_000, max_num_seqs=16) for slo in (strict, loose)]
    assert int(of[0]) <= int(of[1])


def test_more_users_than_places_wait_for_each_other() -> None:
    full = users_capacity(engine(max_num_seqs=8), users_sample(closed(slo={"tpot_ms": 500}), 2_000))
    assert (full.users, full.limited_by) == (8.0, "queue")
    queued = users_capacity(engine(max_num_seqs=8), users_sample(closed(slo={"ttft_ms": 2000}), 2_000))
    assert queued.users > 12
    assert queued.limited_by == "ttft_ms"


def test_think_time_leaves_room_for_more_users() -> None:
    assert users_of(closed(think_s=5.0)) > 2 * users_of(closed())


def test_one_user_who_breaks_the_slo_gives_zero() -> None:
    found = users_capacity(engine(), users_sample(closed(slo={"tpot_ms": 1, "ttft_ms": 5000}), 400))
    assert (found.users, found.limited_by) == (0.0, "tpot_ms")


@pytest.fixture(scope="module")
def reference() -> UsersReference:
    return UsersReference(engine(), closed(), requests=4_000, exact=True)


@pytest.mark.parametrize("speed", [0.6, 1.0, 1.7])
def test_a_measurement_finds_the_users_of_a_faster_or_slower_server(reference: UsersReference, speed: float) -> None:
    steps: list[Step] = []
    found: CapacityEstimate | None = None
    while not isinstance(order := next_step(reference, steps, Precision(), seed=5, found=found), Ended):
        steps.append(Step(order.workload, reference.respond(order.workload, speed), order.workload.total_s))
        found = estimate(reference, steps)
    assert order.precise or "hardly narrow" in order.reason
    assert found is not None
    assert found.speed == pytest.approx(speed, rel=0.03)
    assert found.low_per_s < reference.capacity(speed) < found.high_per_s
    assert found.rate_per_s == pytest.approx(reference.capacity(found.speed), rel=0.001)
    assert found.low_per_s < found.rate_per_s < found.high_per_s
    users = [load_of(s.workload) for s in steps]
    assert all(n == round(n) >= 1 for n in users)
    assert len({s.workload.seed for s in steps}) == len(steps)


def test_the_plan_says_first_that_a_budget_is_too_short(reference: UsersReference) -> None:
    plan = measurement_plan(reference)
    assert plan.fits
    assert plan_text(plan, 1.0).startswith(
        f"The reference carries {amount(reference.capacity(1.0), 'users')}. First steps"
    )
    short = measurement_plan(reference, most_load_s=30.0)
    said = plan_text(short, 1.0)
    assert said.startswith("The budget of 30 s is too short for a narrow interval: the first steps take ")
    assert f"each judges {short.requests:,} requests for an SLO that 99 % of them must meet" in said


@pytest.mark.parametrize(("seconds", "words"), [(45.0, "45 s"), (720.0, "12 min"), (12_600.0, "3.5 h")])
def test_lengths_of_time_have_the_unit_that_reads_best(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_a_workload_becomes_a_closed_loop() -> None:
    made = closed_loop(workload(), None, None)
    assert made.arrivals.model_dump() == {"process": "closed", "concurrency": 1, "think_s": 0.0}
    assert per_of(made) == "users"
    talk = closed_loop(workload(conversations=TALK), 12)
    assert talk.arrivals.model_dump() == {"process": "closed", "concurrency": 12, "think_s": 2.0}
    slow = closed_loop(workload(conversations=TALK), think_s=7.0)
    assert slow.conversations is not None
    assert slow.conversations.think_s == 7.0
    own = closed_loop(closed(9, 3.0))
    assert own.arrivals.model_dump() == {"process": "closed", "concurrency": 9, "think_s": 3.0}
    decided = closed_loop(workload(objective={"metric": "capacity"}))
    assert Workload.model_validate(decided.model_dump()) == decided, "a rate cannot decide in a closed loop"
    with pytest.raises(InputError, match="so no users can send them"):
        closed_loop(workload(arrivals={"process": "ramp", "from_rate_per_s": 1, "to_rate_per_s": 2}))


def test_users_are_whole(tmp_path: Path) -> None:
    assert amount(1.9, "users") == "1 user"
    assert amount(48.0, "users") == "48 users"
    assert amount(2.75, "rate") == "2.75 requests/s"
