"""What knobs are worth, and the fronts."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from search_cases import BASELINE, name_of, problem

from rooftune.search.explain import (
    FrontPoint,
    best_with_same_outputs,
    compared,
    front,
    knobs_worth,
    objective_against_cost,
    objective_against_tpot,
)
from rooftune.search.gain import outlook
from rooftune.search.options import Outcome

P = problem()
BEST = name_of("fp8", "fp8", 128, 2048)


def exact(*names: str) -> list[Outcome]:
    return [Outcome(name, P.option(name).predicted_log, 0.003) for name in names]


def test_each_knob_of_the_winner_is_undone_and_says_whether_it_was_measured() -> None:
    undone = name_of("none", "fp8", 128, 2048)
    look = outlook(P, exact(BASELINE, BEST, undone))
    worth = {w.knob: w for w in knobs_worth(look, BEST)}
    assert set(worth) == {"quantization", "kv_cache_dtype", "max_num_seqs"}
    assert worth["quantization"].option == undone
    assert worth["quantization"].ratio is not None
    assert worth["quantization"].ratio.source == "measured"
    assert worth["quantization"].ratio.estimate == pytest.approx(math.exp(0.35), rel=0.02)
    assert worth["kv_cache_dtype"].ratio is not None
    assert worth["kv_cache_dtype"].ratio.source == "predicted"
    assert worth["kv_cache_dtype"].words.endswith("(predicted)")
    assert next(w.knob for w in knobs_worth(look, BEST)) == "quantization"


def test_a_knob_that_cannot_be_undone_in_the_space_says_so() -> None:
    lacking = replace(P, options=tuple(o for o in P.options if o.id != name_of("none", "fp8", 128, 2048)))
    worth = {w.knob: w for w in knobs_worth(outlook(lacking, exact(BASELINE, BEST)), BEST)}
    assert worth["quantization"].ratio is None
    assert worth["quantization"].words.endswith("the search had no option without it alone")


def test_a_row_without_a_trial_is_labelled_and_a_trial_narrows_its_interval() -> None:
    other = name_of("awq", "auto", 256, 2048)
    before = compared(outlook(P, exact(BASELINE)), other, BASELINE)
    after = compared(outlook(P, exact(BASELINE, other)), other, BASELINE)
    assert before.words.startswith("predicted +")
    assert before.words.endswith("not measured")
    assert "predicted" not in after.words
    assert after.high / after.low < before.high / before.low
    assert before.low < before.estimate < before.high


def test_what_leaves_the_answers_alone_is_found_beside_the_winner() -> None:
    same = name_of("none", "auto", 128, 2048)
    look = outlook(P, exact(BASELINE, BEST, same))
    assert best_with_same_outputs(look) == same


def test_fronts_leave_out_what_has_no_figure() -> None:
    options = tuple(replace(o, tpot_ms=20.0 + i, usd_per_hour=1.0) if i % 2 else o for i, o in enumerate(P.options))
    look = outlook(replace(P, options=options), exact(BASELINE))
    shown = objective_against_tpot(look)
    assert shown
    assert all(P.place[p.option] % 2 for p in shown)
    assert len(objective_against_cost(look)) == 1


POINTS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=30)


@given(POINTS)
def test_a_front_is_what_no_point_beats(values: list[tuple[int, int]]) -> None:
    points = [FrontPoint(str(i), float(benefit), float(burden)) for i, (benefit, burden) in enumerate(values)]
    found = front(points)

    def beats(a: FrontPoint, b: FrontPoint) -> bool:
        return a.benefit >= b.benefit and a.burden <= b.burden and (a.benefit, a.burden) != (b.benefit, b.burden)

    assert not any(beats(p, q) for p in points for q in found)
    undominated = {(p.benefit, p.burden) for p in points if not any(beats(q, p) for q in points)}
    assert {(p.benefit, p.burden) for p in found} == undominated
    assert len(found) == len(undominated)
