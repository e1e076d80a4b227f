"""What speculation gains against the load, from an acceptance alone."""

from __future__ import annotations

from typing import Any

import pytest

from rooftune.errors import InputError
from rooftune.simulator.virtual.draft_gain import GainAtLoad, StreamFigures, draft_gains, worth_up_to
from rooftune.simulator.virtual.predict import predict
from rooftune.speculation.acceptance import StepDrafts, constant
from rooftune.workloads.load import load_workload

HEAD = {"method": "eagle3", "model": "head", "num_speculative_tokens": 4}
L4 = {"gpu": "L4", "model": "llama-3.1-8b", "engine_version": "0.32.0"}


def gains(acceptance: Any, asked: dict[str, Any] = HEAD, streams: tuple[int, ...] = (1, 4, 64)) -> list[GainAtLoad]:
    flags = {"speculative_config": asked, "max_model_len": 4096}
    return draft_gains(load_workload("chat-medium"), **L4, flags=flags, acceptance=acceptance, streams=streams)


def test_drafts_that_are_often_rejected_help_at_few_streams_and_hurt_at_many() -> None:
    rows = gains(StepDrafts((0.5, 0.25, 0.1, 0.05), 4.0), streams=(1, 4, 256))
    assert rows[0].gain > 1.2
    assert rows[-1].gain < 1.0
    assert worth_up_to(rows) == 4


def test_the_gain_grows_with_the_acceptance_and_never_exceeds_the_tokens_of_a_step() -> None:
    found = [gains(constant(p, 4), streams=(1,))[0] for p in (0.0, 0.4, 0.8)]
    assert found[0].gain < 1 < found[1].gain < found[2].gain
    for row, probability in zip(found, (0.0, 0.4, 0.8), strict=True):
        assert row.gain < constant(probability, 4).tokens * 1.02
        assert row.drafting.tpot_ms == pytest.approx(row.plain.tpot_ms / row.gain, rel=0.1)


def test_a_schedule_keeps_the_gain_at_few_streams_without_the_loss_at_many() -> None:
    poor = StepDrafts((0.5, 0.25, 0.1, 0.05), 4.0)
    always = gains(poor, streams=(1, 256))
    falling = gains(poor, {**HEAD, "num_speculative_tokens_per_batch_size": [[1, 8, 4], [9, 1024, 0]]}, (1, 256))
    assert falling[0].gain == pytest.approx(always[0].gain, rel=0.02)
    assert falling[1].gain > always[1].gain
    assert falling[1].gain == pytest.approx(1.0, abs=0.1)


def test_drafts_that_the_text_rarely_gives_cost_less() -> None:
    asked = {"method": "ngram_gpu", "num_speculative_tokens": 4}
    rare = gains(StepDrafts((0.1, 0.05, 0.0, 0.0), 0.4), asked, (256,))[0]
    often = gains(StepDrafts((0.1, 0.05, 0.0, 0.0), 4.0), asked, (256,))[0]
    assert rare.gain > often.gain


def test_flags_without_speculation_are_refused() -> None:
    with pytest.raises(InputError, match="no speculative decoding"):
        draft_gains(load_workload("chat-medium"), **L4, flags={}, acceptance=0.6)
    with pytest.raises(InputError, match="at least one"):
        gains(0.6, streams=(0,))


def test_a_server_for_which_every_request_is_too_long_is_refused() -> None:
    flags = {"speculative_config": HEAD, "max_model_len": 8, "max_num_batched_tokens": 2048}
    with pytest.raises(InputError, match="max_model_len=8"):
        draft_gains(load_workload("chat-medium"), **L4, flags=flags, acceptance=0.6)


def test_where_it_stops_being_worth_it() -> None:
    def row(streams: int, gain: float) -> GainAtLoad:
        return GainAtLoad(streams, StreamFigures(100.0, 10.0), StreamFigures(100.0 * gain, 10.0 / gain))

    assert worth_up_to([row(1, 1.5), row(4, 1.1), row(40, 0.8), row(64, 1.01)]) == 4
    assert worth_up_to([row(1, 0.9), row(4, 1.1)]) is None


def test_a_prediction_says_what_it_took_for_the_acceptance() -> None:
    flags = {"speculative_config": HEAD, "max_model_len": 4096}
    given = predict(load_workload("chat-medium"), **L4, flags=flags, acceptance=StepDrafts((0.8, 0.6, 0.4, 0.2), 4.0))
    assumed = predict(load_workload("chat-medium"), **L4, flags=flags)
    assert any("3 tokens" in note and "80 %" in note for note in given.notes)
    assert any("assumed to be accepted with probability 0.6" in note for note in assumed.notes)
    assert given.metrics["median_tpot_ms"] < assumed.metrics["median_tpot_ms"]
