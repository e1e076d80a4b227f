"""The fast path equals the plain scheduler, step by step, to a nanosecond."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from simulator_cases import Case, MadeStepTime, cases, plan_of, strangers

from rooftune.simulator.engine.scheduler import Limits
from rooftune.simulator.fastpath import run
from rooftune.simulator.fastpath.compilation import CompiledOnce, compile_ahead, fast_path
from rooftune.simulator.fastpath.run import lay_out, pays_to_compile, run_fast
from rooftune.simulator.runs import ClientSettings, SimulatedRun
from rooftune.simulator.virtual.stepwise import StepwiseRun, run_stepwise

TIMES = ("due_s", "sent_s", "admitted_s", "first_s", "last_s")
COUNTS = ("generated", "preempted", "cached")


def both(case: Case, *, compile: bool = False) -> tuple[SimulatedRun, StepwiseRun]:
    arguments = (case.plan, case.step_time, case.limits, case.client)
    fast = run_fast(*arguments, acceptance=case.acceptance, compile=compile)
    return fast, run_stepwise(*arguments, acceptance=case.acceptance)


def assert_equal(fast: SimulatedRun, plain: StepwiseRun) -> None:
    for name in COUNTS:
        np.testing.assert_array_equal(getattr(fast, name), getattr(plain, name), err_msg=name)
    for name in TIMES:
        np.testing.assert_allclose(getattr(fast, name), getattr(plain, name), rtol=0, atol=1e-9, err_msg=name)
    assert int(fast.steps.sum()) == plain.steps
    assert fast.end_s == pytest.approx(plain.end_s, abs=1e-9)
    assert int(fast.prefix_queries.sum()) == plain.prefix_queries
    assert int(fast.prefix_hits.sum()) == plain.prefix_hits


@settings(max_examples=150, deadline=None)
@given(cases())
def test_in_one_piece_equals_step_by_step(case: Case) -> None:
    fast, plain = both(case)
    assert_equal(fast, plain)


@settings(max_examples=150, deadline=None)
@given(cases(strangers(), most_spare_blocks=60))
def test_sequences_that_decode_in_step_are_as_they_are_one_by_one(case: Case) -> None:
    fast, plain = both(case)
    assert_equal(fast, plain)


@settings(max_examples=80, deadline=None)
@given(cases() | cases(strangers(), most_spare_blocks=60))
def test_totals_by_interval_and_streams_in_the_window_equal_the_tokens_one_by_one(case: Case) -> None:
    fast, plain = both(case)
    at = np.array([t for t, _, _ in plain.tokens])
    owner = np.array([r for _, r, _ in plain.tokens], dtype=np.int64)
    count = np.array([c for _, _, c in plain.tokens], dtype=np.int64)
    edges = np.array([-np.inf, *case.client.marks_s, np.inf])
    far = np.abs(at[:, None] - np.array(case.client.marks_s)).min(axis=1, initial=1.0) > 1e-9
    assume(far.all())  # at a mark a rounding error decides on which side a token counts
    by_interval = [int(count[(at >= a) & (at < b)].sum()) for a, b in itertools.pairwise(edges)]
    assert fast.tokens.tolist() == by_interval
    window = case.client.window
    gaps = 0
    for r in range(len(case.plan)):
        inside = (owner == r) & window.holds(at)
        if not inside.any():
            assert np.isnan(fast.stream_first_s[r])
            continue
        gaps += int(inside.sum()) - 1
        assert fast.stream_first_s[r] == pytest.approx(at[inside][0], abs=1e-9)
        assert fast.stream_last_s[r] == pytest.approx(at[inside][-1], abs=1e-9)
        assert fast.stream_tokens[r] == count[inside].sum() - count[inside][0]
    assert fast.gaps.sum() == pytest.approx(gaps, abs=1e-6)
    assert fast.extra_tokens == int((count - 1).sum())


def test_gaps_of_a_growing_batch_are_those_of_the_steps() -> None:
    """One request alone: every gap is the length of a step, and the histogram holds them to 0.2 %."""
    plan = plan_of([0.0], [20], [400])
    limits = Limits(max_num_seqs=4, max_num_batched_tokens=64, max_model_len=512, kv_blocks=64)
    case = Case(plan, limits, MadeStepTime(64, 4), ClientSettings(), 0.6)
    fast, plain = both(case)
    gaps = np.array(plain.durations[1:])
    for q in (0.1, 0.5, 0.9, 0.99):
        assert fast.gap_quantile(q) == pytest.approx(np.quantile(gaps, q), rel=3e-3)
    assert fast.gap_moments()[0] == pytest.approx(gaps.mean(), rel=1e-3)
    assert fast.gap_moments()[1] == pytest.approx(gaps.std(), rel=2e-2)


def test_a_step_costs_the_same_whatever_is_running(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sequences that decode in step are not looked at one by one: that happens when they come, go, and need a block."""
    from rooftune.simulator.fastpath import decode

    looked: list[int] = []
    one_by_one = decode.decode_all
    monkeypatch.setattr(decode, "decode_all", lambda s, n, *more: (looked.append(n), one_by_one(s, n, *more))[1])
    n, answers = 60, 200
    plan = plan_of(np.linspace(0, 3, n), [20] * n, [answers] * n)
    limits = Limits(max_num_seqs=n, max_num_batched_tokens=512, max_model_len=512, kv_blocks=2000)
    found = run_fast(plan, MadeStepTime(512, n), limits, ClientSettings(), compile=False)
    assert found.generated.tolist() == [answers] * n
    assert sum(looked) < 3 * n < n * answers / 50


def test_work_done_between_events_is_one_piece() -> None:
    """Two thousand tokens of a lone request take a handful of calls, not two thousand."""
    from rooftune.simulator.fastpath import loop

    calls = 0
    step = loop.one_step

    def counted(state: object) -> bool:
        nonlocal calls
        calls += 1
        return step(state)

    plan = plan_of([0.0], [20], [2000])
    limits = Limits(max_num_seqs=4, max_num_batched_tokens=64, max_model_len=4096, kv_blocks=400)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "one_step", counted)
        found = run_fast(plan, MadeStepTime(64, 4), limits, ClientSettings(), compile=False)
    assert found.generated.tolist() == [2000]
    assert calls < 10


def test_priority_without_priorities_is_first_come_first_served() -> None:
    """Requests of a workload bear no priorities, so the fast path needs no queue by priority."""
    plan = plan_of(np.linspace(0, 0.3, 30), [60] * 30, [40] * 30)
    limits = Limits(
        max_num_seqs=8, max_num_batched_tokens=64, max_model_len=128, kv_blocks=30, whole_prompt_must_fit=False
    )
    a = run_stepwise(plan, MadeStepTime(64, 8), limits, ClientSettings())
    b = run_stepwise(plan, MadeStepTime(64, 8), replace(limits, priority=True), ClientSettings())
    assert a.preempted.sum() > 0
    np.testing.assert_array_equal(a.last_s, b.last_s)


@settings(max_examples=60, deadline=None)
@given(cases(), st.floats(0.2, 5.0))
def test_a_plan_that_is_laid_out_once_runs_at_every_rate_as_if_it_were_drawn_so(case: Case, speed: float) -> None:
    assume(not case.client.users)
    arguments = (case.step_time, case.limits, case.client)
    laid_out = lay_out(case.plan, *arguments, acceptance=case.acceptance)
    moved = replace(case.plan, arrival_s=case.plan.arrival_s * speed, think_s=case.plan.think_s * speed)
    for plan in (moved, case.plan, moved):
        found = laid_out.run(compile=False, moved=plan)
        assert_equal(found, run_stepwise(plan, *arguments, acceptance=case.acceptance))


def test_a_request_that_fits_once_its_cached_blocks_are_taken_is_admitted_in_that_step() -> None:
    """Its first chunk is a part of its prompt. While its cached blocks are free, admitting it takes them and the
    chunk's; a decode step that takes the first of them leaves only the chunk's."""
    prompt = [1, 47, 137, 1, 1, 1, 1, 1, 1, 129, 1, 1, 1, 105, 1, 1, 1, 1, 1, 1]
    output = [1, 32, 12, 33, 1, 1, 1, 1, 32] + [1] * 11
    shared = [0, 46, 48, 0, 0, 0, 0, 0, 0, 48, 0, 0, 0, 48, 0, 0, 0, 0, 0, 0]
    plan = plan_of(np.zeros(20), prompt, output, seeds=[0] * 20, prefix=[(0, tokens) for tokens in shared])
    limits = Limits(
        max_num_seqs=7,
        max_num_batched_tokens=66,
        max_model_len=150,
        kv_blocks=16,
        long_prefill_token_threshold=24,
        whole_prompt_must_fit=False,
    )
    for compile in (False, True):
        case = Case(plan, limits, MadeStepTime(66, 7), ClientSettings(), 0.0)
        assert_equal(*both(case, compile=compile))


def test_users_of_a_closed_loop_are_laid_out_anew() -> None:
    plan = plan_of(np.zeros(4), [30] * 4, [20] * 4)
    limits = Limits(max_num_seqs=4, max_num_batched_tokens=64, max_model_len=128, kv_blocks=40)
    laid_out = lay_out(plan, MadeStepTime(64, 4), limits, ClientSettings(users=2))
    assert laid_out.run(compile=False).ended.all()
    with pytest.raises(ValueError, match="lay the moved plan out anew"):
        laid_out.run(compile=False, moved=plan)


@pytest.mark.skipif(not fast_path().compiled, reason="numba is not installed (extra `fast`)")
def test_compiled_equals_plain() -> None:
    for seed in range(6):
        rng = np.random.default_rng(seed)
        n = 60
        plan = plan_of(
            np.cumsum(rng.exponential(0.02, n)), rng.integers(1, 120, n), rng.integers(1, 80, n),
            seeds=rng.integers(0, 20, n), prefix=[(int(g), 32) for g in rng.integers(-1, 2, n)],
        )  # fmt: skip
        limits = Limits(
            max_num_seqs=10,
            max_num_batched_tokens=128,
            max_model_len=256,
            kv_blocks=36,
            speculative_tokens=2 * (seed % 2),
            whole_prompt_must_fit=seed % 3 == 0,
            async_scheduling=seed % 2 == 0,
        )
        case = Case(plan, limits, MadeStepTime(128, 10, seed=seed), ClientSettings(), 0.6)
        fast, plain = both(case, compile=True)
        assert_equal(fast, plain)


@pytest.mark.skipif(not fast_path().compiled, reason="numba is not installed (extra `fast`)")
def test_what_is_compiled_ahead_serves_every_run() -> None:
    compile_ahead()
    plan = plan_of(np.linspace(0, 2, 20), [30] * 20, [20] * 20)
    limits = Limits(max_num_seqs=4, max_num_batched_tokens=64, max_model_len=128, kv_blocks=40)
    run_fast(plan, MadeStepTime(64, 4), limits, ClientSettings(), compile=True)
    compiled = cast(CompiledOnce, fast_path().run).function
    assert len(cast(Any, compiled).signatures) == 1, "one form of the machine code, for every state"


def test_compiling_is_decided_by_the_size_of_the_work_and_what_is_compiled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run, "wanted", lambda: True)
    monkeypatch.setattr(run, "is_cached", lambda: False)
    monkeypatch.setattr(run, "is_loaded", lambda: False)
    for _ in range(3):  # earlier questions and runs make no difference
        assert [pays_to_compile(n) for n in (100, 5_000, 5_001)] == [False, False, True]
        assert [pays_to_compile(1_600, runs=n) for n in (1, 12, 13)] == [False, False, True]
        assert not pays_to_compile(200, runs=1_000)
    monkeypatch.setattr(run, "is_cached", lambda: True)
    assert [pays_to_compile(n) for n in (200, 201)] == [False, True]
    monkeypatch.setattr(run, "is_loaded", lambda: True)
    assert pays_to_compile(1), "what is loaded costs nothing more"


def test_the_number_of_runs_changes_no_result() -> None:
    plan = plan_of(np.linspace(0, 2, 20), [30] * 20, [20] * 20)
    limits = Limits(max_num_seqs=4, max_num_batched_tokens=64, max_model_len=128, kv_blocks=40)
    one, many = (
        run_fast(plan, MadeStepTime(64, 4), limits, ClientSettings(), compile=False, runs=n) for n in (1, 10_000)
    )
    np.testing.assert_array_equal(one.last_s, many.last_s)
