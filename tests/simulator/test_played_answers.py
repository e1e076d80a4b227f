"""The engine plays recorded answers: proposers that search the text draft from them, and a replay gives the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from rooftune.hardware.named import accelerator
from rooftune.models.catalogue import model_facts
from rooftune.simulator.engine.core import EngineCore
from rooftune.simulator.engine.scheduler import EngineRequest
from rooftune.speculation.acceptance import StepDrafts
from rooftune.speculation.configured import proposer_of
from rooftune.speculation.replay import replay
from rooftune.vllm_rules.config import EngineConfig


@dataclass(frozen=True)
class Answered:
    """A prompt and its answer."""

    prompt_ids: tuple[int, ...]
    output_ids: tuple[int, ...]


def answers(number: int) -> list[Answered]:
    """Answers that copy parts of their prompts."""
    rng = np.random.default_rng(11)
    found = []
    for _ in range(number):
        prompt = rng.integers(3, 200, 60).tolist()
        output: list[int] = []
        while len(output) < 80:
            at = int(rng.integers(0, 50))
            output += prompt[at : at + int(rng.integers(1, 12))]
        found.append(Answered(tuple(prompt), tuple(output)))
    return found


def engine(speculation: dict[str, Any] | None, **more: Any) -> EngineCore:
    config = EngineConfig(model="tinyllama-1.1b", max_model_len=512, max_num_seqs=4, speculative_config=speculation)
    return EngineCore(accelerator("L4"), model_facts("tinyllama-1.1b"), config, "0.32.0", **more)


def play(core: EngineCore, of: list[Answered], *, recorded: bool = True) -> list[EngineRequest]:
    """Everything at once, to its end."""
    requests = [EngineRequest(i, len(a.prompt_ids), len(a.output_ids)) for i, a in enumerate(of)]
    for request, answer in zip(requests, of, strict=True):
        core.submit(request, answer if recorded else None)
    while not core.idle:
        step, seconds = core.begin()
        core.finish(step, seconds)
    return requests


NGRAM = {"method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_min": 2, "prompt_lookup_max": 4}


@pytest.mark.parametrize("asked", [NGRAM, {**NGRAM, "method": "ngram_gpu", "num_speculative_tokens": 1}])
def test_the_engine_drafts_and_accepts_what_the_replay_does(asked: dict[str, Any]) -> None:
    given = answers(12)
    core = engine(asked, plays_answers=True)
    requests = play(core, given)
    proposer = proposer_of(core.config)
    assert proposer is not None
    foreseen = replay(given, proposer, max_model_len=512)
    assert (core.drafts, core.drafted, core.accepted) == (foreseen.drafts, foreseen.drafted, foreseen.accepted)
    assert foreseen.by_position[0] > 0.2
    assert [r.generated for r in requests] == [len(a.output_ids) for a in given]
    assert sum(core.accepted_at) == core.accepted


def test_suffix_decoding_in_the_engine_learns_from_other_answers() -> None:
    given = answers(3)
    core = engine({"method": "suffix"}, plays_answers=True)
    play(core, [*given, *given])
    alone = engine({"method": "suffix", "suffix_decoding_max_cached_requests": 0}, plays_answers=True)
    play(alone, [*given, *given])
    assert core.accepted > 1.1 * alone.accepted > 0


def test_steps_are_saved_and_every_answer_comes_out_whole() -> None:
    given = answers(8)
    plain, drafting = engine(None), engine(NGRAM, plays_answers=True)
    for core in (plain, drafting):
        assert [r.generated for r in play(core, given)] == [len(a.output_ids) for a in given]
    assert drafting.steps < plain.steps
    assert drafting.clock_s < plain.clock_s


def test_a_request_without_a_recorded_answer_gets_no_draft() -> None:
    core = engine(NGRAM, plays_answers=True)
    play(core, answers(3), recorded=False)
    assert (core.drafts, core.accepted) == (0, 0)


def test_a_model_that_drafts_is_given_its_acceptance() -> None:
    asked = {"method": "draft_model", "model": "tinyllama-1.1b", "num_speculative_tokens": 3}
    core = engine(asked, acceptance=StepDrafts((0.8, 0.5, 0.2), 3.0), plays_answers=True)
    play(core, answers(60))
    shares = [n / core.drafts for n in core.accepted_at]
    assert shares == pytest.approx([0.8, 0.5, 0.2], abs=0.05)
