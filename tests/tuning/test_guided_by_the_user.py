"""The guided search with what the user brings: candidates, narrowed knobs, and methods."""

from __future__ import annotations

import guided_world as made
import pytest

from rooftune.errors import InputError
from rooftune.tuning.entries import Extension, extend
from rooftune.tuning.plan import Plan
from rooftune.tuning.playbook import default_playbook, with_candidates
from rooftune.tuning.search import decide

PLAN = made.plan()


def test_the_ladder_stays_where_nothing_is_predicted_or_it_is_asked_for() -> None:
    assert made.plan("ladder").search is None
    assert made.plan(None, predicts=False).search is None


def test_a_playbook_narrows_pins_and_adds() -> None:
    book = extend(
        default_playbook(), Extension(knobs={"max_num_seqs": [48, 64], "kv_cache_dtype": ["auto"], "graphs": ["eager"]})
    )
    book = with_candidates(book, ["small=max_num_seqs=48,enable_prefix_caching=false"], "0.15.1")
    plan = made.plan(playbook=book)
    assert plan.search is not None
    limits = {o.knobs["max_num_seqs"] for o in plan.search.options[1:]}
    assert limits == {48, 64}
    assert all("kv=auto" in o.families for o in plan.search.options)
    own = plan.search.option("small")
    assert own is not None
    assert own.change == {"max_num_seqs": 48, "enable_prefix_caching": False}
    with pytest.raises(InputError, match="max_num_seq"):
        made.plan(playbook=extend(default_playbook(), Extension(knobs={"max_num_seq": [1]})))


def test_what_only_the_guided_search_can_use_is_refused_by_the_ladder() -> None:
    book = extend(default_playbook(), Extension(knobs={"max_num_seqs": [64]}))
    with pytest.raises(
        InputError, match="the ladder tries its own candidates only, so it cannot use your knobs; add --se"
    ):
        made.plan("ladder", book)


def own_plan(*candidates: str) -> Plan:
    return made.plan(playbook=with_candidates(default_playbook(), list(candidates), "0.15.1"))


def test_a_candidate_of_the_user_is_combined_with_others_and_always_measured() -> None:
    plan = own_plan("small=max_num_seqs=12,enable_prefix_caching=false")
    assert plan.search is not None
    assert plan.search.own == ["small"]
    change = {"max_num_seqs": 12, "enable_prefix_caching": False}
    with_it = {o.id for o in plan.search.with_flags(change)}
    assert {"small", "awq_marlin+small", "awq_marlin+fp8-kv+small"} <= with_it
    results = made.GuidedWorld(plan, seed=13).search(budget=340, cost=14)
    measured = [r.candidate for r in results if r.candidate in with_it]
    assert measured, "the model expects nothing of it, and the user asked for it"
    row = next(v for v in decide(plan, results).verdicts if v.candidate == "small")
    assert row.reason.endswith(f"measured as a part of {measured[0]}")
    assert row.reason.startswith("capacity predicted −")


def test_a_candidate_of_the_user_that_is_good_wins() -> None:
    plan = own_plan("small=max_num_seqs=90,enable_prefix_caching=false")
    world = made.GuidedWorld(plan, seed=14)
    assert plan.search is not None
    for option in plan.search.with_flags({"max_num_seqs": 90, "enable_prefix_caching": False}):
        world.capacities[option.id] *= 1.3
    decision = decide(plan, world.search(budget=340, cost=14))
    assert decision.incumbent_flags["enable_prefix_caching"] is False
    assert "marlin" in decision.incumbent


def test_a_candidate_of_the_user_that_cannot_be_measured_has_the_reason() -> None:
    plan = own_plan("same=long_prefill_token_threshold=2048", "mine=kv_cache_dtype=fp8", "late=max_num_seqs=7")
    results = made.GuidedWorld(plan, seed=15).search(budget=1.5 * 14, cost=14)
    rows = {v.candidate: v for v in decide(plan, results).verdicts}
    assert rows["same"].verdict == "not supported"
    assert rows["same"].reason == "the engine would run it as the baseline"
    assert "the budget had no room for a trial of it" in rows["late"].reason
    assert plan.search is not None
    assert plan.search.option("mine") is not None
    assert rows["fp8-kv"].predicted is not None, "the same change under another name"
