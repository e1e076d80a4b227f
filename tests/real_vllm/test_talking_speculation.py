"""Speculative decoding on a real vLLM: its counters show what the replay of the baseline's answers foretells, and its
greedy answers are those of the model alone."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from benchmarks.talking_model.store import TalkingModels
from rooftune.engines.interpreter import Installed
from rooftune.speculation.configured import proposer_of
from rooftune.speculation.replay import replay
from rooftune.vllm_rules.config import EngineConfig
from tests.real_vllm.talking_answers import TalkingAnswers
from tests.real_vllm.talking_floor import TalkingFloor
from tests.real_vllm.talking_server import COMMON, DRAFTED, NGRAM, SUFFIX, Serving, TalkingServers, draft_model

pytestmark = pytest.mark.timeout(1200)  # the first test makes the models
POINTS = 0.02
SAME = 0.98
"""Share of greedy answers that are the same token by token. Rounding may decide between two nearly equal tokens."""


def test_ngram_drafts_fare_as_the_replay_foretells(
    talked: TalkingAnswers, floor: TalkingFloor, servers: TalkingServers, talking: TalkingModels
) -> None:
    server = servers.get(Serving(talking.model, NGRAM))
    found = talked.drafted(server)
    seen = found.acceptance
    proposer = proposer_of(EngineConfig(model=server.model).with_change(NGRAM))
    assert proposer is not None
    foreseen = replay(talked.answers, proposer, max_model_len=int(str(COMMON["max_model_len"])))
    print(f"counters {seen}\nreplay {foreseen}")
    assert seen.drafts > 100, "the prompts ask for texts that repeat"
    assert 0.05 < seen.by_position[0] < 0.95, "some drafts are right and some are wrong"
    assert len(foreseen.by_position) == len(seen.by_position) == DRAFTED
    for ours, theirs in zip(foreseen.by_position, seen.by_position, strict=True):
        assert abs(ours - theirs) <= POINTS
    assert abs(foreseen.token_share - seen.token_share) <= POINTS
    assert abs(foreseen.draft_share - seen.draft_share) <= POINTS
    assert abs(foreseen.tokens_per_step / seen.tokens_per_step - 1) <= POINTS
    assert talked.same(found.answers) >= SAME


def test_suffix_drafts_fare_as_the_replay_of_the_same_requests_foretells(
    talked: TalkingAnswers, servers: TalkingServers, talking: TalkingModels, vllm: Installed
) -> None:
    """One request at a time, because what the shared tree holds depends on the order of the requests."""
    probe = [vllm.python, "-c", "import arctic_inference.suffix_decoding"]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("needs arctic-inference 0.1.1 in vLLM's environment or in PYTHONPATH (docs/speculation.md)")
    server = servers.get(Serving(talking.model, SUFFIX))
    found = talked.drafted(server, at_once=1)
    seen, proposer = found.acceptance, proposer_of(EngineConfig(model=server.model).with_change(SUFFIX))
    assert proposer is not None
    foreseen = replay(found.answers, proposer, max_model_len=int(str(COMMON["max_model_len"])))
    print(f"counters {seen}\nreplay {foreseen}")
    assert seen.drafts > 100, "the prompts ask for texts that repeat"
    for ours, theirs in zip(foreseen.by_position, seen.by_position, strict=False):
        assert abs(ours - theirs) <= POINTS
    assert abs(foreseen.drafts / seen.drafts - 1) <= POINTS
    assert abs(foreseen.drafted / seen.drafted - 1) <= POINTS
    assert talked.same(found.answers) >= SAME


def test_the_guard_passes_ngram_drafts(
    floor: TalkingFloor, servers: TalkingServers, talking: TalkingModels, tmp_path: Path
) -> None:
    """Speculation that should be lossless is checked to be."""
    found = floor.checked(servers.get(Serving(talking.model, NGRAM)), tmp_path, speculates=True)
    assert found.verdict in ("equal", "changed within the threshold"), found.words
    assert found.measure("greedy difference") is not None


def test_the_model_is_nearly_always_right_about_itself(
    talked: TalkingAnswers, servers: TalkingServers, talking: TalkingModels
) -> None:
    found = talked.drafted(servers.get(Serving(talking.model, draft_model(talking.model))))
    print(found.acceptance)
    assert found.acceptance.by_position[0] > 0.97
    assert talked.same(found.answers) >= SAME


def test_a_random_draft_is_nearly_never_right(
    talked: TalkingAnswers, servers: TalkingServers, talking: TalkingModels
) -> None:
    found = talked.drafted(servers.get(Serving(talking.model, draft_model(talking.random))))
    print(found.acceptance)
    assert found.acceptance.by_position[0] < 0.03
    assert talked.same(found.answers) >= SAME
