"""How long the load of a trial takes."""

from __future__ import annotations

import pytest

from rooftune.search.trial_cost import SLOWEST, LoadTime

TIME = LoadTime(around_s=40.0, window_s=90.0, requests=400)


def test_a_fast_server_is_judged_for_the_window_and_a_slow_one_until_it_has_answered_enough() -> None:
    assert TIME.seconds(50.0) == TIME.seconds(10.0) == 130.0
    assert TIME.seconds(1.0) == 440.0


def test_the_baseline_takes_as_long_as_it_needs_and_others_are_loaded_near_the_best() -> None:
    baseline, best, lost, none = TIME.factors([0.5, 4.0, 0.5, 0.0])
    assert baseline == pytest.approx(840 / 140)
    assert best == 1.0
    assert lost == none == pytest.approx(TIME.seconds(SLOWEST * 4.0) / 140)


def test_a_baseline_that_keeps_no_rate_is_loaded_like_what_has_lost() -> None:
    assert TIME.factors([0.0, 4.0])[0] == TIME.factors([2.0, 4.0, 0.1])[2]
    assert TIME.factors([0.0, 0.0]) == [1.0, 1.0]
