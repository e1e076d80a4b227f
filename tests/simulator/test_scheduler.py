"""The scheduler keeps its promises under any load: what is conserved, what is never exceeded, who goes first."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulator_cases import Case, MadeStepTime, cases, plan_of

from rooftune.simulator.engine.prefixes import block_identities
from rooftune.simulator.engine.scheduler import EngineRequest, Limits, Scheduler, Step
from rooftune.simulator.fastpath.run import acceptances
from rooftune.simulator.runs import ClientSettings
from rooftune.simulator.virtual.stepwise import run_stepwise
from rooftune.speculation.acceptance import StepDrafts


def check_blocks(scheduler: Scheduler) -> None:
    """Blocks are conserved, and one with two owners holds the same text for both."""
    pool = scheduler.pool
    held = Counter(b for s in scheduler.running for b in s.blocks)
    assert all(not s.blocks for s in scheduler.waiting)
    assert len(held) + pool.free_count == pool.total
    assert not set(held) & set(pool.free)
    assert [held[b] for b in range(pool.total)] == pool.owners
    for block, owners in held.items():
        if owners > 1:
            names = {s.block_hash(i) for s in scheduler.running for i, b in enumerate(s.blocks) if b == block}
            assert len(names) == 1, "a block with two owners has one content"
            assert pool.hash_of[block] == names.pop()
    for s in scheduler.running:
        assert len(set(s.blocks)) == len(s.blocks)
        assert len(s.blocks) * 16 >= s.computed


def check_step(scheduler: Scheduler, step: Step) -> None:
    """Limits hold, and the shape matches what was scheduled."""
    limits = scheduler.limits
    tokens = sum(t for _, t in step.scheduled)
    assert tokens == step.shape.tokens <= limits.max_num_batched_tokens
    assert len({id(s) for s, _ in step.scheduled}) == len(step.scheduled)
    assert len(scheduler.running) <= limits.max_num_seqs
    assert step.shape.decode_seqs + step.shape.prefill_seqs == len(step.scheduled)
    assert all(s.computed <= s.known for s in scheduler.running)
    if step.preempted:
        assert not step.admitted or limits.async_scheduling, "nothing is admitted in a step that preempts"


@settings(max_examples=80, deadline=None)
@given(cases(), st.randoms(use_true_random=False))
def test_promises_hold_in_every_step(case: Case, chance) -> None:
    """Requests come and go, also by abort; after each step everything is where it belongs."""
    same, limits = block_identities(case.plan), case.limits
    scheduler = Scheduler(limits)
    waiting = [
        EngineRequest(
            r, int(case.plan.prompt_tokens[r]), int(case.plan.output_tokens[r]),
            same.names(r, int(case.plan.prompt_tokens[r]) // 16), chance.choice([0, 0, 1]),
        )
        for r in range(len(case.plan))
    ]  # fmt: skip
    everyone, given_out = list(waiting), Counter()
    for _ in range(5000):
        while waiting and (scheduler.idle or chance.random() < 0.4):
            scheduler.add(waiting.pop(0))
        if scheduler.idle:
            break
        step = scheduler.schedule()
        check_step(scheduler, step)
        check_blocks(scheduler)
        for s, new in scheduler.advance(step, (lambda _s: 1) if limits.speculative_tokens else None):
            assert new >= 1
            given_out[s.id] += new
        if chance.random() < 0.05:
            scheduler.abort(chance.choice(everyone))
        check_blocks(scheduler)
    assert scheduler.idle
    assert not waiting
    for s in everyone:
        assert s.finished in ("length", "abort")
        assert given_out[s.id] == s.generated <= s.max_tokens
        if s.finished == "length":
            assert s.generated == s.max_tokens
    assert scheduler.pool.free_count == scheduler.pool.total or scheduler.ending


@settings(max_examples=60, deadline=None)
@given(cases())
def test_every_request_ends_once_with_all_its_tokens(case: Case) -> None:
    client = ClientSettings(users=case.plan.concurrency)
    run = run_stepwise(case.plan, case.step_time, case.limits, client, acceptance=case.acceptance)
    np.testing.assert_array_equal(run.generated, case.plan.output_tokens)
    given_out = np.zeros(len(case.plan), int)
    for _, r, new in run.tokens:
        given_out[r] += new
    np.testing.assert_array_equal(given_out, case.plan.output_tokens)


@settings(max_examples=60, deadline=None)
@given(cases())
def test_first_come_first_served(case: Case) -> None:
    """Requests are admitted in the order in which they were sent. One that waited for a connection takes it when the
    connection's last answer leaves the server, and its time of sending is when the client learns that."""
    limits = replace(case.limits, priority=False)
    run = run_stepwise(case.plan, case.step_time, limits, case.client, acceptance=case.acceptance)
    sent = run.sent_s[np.lexsort((run.sent_s, run.admitted_s))][: int(np.isfinite(run.admitted_s).sum())]
    assert (sent >= np.maximum.accumulate(sent) - case.client.path.outbound_s).all()


@settings(max_examples=60, deadline=None)
@given(cases())
def test_the_prefix_cache_changes_nothing_but_time(case: Case) -> None:
    client = ClientSettings(users=case.plan.concurrency)
    runs = [
        run_stepwise(case.plan, case.step_time, replace(case.limits, enable_prefix_caching=on), client, acceptance=0.6)
        for on in (True, False)
    ]
    np.testing.assert_array_equal(runs[0].generated, runs[1].generated)
    assert runs[1].prefix_hits == 0


def running(limits: Limits, lengths: list[tuple[int, int]], hashes: list[list[object]] | None = None) -> Scheduler:
    scheduler = Scheduler(limits)
    for i, (prompt, output) in enumerate(lengths):
        scheduler.add(EngineRequest(i, prompt, output, hashes[i] if hashes else ()))
    return scheduler


SMALL = Limits(max_num_seqs=8, max_num_batched_tokens=64, max_model_len=512, kv_blocks=64)


def test_a_prompt_longer_than_the_budget_is_computed_in_chunks_and_yields_one_token_at_its_end() -> None:
    scheduler = running(SMALL, [(150, 3)])
    tokens = []
    while not scheduler.idle:
        step = scheduler.schedule()
        tokens.append((step.shape.prefill_tokens, step.shape.decode_tokens, sum(n for _, n in scheduler.advance(step))))
    assert tokens == [(64, 0, 0), (64, 0, 0), (22, 0, 1), (0, 1, 1), (0, 1, 1)]


def test_without_chunked_prefill_a_prompt_waits_for_a_step_that_has_room() -> None:
    scheduler = running(replace(SMALL, enable_chunked_prefill=False), [(40, 2), (40, 2)])
    assert [s.id for s, _ in scheduler.schedule().scheduled] == [0]


def test_running_sequences_go_before_waiting_ones() -> None:
    scheduler = running(SMALL, [(100, 5), (10, 5)])
    step = scheduler.schedule()
    scheduler.advance(step)
    step = scheduler.schedule()
    assert [(s.id, t) for s, t in step.scheduled] == [(0, 36), (1, 10)]


def test_a_long_prompt_is_held_to_the_threshold_only_beside_others() -> None:
    limits = replace(SMALL, long_prefill_token_threshold=16)
    assert running(limits, [(60, 2)]).schedule().shape.prefill_tokens == 60
    assert [t for _, t in running(limits, [(60, 2), (5, 2)]).schedule().scheduled] == [16, 5]


def test_the_last_full_block_of_a_prompt_is_never_taken_from_the_cache() -> None:
    """At least one token is left to compute: of 32 equal tokens one block is a hit, of 33 two."""
    for prompt, hit in ((32, 16), (33, 32), (47, 32), (16, 0), (17, 16)):
        names = ["a", "b"][: prompt // 16]
        scheduler = running(SMALL, [(prompt, 1), (prompt, 1)], [names, names])
        step = scheduler.schedule()
        assert [s.cached for s, _ in step.scheduled] == [0, hit]


def test_equal_prompts_in_one_step_share_their_blocks() -> None:
    """A block can be matched from when it is scheduled, not from when it is computed."""
    names = [["x", "y"], ["x", "y"]]
    scheduler = running(SMALL, [(40, 2), (40, 2)], names)
    step = scheduler.schedule()
    assert [t for _, t in step.scheduled] == [40, 8]
    assert scheduler.pool.total - scheduler.pool.free_count == 4


def test_admission_looks_at_the_first_chunk_in_old_versions_and_at_the_whole_prompt_in_new_ones() -> None:
    tight = replace(SMALL, kv_blocks=9, enable_prefix_caching=False)
    lengths = [(20, 30), (130, 5)]
    old = running(replace(tight, whole_prompt_must_fit=False), lengths).schedule()
    new = running(replace(tight, whole_prompt_must_fit=True), lengths).schedule()
    assert [s.id for s in old.admitted] == [0, 1]
    assert [s.id for s in new.admitted] == [0]


def test_the_watermark_keeps_blocks_free_for_those_that_run() -> None:
    tight = replace(SMALL, kv_blocks=10, enable_prefix_caching=False)
    lengths = [(60, 30), (60, 30)]
    assert len(running(tight, lengths).schedule().admitted) == 2
    assert len(running(replace(tight, watermark=0.3), lengths).schedule().admitted) == 1


def test_a_full_cache_preempts_the_last_and_it_goes_on_with_what_it_had() -> None:
    limits = replace(SMALL, kv_blocks=5, enable_prefix_caching=False)
    scheduler = running(limits, [(30, 30), (30, 30)])
    finished = []
    while not scheduler.idle:
        step = scheduler.schedule()
        if step.preempted:
            assert [s.id for s in step.preempted] == [1]
            assert not step.admitted
            assert scheduler.waiting[0].id == 1
            assert scheduler.waiting[0].generated > 0
        finished += [s.id for s, _ in scheduler.advance(step) if s.finished]
    assert scheduler.preemptions >= 1
    assert finished == [0, 1]


def test_a_preempted_sequence_finds_its_own_blocks_again() -> None:
    """Its blocks were freed last, so most of what is recomputed is still in the cache."""
    scheduler = running(replace(SMALL, kv_blocks=6), [(30, 20), (30, 40), (10, 1)])
    again = []
    while not scheduler.idle:
        step = scheduler.schedule()
        again += [s.cached for s in step.admitted if s.preemptions]
        scheduler.advance(step)
    assert again
    assert max(again) >= 16


def test_priority_lets_the_more_urgent_one_pass_and_preempts_the_least_urgent() -> None:
    limits = replace(SMALL, kv_blocks=5, priority=True, enable_prefix_caching=False)
    scheduler = Scheduler(limits)
    for i, priority in enumerate((1, 0, 5)):
        scheduler.add(EngineRequest(i, 20, 20, (), priority))
    step = scheduler.schedule()
    assert [s.id for s in step.admitted] == [1, 0]
    victims = []
    while not scheduler.idle:
        scheduler.advance(step)
        step = scheduler.schedule()
        victims += [s.id for s in step.preempted]
    assert victims
    assert 1 not in victims


def test_what_a_step_frees_is_there_one_step_later_with_asynchronous_scheduling() -> None:
    """The next step was scheduled while the one before it ran: a place that has become free is filled a step later."""
    admitted = {}
    for asynchronous in (False, True):
        scheduler = running(replace(SMALL, max_num_seqs=2, async_scheduling=asynchronous), [(5, 1), (5, 9), (5, 9)])
        for number in range(5):
            step = scheduler.schedule()
            scheduler.advance(step)
            if any(s.id == 2 for s in step.admitted):
                admitted[asynchronous] = number
    assert admitted == {False: 1, True: 2}


def test_a_lone_place_is_filled_at_once_even_with_asynchronous_scheduling() -> None:
    """With nothing in flight there is no step to wait for."""
    scheduler = running(replace(SMALL, max_num_seqs=1, async_scheduling=True), [(5, 1), (5, 1)])
    for number in range(2):
        step = scheduler.schedule()
        assert [s.id for s, _ in step.scheduled] == [number]
        scheduler.advance(step)
    assert scheduler.idle


def test_an_arrival_waits_for_the_step_that_is_already_scheduled() -> None:
    plan = plan_of([0.0, 0.001], [20, 20], [20, 20])
    first, steps = {}, {}
    for asynchronous in (False, True):
        limits = replace(SMALL, async_scheduling=asynchronous)
        run = run_stepwise(plan, MadeStepTime(64, 8), limits, ClientSettings())
        first[asynchronous], steps[asynchronous] = run.first_s[1], run.durations
    assert first[False] == pytest.approx(sum(steps[False][:2]))
    assert first[True] == pytest.approx(sum(steps[True][:3]))


def test_speculative_tokens_shorten_the_way_and_never_overshoot() -> None:
    plan = plan_of([0.0], [20], [50])
    limits = replace(SMALL, speculative_tokens=3)
    steps = {
        a: run_stepwise(plan, MadeStepTime(64, 8), limits, ClientSettings(), acceptance=a) for a in (0.0, 0.6, 1.0)
    }
    assert steps[0.0].steps == 50
    assert steps[1.0].steps == 1 + -(-49 // 4)
    assert steps[1.0].steps < steps[0.6].steps < 50
    assert all(run.generated.tolist() == [50] for run in steps.values())


def test_drafts_are_as_long_as_the_schedule_says_for_the_step_before() -> None:
    limits = replace(SMALL, speculative_tokens=3, speculative_lengths=(3, 3, 2, 0))
    scheduler = running(limits, [(5, 20)] * 3)
    seen = []
    for _ in range(3):
        step = scheduler.schedule()
        seen.append([c.tokens for c in step.scheduled])
        scheduler.advance(step, lambda _: 0)
    scheduler.abort(scheduler.running[0])
    for _ in range(2):
        step = scheduler.schedule()
        seen.append([c.tokens for c in step.scheduled])
        scheduler.advance(step, lambda _: 0)
    assert seen == [[5, 5, 5], [1, 1, 1], [1, 1, 1], [1, 1], [3, 3]]


def test_a_request_without_a_draft_computes_one_token() -> None:
    scheduler = running(replace(SMALL, speculative_tokens=3), [(5, 20)] * 3)
    scheduler.advance(scheduler.schedule())
    for sequence, proposed in zip(scheduler.running, (0, 2, None), strict=True):
        sequence.proposed = proposed
    assert [c.tokens for c in scheduler.schedule().scheduled] == [1, 3, 4]


def test_acceptance_by_position_is_the_share_of_the_steps() -> None:
    shares = StepDrafts((0.5, 0.3, 0.05), 2.0)
    drawn = acceptances(3, shares)
    for position, share in enumerate(shares.accepted, 1):
        assert (drawn >= position).mean() == pytest.approx(share, abs=0.01)
    assert acceptances(2, shares).max() == 2
    one = acceptances(3, 0.6)
    assert [(one >= n).mean() for n in (1, 2, 3)] == pytest.approx([0.6, 0.36, 0.216], abs=0.01)
