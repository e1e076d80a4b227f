"""The replay of proposers that are pure functions of the text, compared with references that have no index."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive import NaiveTree, naive_ngram
from recorded_answers import Answered, spoken, texts

from rooftune.speculation import suffix_compiled
from rooftune.speculation.acceptance import Acceptance
from rooftune.speculation.ngram import NgramProposer
from rooftune.speculation.replay import replay, replay_all, replay_compiled, replay_readable
from rooftune.speculation.sessions import NgramSession, Replayer, SuffixReplay
from rooftune.speculation.suffix import SuffixCache, SuffixProposer

LOOKUPS = st.integers(1, 3).flatmap(lambda low: st.tuples(st.just(low), st.integers(low, 5)))


@settings(max_examples=200, deadline=None)
@given(texts(), LOOKUPS, st.integers(1, 7))
def test_ngram_drafts_are_those_of_a_search_through_the_whole_text(
    answer: Answered, lookup: tuple[int, int], length: int
) -> None:
    session = NgramSession(NgramProposer(length, *lookup), answer)
    text, known = answer.prompt_ids + answer.output_ids, len(answer.prompt_ids) + 1
    while not session.ended:
        draft = naive_ngram(text[:known], length, *lookup)
        right = next((i for i, (a, b) in enumerate(zip(draft, text[known:], strict=False)) if a != b), None)
        accepted = min(len(draft), len(text) - known) if right is None else right
        assert session.propose(length) == len(draft)
        assert session.check(length)[:2] == (len(draft), accepted)
        session.advance(accepted + 1)
        known += accepted + 1
    assert known >= len(text)


@settings(max_examples=120, deadline=None)
@given(
    st.lists(texts(longest=25), min_size=1, max_size=4),
    st.integers(2, 9), st.sampled_from([1.0, 2.0, 0.5]), st.sampled_from([0.1, 0.4]), st.booleans(),
)  # fmt: skip
def test_suffix_drafts_are_those_of_a_tree_with_every_substring(
    answers: list[Answered], depth: int, factor: float, least: float, remembers: bool
) -> None:
    proposer = SuffixProposer(6, depth, factor, least, remembers)
    cache, shared = SuffixCache(proposer), NaiveTree(depth)
    for number, answer in enumerate(answers):
        session, own = SuffixReplay(cache, answer), NaiveTree(depth)
        for token in answer.prompt_ids:
            own.append(0, token)
        out = 0
        while True:
            text = [*answer.prompt_ids, *answer.output_ids[: out + 1]]
            for tree, sequence in ((own, 0), (shared, number)):
                tree.append(sequence, answer.output_ids[out])
            out += 1
            if out == len(answer.output_ids):
                break
            drafts = [tree.best(text[-depth:], 6, factor, least) for tree in (own, shared)]
            best = drafts[0][0] if drafts[0][1] >= drafts[1][1] or not remembers else drafts[1][0]
            assert session._session.propose(6) == best
            session.advance(1)  # one token per step, so that every position is compared
        assert session.ended


def test_the_children_of_a_suffix_tree_keep_the_order_of_the_published_implementation() -> None:
    """Drafts of ArcticInference 0.1.2 itself; see the file for how they were made."""
    import json
    from pathlib import Path

    recorded = json.loads((Path(__file__).parent / "arctic_drafts.json").read_text(encoding="utf-8"))
    for case in recorded["cases"]:
        cache = SuffixCache(SuffixProposer(case["most"], case["depth"], case["factor"], case["least"]))
        for request in case["requests"]:
            answer = Answered(tuple(request["prompt"]), tuple(request["output"]))
            session = SuffixReplay(cache, answer)
            for draft in request["drafts"]:
                assert session._session.propose(case["most"]) == draft
                session.advance(1)


@settings(max_examples=100, deadline=None)
@given(st.lists(texts(), min_size=1, max_size=6), LOOKUPS)
def test_shares_fall_from_position_to_position_and_every_token_is_accounted_for(
    answers: list[Answered], lookup: tuple[int, int]
) -> None:
    found = replay_all(answers, [NgramProposer(k, *lookup) for k in range(1, 8)])
    for length, acceptance in enumerate(found, 1):
        shares = (1.0, *acceptance.by_position)
        assert len(shares) == length + 1
        assert all(1 >= a >= b >= 0 for a, b in itertools.pairwise(shares))
        assert 0 <= acceptance.accepted <= acceptance.drafted <= length * acceptance.drafts
        tokens = sum(len(a.output_ids) - 1 for a in answers)
        assert acceptance.steps is not None
        assert acceptance.steps <= tokens
        # every token after the first is drafted and accepted, or added by a step
        assert tokens - acceptance.steps <= acceptance.accepted <= tokens
        assert 1 <= acceptance.tokens_per_step <= 1 + length


def test_a_text_that_repeats_itself_is_accepted_and_one_that_never_does_has_no_drafts() -> None:
    repeating = Answered(tuple(range(10)) * 2, tuple(range(10)) * 3)
    found = replay([repeating], NgramProposer(3, 2, 4))
    assert found.by_position == (1.0, 1.0, 1.0)
    assert found.tokens_per_step == pytest.approx(4.0)
    assert found.steps == 8  # 29 tokens after the first, four per step
    never = replay([Answered(tuple(range(30)), tuple(range(30, 60)))], NgramProposer(3, 2, 4))
    assert (never.drafts, never.tokens_per_step, never.by_position) == (0, 1.0, (0.0, 0.0, 0.0))


def test_drafts_beyond_the_end_of_an_answer_do_not_lower_the_shares() -> None:
    """The model would have said something after the end; nobody knows what, so those positions are left out."""
    answer = Answered((1, 2, 3, 4, 5, 6, 1, 2, 3), (4, 5))
    found = replay([answer], NgramProposer(3, 2, 3))
    assert (found.drafts, found.drafted, found.accepted) == (1, 3, 1)
    assert found.by_position[0] == 1.0


def test_a_server_drafts_nothing_beyond_its_context() -> None:
    answer = Answered((1, 2, 3, 1, 2, 3), (1, 2, 3, 1, 2, 3))
    lookup = NgramProposer(5, 2, 3)
    free, bounded = replay([answer], lookup), replay([answer], lookup, max_model_len=9)
    assert free.drafted > bounded.drafted
    assert bounded.drafted == 1  # with 7 tokens known there is room for one draft and the token of the step


def test_streams_at_a_time_decide_only_what_other_answers_teach() -> None:
    answers = [Answered((99, 98), tuple(range(20))), Answered((97, 96), tuple(range(20)))]
    alone = replay(answers, SuffixProposer(remembers=False))
    assert alone.drafts == 0
    one_by_one, together = (replay(answers, SuffixProposer(), streams=n) for n in (1, 2))
    assert one_by_one.by_position[2] > together.by_position[2] == 0  # a text is known before, or only while it comes
    ngram = [replay(answers, NgramProposer(3, 1, 2), streams=n) for n in (1, 2)]
    assert ngram[0] == ngram[1]


def test_equal_sessions_in_the_engine_and_in_the_replay() -> None:
    """The simulated engine begins sessions one by one; the replay of the same order gives the same totals."""
    answers = spoken(12, seed=3)
    for proposer in (NgramProposer(4, 2, 4), SuffixProposer()):
        replayer, accepted, drafted = Replayer(proposer), 0, 0
        for answer in answers:
            session = replayer.session(answer)
            while not session.ended:
                outcome = session.check(session.propose(proposer.length))
                session.advance(outcome.accepted + 1)
                drafted, accepted = drafted + outcome.drafted, accepted + outcome.accepted
        found = replay(answers, proposer)
        assert (found.accepted, found.drafted) == (accepted, drafted)


def test_the_interval_over_requests_holds_the_acceptance_of_many_more() -> None:
    """Answers are the unit: their steps depend on each other, so an interval over steps would be far too narrow."""
    proposer = NgramProposer(3, 1, 3)
    truth: Acceptance = replay(spoken(1500, seed=1000), proposer)
    held, runs = np.zeros(4), 60
    pool = spoken(30 * runs, seed=1000)
    for i in range(runs):
        found = replay(pool[30 * i : 30 * i + 30], proposer)
        assert found.tokens_per_step_interval is not None
        inside = [r.low <= p <= r.high for r, p in zip(found.position_intervals, truth.by_position, strict=True)]
        per_step = found.tokens_per_step_interval
        held += [*inside, per_step.low <= truth.tokens_per_step <= per_step.high]
    assert (held >= 0.85 * runs).all()
    assert (held < runs).any()  # an interval that always holds would say nothing
    few = replay(spoken(3, seed=1), proposer)
    assert (few.position_intervals, few.tokens_per_step_interval) == ((), None)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(texts(words=3), min_size=1, max_size=6),
    st.integers(1, 6), st.integers(2, 9), st.sampled_from([1.0, 2.0, 0.5]), st.sampled_from([0.1, 0.4]), st.booleans(),
    st.integers(1, 4), st.sampled_from([None, 30]),
)  # fmt: skip
def test_compiled_suffix_decoding_counts_what_the_readable_one_counts(
    answers: list[Answered], length: int, depth: int, factor: float, least: float, remembers: bool, streams: int,
    context: int | None,
) -> None:  # fmt: skip
    pytest.importorskip("numba")
    proposer = SuffixProposer(length, depth, factor, least, remembers)
    same_as_readable(answers, proposer, streams, context)


def test_compiled_suffix_decoding_of_long_answers_needs_more_room_than_it_begins_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("numba")
    answers = spoken(12, seed=3, words=5, prompt=80, output=200)
    monkeypatch.setattr(suffix_compiled, "NODES_PER_TOKEN", 1)
    for length in (4, 24):
        same_as_readable(answers, SuffixProposer(length), 8, None)


def same_as_readable(answers: list[Answered], proposer: SuffixProposer, streams: int, context: int | None) -> None:
    readable, compiled = (
        form(answers, proposer, streams=streams, max_model_len=context) for form in (replay_readable, replay_compiled)
    )
    assert compiled == readable


def test_many_answers_are_replayed_by_compiled_code_unless_it_is_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    few, many = spoken(3, seed=1), [Answered(tuple(range(100)), tuple(range(400)))] * 100
    assert (suffix_compiled.pays(few), suffix_compiled.pays(many)) == (False, True)
    monkeypatch.setenv("ROOFTUNE_NO_NUMBA", "1")
    assert not suffix_compiled.pays(many)
