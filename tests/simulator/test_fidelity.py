"""Predictions compared with measurements: the T4 experiment, the public points, and the rules that choose them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.fidelity import t4_replay as t4
from benchmarks.fidelity.measurements import judged, points, predicted, reason_aside, relative_error, source_of
from benchmarks.fidelity.public_fit import fitted_points

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.parametrize("max_num_seqs", [None, 8, 1])
def test_t4_server_windows_within_8_percent(max_num_seqs: int | None) -> None:
    run = t4.run(max_num_seqs)
    measured = np.mean(t4.WINDOWS[max_num_seqs][1])
    assert abs(run.windows_tok_s.mean() / measured - 1) <= 0.08
    assert run.kv_cache_tokens == t4.KV_CACHE_TOKENS[max_num_seqs]


def test_published_gain_and_true_loss_come_out_of_one_simulation() -> None:
    default, eight = t4.run(None, sent_for_s=40.0), t4.run(8, sent_for_s=35.0)
    for seqs, run in ((None, default), (8, eight)):
        for name, value in t4.PUBLISHED[seqs].items():
            assert run.claimed.published()[name] == pytest.approx(value, rel=0.12), (seqs, name)
    assert eight.claimed.throughput_tok_s / default.claimed.throughput_tok_s == pytest.approx(1.22, abs=0.08)
    assert eight.windows_tok_s.mean() / default.windows_tok_s.mean() == pytest.approx(0.54, abs=0.04)


def test_clients_arithmetic_counts_requests_that_never_began_as_served() -> None:
    claimed = t4.run(None).claimed
    assert claimed.scheduled == 767
    assert claimed.finished < claimed.begun < claimed.scheduled / 4
    assert claimed.requests_per_s == pytest.approx(19.28, abs=0.01)  # as published, of which a tenth was finished


def test_answers_grow_with_tokens_and_the_recorded_ones_come_back() -> None:
    load = t4.requests()
    characters = load.characters(load.output_tokens)
    assert (load.characters(load.output_tokens // 2) <= characters).all()
    at = np.flatnonzero((load.prompt == 0) & (load.max_tokens == 247))[0]
    assert characters[at] == 1118  # of the first request, as the client recorded it


def test_public_points_of_one_request_at_a_time_keep_their_error() -> None:
    alone = [p for p in judged() if p.one_at_a_time]
    errors = {p.id: relative_error(p, predicted(p)) for p in alone}
    held = np.abs([errors[p.id] for p in alone if p.use == "hold"])
    assert len(alone) >= 200
    assert np.median(held) <= 0.05
    assert {name: e for name, e in errors.items() if abs(e) > 0.25} == {}


def test_points_name_their_source_and_units() -> None:
    assert len({p.id for p in points()}) == len(points())
    for p in points():
        url = source_of(p)["url"]
        assert url.startswith("https://") or (REPOSITORY / url).is_file(), url
        assert p.value > 0
        assert (p.kind == "gemm") == (p.metric == "tflops")


def test_tokens_in_the_prefix_cache_are_not_computed_again() -> None:
    point = next(p for p in points() if p.cached)
    whole, rest = replace(point, cached=0), replace(point, prompt=point.prompt - point.cached, cached=0)
    assert predicted(rest) < predicted(point) * 1.001 < predicted(whole)


def test_our_own_measurements_are_held_back() -> None:
    ours = [p for p in points() if p.source == "rooftune-h200"]
    assert {p.kind for p in ours} == {"gemm", "decode", "prefill"}
    assert all(p.use != "fit" for p in ours)


def test_nothing_is_fitted_to_a_point_that_is_not_judged() -> None:
    fitted = fitted_points()
    assert fitted
    assert all(reason_aside(p) is None for p in fitted)
    assert {p.kernel for p in judged()} == {p.kernel for p in fitted}
