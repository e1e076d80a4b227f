"""Capacity in virtual time: the rate at which the SLO breaks, for one engine and for many configurations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rooftune.errors import InputError
from rooftune.simulator.virtual.capacity import Response, capacity, sample
from rooftune.simulator.virtual.judging import Round, Server, judge_all
from rooftune.simulator.virtual.predict import EmulatedEngine, engine_of
from rooftune.speculation.known import KnownDraft, KnownDrafts
from rooftune.workloads.spec import Workload

T4 = ("T4", "llama-2-7b", "0.15.1")
MARLIN: dict[str, Any] = {"quantization": "awq_marlin", "max_model_len": 2048, "max_num_seqs": 64}


LIMITS: list[dict[str, float]] = [
    {"tpot_ms": 60}, {"ttft_ms": 400}, {"answer_ttft_ms": 2000}, {"e2el_ms": 4000}, {"ttft_ms": 300, "share": 0.9},
]  # fmt: skip


def workload(**changes: Any) -> Workload:
    fields = {
        "name": "made",
        "endpoint": "chat",
        "arrivals": {"process": "poisson", "rate_per_s": 4},
        "prompt_tokens": {"distribution": "lognormal", "mean": 50, "sigma": 0.5, "low": 8, "high": 200},
        "output_tokens": {"distribution": "lognormal", "mean": 40, "sigma": 0.4, "low": 2, "high": 120},
        "duration_s": 60,
        "seed": 3,
        "slo": {"ttft_ms": 2000, "tpot_ms": 100},
        **changes,
    }
    return Workload.model_validate(fields)


def engine(**flags: Any) -> EmulatedEngine:
    return engine_of(*T4, {**MARLIN, **flags})


def share_within(found: EmulatedEngine, load: Workload, requests: int, rate: float) -> float:
    """Share of the judged requests that meet the SLO at a rate, counted one by one."""
    response = Response(found, sample(load, requests))
    ratios = np.stack(list(response.ratios(rate).values())).max(axis=0)
    return float((ratios[len(ratios) // 5 :] <= 1).mean())


@pytest.mark.parametrize("slo", LIMITS)
def test_the_slo_holds_just_below_the_capacity_and_breaks_just_above(slo: dict[str, float]) -> None:
    load, requests = workload(slo=slo), 8000
    found = capacity(engine(), sample(load, requests))
    assert found.limited_by in slo
    assert share_within(engine(), load, requests, 0.985 * found.rate_per_s) >= load.slo.share
    assert share_within(engine(), load, requests, 1.015 * found.rate_per_s) < load.slo.share


def test_a_stricter_slo_never_raises_the_capacity() -> None:
    rates = [
        capacity(engine(), sample(workload(slo={"tpot_ms": limit}), 1000)).rate_per_s for limit in (100, 70, 50, 40)
    ]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > rates[-1]


def test_a_server_twice_as_fast_with_limits_half_as_long_carries_twice_the_rate() -> None:
    load, fast = workload(slo={"tpot_ms": 60}), workload(slo={"tpot_ms": 30})
    slow = Response(engine(), sample(load, 800))
    quick = Response(engine(), sample(fast, 800), speed=2.0)
    for rate in (2.0, 4.0, 6.0):
        assert quick.log_ratio(2 * rate) == pytest.approx(slow.log_ratio(rate), abs=1e-9)


def test_the_first_half_of_an_answer_is_taken_for_reasoning() -> None:
    """As the simulated engine streams it: the answer begins after half of the tokens, at the even pace of the rest."""
    slo = {"ttft_ms": 1000, "answer_ttft_ms": 1000, "e2el_ms": 1000}
    drawn = sample(workload(slo=slo, output_tokens={"distribution": "fixed", "value": 41}), 400)
    ratios = Response(engine(), drawn).ratios(2.0)
    first, answer, last = ratios["ttft_ms"], ratios["answer_ttft_ms"], ratios["e2el_ms"]
    assert answer == pytest.approx((first + last) / 2)
    one = sample(workload(slo=slo, output_tokens={"distribution": "fixed", "value": 1}), 400)
    ratios = Response(engine(), one).ratios(2.0)
    assert ratios["answer_ttft_ms"] == pytest.approx(ratios["ttft_ms"])


def test_an_slo_that_a_lone_request_breaks_gives_zero_and_says_which_limit() -> None:
    found = capacity(engine(), sample(workload(slo={"tpot_ms": 1, "ttft_ms": 5000}), 400))
    assert found.rate_per_s == 0
    assert found.limited_by == "tpot_ms"
    assert found.ratio_at_low_load > 1


def test_a_saturated_server_carries_no_more_than_what_comes_out() -> None:
    found = capacity(engine(max_num_seqs=4), sample(workload(slo={"tpot_ms": 1000}), 600))
    assert found.limited_by in ("queue", "tpot_ms")
    assert found.rate_per_s <= found.saturated_rate_per_s


def test_requests_that_are_too_long_count_as_broken() -> None:
    load = workload(slo={"tpot_ms": 100, "share": 0.99})
    assert capacity(engine(max_model_len=64), sample(load, 500)).rate_per_s == 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"slo": {}}, "has no SLO"),
        ({"arrivals": {"process": "closed", "concurrency": 4}}, "no rate to vary"),
        ({"arrivals": {"process": "ramp", "from_rate_per_s": 1, "to_rate_per_s": 2}}, "no rate to vary"),
    ],
)
def test_workloads_without_slo_or_rate_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        sample(workload(**changes))


def test_conversations_and_bursts_have_a_capacity() -> None:
    turns = {"turns": {"distribution": "fixed", "value": 3}, "think_s": 1.0}
    talk = capacity(engine(), sample(workload(conversations=turns), 900))
    burst = {"process": "burst", "rate_per_s": 2, "burst_size": 10, "burst_every_s": 10}
    bursts = capacity(engine(), sample(workload(arrivals=burst), 900))
    assert 0 < talk.rate_per_s < talk.saturated_rate_per_s * 1.01
    assert bursts.rate_per_s > 0


def test_many_configurations_come_back_in_order_with_refusals_and_longer_samples_for_the_best() -> None:
    grid: list[dict[str, Any]] = [{**MARLIN, "max_num_seqs": n} for n in (1, 4, 16, 64)]
    grid += [{**MARLIN, "dtype": "bfloat16"}, {**MARLIN, "gpu_memory_utilization": 0.95}]
    rounds = (Round(400, 0.8), Round(1500, 1.0))
    found = judge_all(Server(*T4), workload(), grid, rounds=rounds, processes=1)
    assert [dict(j.flags) for j in found] == grid
    assert found[4].capacity is None
    assert "Bfloat16" in found[4].refusal
    rates = [j.rate_per_s for j in found[:4]]
    assert rates == sorted(rates)
    assert found[3].requests > found[0].requests


def test_configurations_that_cannot_differ_share_one_judgement() -> None:
    same: list[dict[str, Any]] = [{**MARLIN, "max_num_seqs": 8, "gpu_memory_utilization": u} for u in (0.8, 0.9)]
    first, second = judge_all(Server(*T4), workload(), same, rounds=(Round(300, 1.0),), processes=1)
    assert first.capacity is second.capacity
    other = judge_all(Server(*T4), workload(), same[1:], rounds=(Round(300, 1.0),), processes=1)[0]
    assert other.capacity == second.capacity


@pytest.mark.slow
def test_processes_give_what_one_process_gives() -> None:
    grid: list[dict[str, Any]] = [{**MARLIN, "max_num_seqs": n} for n in range(4, 40)]
    rounds = (Round(200, 1.0),)
    one = judge_all(Server(*T4), workload(), grid, rounds=rounds, processes=1)
    two = judge_all(Server(*T4), workload(), grid, rounds=rounds, processes=2)
    assert [j.rate_per_s for j in one] == [j.rate_per_s for j in two]


def test_heads_that_cost_the_same_and_are_accepted_differently_have_different_capacities() -> None:
    heads = [{"method": "eagle3", "model": name, "num_speculative_tokens": 3} for name in ("good", "poor")]
    shares = {"good": [0.9, 0.8, 0.7], "poor": [0.2, 0.05, 0.0]}
    known = KnownDrafts(
        tuple(KnownDraft(speculation=h, accepted=shares[h["model"]], drafted=3.0, source="a test") for h in heads)
    )
    flags = [{**MARLIN, "speculative_config": head} for head in heads]
    server = Server("T4", "llama-2-7b", "0.32.0", drafts=known)
    good, poor = judge_all(server, workload(), flags, rounds=(Round(300, 1.0),), processes=1)
    assert good.rate_per_s > 1.3 * poor.rate_per_s
