"""Plans: the same seed gives the same requests, each purpose has its own stream, prompts repeat only where asked."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rooftune.errors import InputError
from rooftune.workloads.draw import draw
from rooftune.workloads.load import load_workload, workload_files
from rooftune.workloads.prompts import prompt_text, prompt_token_ids, said_text
from rooftune.workloads.spec import Workload


def workload(**more: Any) -> Workload:
    value: dict[str, Any] = {
        "name": "made-up",
        "arrivals": {"process": "poisson", "rate_per_s": 10},
        "prompt_tokens": {"distribution": "uniform", "low": 20, "high": 60},
        "output_tokens": {"distribution": "normal", "mean": 50, "stddev": 10, "low": 1, "high": 90},
        "duration_s": 60,
        "seed": 7,
    }
    return Workload.model_validate({**value, **more})


def columns(plan: Any) -> dict[str, Any]:
    return {f.name: getattr(plan, f.name) for f in dataclasses.fields(plan)}


@pytest.mark.parametrize("name", sorted(workload_files()))
def test_the_same_seed_gives_the_same_requests_byte_for_byte(name: str) -> None:
    first, again, other = (draw(load_workload(name), seed=s) for s in (3, 3, 4))
    for column, values in columns(first).items():
        if isinstance(values, np.ndarray):
            assert values.tobytes() == getattr(again, column).tobytes()
    assert first.arrival_s.tobytes() != other.arrival_s.tobytes()
    for i in range(0, len(first), max(1, len(first) // 20)):
        assert prompt_token_ids(first, i) == prompt_token_ids(again, i)
        assert len(prompt_token_ids(first, i)) == first.prompt_tokens[i]
        assert prompt_text(first, i) == prompt_text(again, i)


def test_a_change_of_one_purpose_does_not_shift_the_others() -> None:
    base = draw(workload())
    faster = draw(workload(arrivals={"process": "poisson", "rate_per_s": 20}))
    n = len(base)
    assert (faster.prompt_tokens[:n] == base.prompt_tokens).all()
    longer = draw(workload(output_tokens={"distribution": "fixed", "value": 5}))
    assert longer.arrival_s.tobytes() == base.arrival_s.tobytes()
    assert longer.prompt_tokens.tobytes() == base.prompt_tokens.tobytes()


PROCESSES: list[dict[str, Any]] = [
    {"process": "poisson", "rate_per_s": 10},
    {"process": "constant", "rate_per_s": 10},
    {"process": "gamma", "rate_per_s": 10, "burstiness": 0.3},
    {"process": "ramp", "from_rate_per_s": 5, "to_rate_per_s": 15},
    {"process": "burst", "rate_per_s": 5, "burst_size": 50, "burst_every_s": 10},
]


@pytest.mark.parametrize("arrivals", PROCESSES, ids=lambda a: a["process"])
def test_arrivals_come_in_order_within_the_load_at_the_asked_rate(arrivals: dict[str, Any]) -> None:
    plan = draw(workload(arrivals=arrivals, duration_s=600))
    assert (np.diff(plan.arrival_s) >= 0).all()
    assert plan.arrival_s[0] >= 0
    assert plan.arrival_s[-1] < 600
    assert len(plan) == pytest.approx(6000, rel=0.1)


def test_a_ramp_grows_and_gamma_is_burstier_than_poisson() -> None:
    ramp = draw(workload(arrivals=PROCESSES[3], duration_s=600)).arrival_s
    assert (ramp > 300).sum() > 1.3 * (ramp < 300).sum()
    spread = {p["process"]: np.diff(draw(workload(arrivals=p, duration_s=600)).arrival_s) for p in PROCESSES[:3]}
    variation = {k: v.std() / v.mean() for k, v in spread.items()}
    assert variation["constant"] < 0.01
    assert variation["poisson"] == pytest.approx(1, abs=0.1)
    assert variation["gamma"] == pytest.approx(0.3**-0.5, abs=0.2)


@given(st.integers(0, 2**31), st.integers(100, 200_000))
@settings(max_examples=25, deadline=None)
def test_prompts_are_distinct_and_within_the_ordinary_tokens(seed: int, vocab: int) -> None:
    plan = draw(workload(duration_s=5), seed=seed)
    prompts = [tuple(prompt_token_ids(plan, i, vocab)) for i in range(len(plan))]
    assert len(set(prompts)) == len(prompts)
    low, high = min(map(min, prompts)), max(map(max, prompts))
    assert low >= min(1000, vocab // 4)
    assert high < vocab
    first_blocks = {p[:16] for p in prompts}
    assert len(first_blocks) == len(prompts), "no prefix-cache hit happens by accident"


def test_shared_prefixes_are_equal_within_a_group_and_only_there() -> None:
    plan = draw(workload(shared_prefix={"share": 0.5, "tokens": 32, "groups": 3}))
    shared = plan.prefix_id >= 0
    assert shared.mean() == pytest.approx(0.5, abs=0.1)
    by_group: dict[int, set[tuple[int, ...]]] = {}
    rest = set()
    for i in range(len(plan)):
        ids = prompt_token_ids(plan, i)
        if shared[i]:
            by_group.setdefault(int(plan.prefix_id[i]), set()).add(tuple(ids[:32]))
            assert len(ids) > 32
        rest.add(tuple(ids[-1:]) if shared[i] else tuple(ids[:16]))
    assert [len(v) for v in by_group.values()] == [1, 1, 1]
    assert len(set().union(*by_group.values())) == 3


def test_a_mix_draws_parts_by_weight() -> None:
    plan = draw(load_workload("mixed"))
    shares = np.bincount(plan.part, minlength=3) / len(plan)
    assert shares == pytest.approx([0.6, 0.25, 0.15], abs=0.05)
    assert plan.prompt_tokens[plan.part == 1].mean() > 5 * plan.prompt_tokens[plan.part == 0].mean()
    assert (plan.prefix_id[plan.part != 1] == -1).all()


def test_a_conversation_carries_its_history() -> None:
    talk = {"turns": {"distribution": "uniform", "low": 1, "high": 4}, "think_s": 1.5}
    plan = draw(workload(conversations=talk))
    later = np.flatnonzero(plan.turn > 0)
    assert len(later)
    for i in later[:50]:
        before, now = prompt_token_ids(plan, i - 1), prompt_token_ids(plan, i)
        assert plan.conversation[i] == plan.conversation[i - 1]
        assert now[: len(before)] == before
        assert len(now) > len(before) + plan.output_tokens[i - 1]
        assert len(said_text(plan, i).split()) == len(now) - len(before) - plan.output_tokens[i - 1]
    assert plan.think_s[later].mean() == pytest.approx(1.5, rel=0.3)


def test_a_closed_loop_has_no_times_but_a_concurrency() -> None:
    plan = draw(workload(arrivals={"process": "closed", "concurrency": 8}))
    assert plan.concurrency == 8
    assert (plan.arrival_s == 0).all()


def test_more_requests_than_can_be_drawn_are_refused() -> None:
    arrivals = {"process": "burst", "rate_per_s": 1, "burst_size": 1000, "burst_every_s": 0.001}
    with pytest.raises(InputError, match=r"asks for about 6e\+07 requests, and at most 20,000,000"):
        draw(workload(arrivals=arrivals, duration_s=60))


def test_a_conversation_that_outgrows_every_context_is_refused() -> None:
    turns = {"distribution": "fixed", "value": 20}
    lengths = {"distribution": "fixed", "value": 10_000_000}
    with pytest.raises(InputError, match="grows to"):
        draw(workload(conversations={"turns": turns}, output_tokens=lengths, duration_s=5))
