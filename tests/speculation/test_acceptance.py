"""Acceptance as numbers: per step, from counters, and what a configuration asks for."""

from __future__ import annotations

import pytest
from recorded_answers import spoken

from rooftune.errors import InputError
from rooftune.speculation.acceptance import Acceptance, StepDrafts, constant, from_counters
from rooftune.speculation.configured import proposer_of
from rooftune.speculation.ngram import NgramProposer
from rooftune.speculation.replay import replay
from rooftune.speculation.suffix import SuffixProposer
from rooftune.vllm_rules.config import EngineConfig


def test_a_step_without_a_draft_accepts_nothing() -> None:
    found = Acceptance((0.8, 0.5), drafts=40, drafted=80, accepted=52, steps=100)
    assert found.per_step == StepDrafts((0.8 * 0.4, 0.5 * 0.4), 0.8)
    assert found.per_step.tokens == pytest.approx(found.tokens_per_step) == pytest.approx(1.52)
    assert found.mean_length == pytest.approx(2.3)
    assert found.token_share == pytest.approx(0.65)


def test_one_probability_for_every_position() -> None:
    assert constant(0.5, 3) == StepDrafts((0.5, 0.25, 0.125), 3.0)
    assert constant(0.5, 3).up_to(2) == constant(0.5, 2)
    assert constant(0.9, 0).tokens == 1.0
    with pytest.raises(InputError, match="must fall"):
        StepDrafts((0.4, 0.6), 2.0)


def test_the_counters_of_a_server_give_what_a_replay_of_its_answers_gives() -> None:
    """The counters that a server with these answers would have: drafts within the answers, so nothing is left out."""
    answers = spoken(40, seed=5)
    found = replay(answers, NgramProposer(3, 1, 3))
    tokens = sum(len(a.output_ids) for a in answers)
    counters = {
        "spec_drafts": found.drafts, "spec_draft_tokens": found.drafted, "spec_accepted_tokens": found.accepted,
        "generation_tokens": found.accepted + (found.steps or 0) + len(answers), "first_tokens": len(answers),
        **{f"spec_accepted_pos_{i + 1}": p * found.drafts for i, p in enumerate(found.by_position)},
    }  # fmt: skip
    assert tokens <= counters["generation_tokens"] <= tokens + 3 * len(answers)
    read = from_counters(counters)
    assert read is not None
    assert read.by_position == pytest.approx(found.by_position)
    assert read.steps == found.steps
    assert read.per_step.tokens == pytest.approx(found.per_step.tokens)


def test_counters_without_drafts_say_nothing() -> None:
    assert from_counters({}) is None
    assert from_counters({"spec_drafts": 0.0, "spec_draft_tokens": 0.0}) is None
    partly = from_counters({"spec_drafts": 10, "spec_draft_tokens": 20, "spec_accepted_tokens": 9})
    assert partly is not None
    assert partly.steps is None
    assert partly.by_position == ()


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"method": "ngram", "num_speculative_tokens": 3}, NgramProposer(3, 5, 5)),
        ({"method": "ngram", "num_speculative_tokens": 3, "prompt_lookup_max": 4}, NgramProposer(3, 4, 4)),
        ({"method": "ngram_gpu", "num_speculative_tokens": 2, "prompt_lookup_min": 2, "prompt_lookup_max": 4},
         NgramProposer(2, 2, 4)),
        ({"method": "suffix"}, SuffixProposer()),
        ({"method": "suffix", "num_speculative_tokens": 7, "suffix_decoding_max_tree_depth": 16,
          "suffix_decoding_max_spec_factor": 2.0, "suffix_decoding_min_token_prob": 0.2,
          "suffix_decoding_max_cached_requests": 0}, SuffixProposer(7, 16, 2.0, 0.2, False)),
        ({"method": "draft_model", "model": "x", "num_speculative_tokens": 3}, None),
        (None, None),
    ],
)  # fmt: skip
def test_the_proposer_of_a_configuration(asked: dict[str, object] | None, expected: object) -> None:
    assert proposer_of(EngineConfig(model="m", speculative_config=asked)) == expected
