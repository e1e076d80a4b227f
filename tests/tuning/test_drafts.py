"""What a run knows about drafts: from recorded answers of its prompts, on a simulated engine and on a real one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rooftune.answers.recorded import recorded_answers
from rooftune.engines.target import Target
from rooftune.models.catalogue import model_facts
from rooftune.simulator.front.played import played_answers
from rooftune.simulator.front.tokens import encode
from rooftune.speculation.acceptance import StepDrafts
from rooftune.speculation.known import PRIORS, KnownDraft, KnownDrafts
from rooftune.tuning.drafts import RunDrafts, drafts_of_prompts, measured_drafts
from rooftune.workloads.load import load_workload
from rooftune.workloads.spec import Workload
from rooftune.workloads.texts.pieces import chat_text
from rooftune.workloads.texts.read import read_prompts
from tests.tuning.drafted_trial import drafted

TARGET = Target(engine="simulated", gpu="L4", model="llama-3.1-8b", engine_version="0.32.0")
FACTS = model_facts("llama-3.1-8b")
SENTENCES = [f"number {n} of the lines that an answer repeats word by word, {n * 7} and {n * 13}" for n in range(40)]


@pytest.fixture
def workload(tmp_path: Path) -> Workload:
    """Prompts whose recorded answers copy them."""
    rows = [{"prompt": f"Say again: {s}", "answer": f"{s} {s}"} for s in SENTENCES]
    (tmp_path / "mine.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "w.yaml").write_text(
        "name: again\narrivals: {process: poisson, rate_per_s: 2}\nprompts: {file: mine.jsonl}\nduration_s: 30\n"
    )
    return load_workload(str(tmp_path / "w.yaml"))


def test_recorded_answers_give_the_acceptance_of_proposers_and_are_played(workload: Workload, tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    found = drafts_of_prompts(workload, TARGET, FACTS, cuda=True)
    assert (found.texts, found.plays) == (True, True)
    assert {k.speculation["method"] for k in found.drafts} == {"ngram", "ngram_gpu", "suffix"}
    assert all(k.per_step.tokens > 1.5 for k in found.drafts)
    assert "recorded answers" in found.drafts[0].source
    played = played_answers(file, FACTS.vocab_size).of(encode(f"Say again: {SENTENCES[3]}", FACTS.vocab_size))
    assert played is not None
    assert "".join(played.pieces) == f"{SENTENCES[3]} {SENTENCES[3]}"
    found.write(tmp_path / "drafts.json")
    target = RunDrafts.read(tmp_path / "drafts.json").in_target(TARGET, workload)
    assert target.answers == str(file)
    assert target.known_drafts.of({"speculative_config": found.drafts[0].speculation}) == found.drafts[0].per_step


def test_a_real_engine_plays_nothing(workload: Workload) -> None:
    real = TARGET.model_copy(update={"engine": "vllm"})
    found = drafts_of_prompts(workload, real, FACTS, cuda=True)
    assert (found.texts, found.plays) == (True, False)
    assert found.drafts
    assert found.in_target(real, workload).answers is None


def test_a_workload_without_texts_knows_nothing() -> None:
    found = drafts_of_prompts(load_workload("chat-low"), TARGET, FACTS, cuda=True)
    assert found == RunDrafts(texts=False)
    assert (
        found.in_target(TARGET, load_workload("chat-low")).known_drafts.of({"speculative_config": {"method": "suffix"}})
        is None
    )


def test_methods_that_ask_a_model_have_a_prior_with_texts_only() -> None:
    asked = {"speculative_config": {"method": "eagle3", "model": "head", "num_speculative_tokens": 2}}
    middle = PRIORS["eagle3"].middle
    found = KnownDrafts(priors=True).of(asked)
    assert found is not None
    assert found.accepted == pytest.approx((middle, middle**2))  # type: ignore[union-attr]
    assert KnownDrafts().of(asked) is None
    measured = KnownDraft(speculation=asked["speculative_config"], accepted=[0.9, 0.8], drafted=2.0, source="a trial")
    assert KnownDrafts(priors=True, measured=(measured,)).of(asked) == measured.per_step


def test_one_trial_holds_for_all_lengths_of_its_proposer() -> None:
    head = {"method": "eagle3", "model": "head", "num_speculative_tokens": 2}
    trial = KnownDraft(speculation=head, accepted=[0.8, 0.6], drafted=2.0, source="a trial")
    known = KnownDrafts(priors=True, measured=(trial,))

    def of(**changed: Any) -> Any:
        return known.of({"speculative_config": {**head, **changed}})

    assert of(num_speculative_tokens=1) == StepDrafts((0.8,), 1.0)
    longer = of(num_speculative_tokens=4)  # each further token is accepted as often as the second: 0.6 / 0.8
    assert longer.accepted == pytest.approx((0.8, 0.6, 0.45, 0.3375))
    assert longer.drafted == 4.0
    middle = PRIORS["eagle3"].middle
    assert of(model="another").accepted == pytest.approx((middle, middle**2))


def test_a_replay_of_the_length_itself_goes_before_a_trial_of_another_one() -> None:
    asked = {"method": "ngram", "num_speculative_tokens": 3, "prompt_lookup_min": 2, "prompt_lookup_max": 4}
    replayed = KnownDraft(speculation=asked, accepted=[0.5, 0.4, 0.3], drafted=1.5, source="a replay")
    trial = KnownDraft(speculation={**asked, "num_speculative_tokens": 5}, accepted=[0.1] * 5, drafted=1.0, source="")
    known = KnownDrafts((replayed,), measured=(trial,))
    assert known.of({"speculative_config": asked}) == replayed.per_step
    assert known.of({"speculative_config": {**asked, "num_speculative_tokens": 2}}) == StepDrafts((0.1, 0.1), 0.4)


def test_the_counters_of_trials_are_pooled_and_those_of_schedules_and_doubted_trials_left_out() -> None:
    head = {"method": "eagle3", "model": "head", "num_speculative_tokens": 2}
    falling = {**head, "num_speculative_tokens_per_batch_size": [[1, 8, 2], [9, 64, 1]]}
    believed = [drafted(head, 100, 90, 60), drafted(head, 300, 150, 60)]
    failed = drafted(head, 100, 1, 1).model_copy(update={"status": "failed"})
    (found,) = measured_drafts([*believed, failed, drafted(falling, 100, 100, 100), drafted(None, 0, 0, 0)])
    assert found.accepted == pytest.approx([0.6, 0.3])
    assert (found.drafted, found.source) == (2.0, "counters of 2 trials")
    assert found.speculation == head


def test_a_schedule_has_the_acceptance_of_its_longest_drafts() -> None:
    asked = {"method": "ngram", "num_speculative_tokens": 3, "prompt_lookup_min": 2, "prompt_lookup_max": 4}
    known = KnownDrafts((KnownDraft(speculation=asked, accepted=[0.5, 0.4, 0.3], drafted=1.5, source="a replay"),))
    falling = {**asked, "num_speculative_tokens_per_batch_size": [[1, 8, 3], [9, 64, 1]]}
    assert known.of({"speculative_config": falling}) == known.of({"speculative_config": asked})


def test_each_turn_of_a_conversation_has_its_history(tmp_path: Path) -> None:
    talk = [("user", "One?"), ("assistant", "1."), ("user", "Two?"), ("assistant", "2."), ("user", "Three?")]
    row = {"messages": [{"role": role, "content": text} for role, text in talk]}
    (tmp_path / "talk.jsonl").write_text(json.dumps({"conversations": [
        {"from": "human" if role == "user" else "gpt", "value": text} for role, text in talk
    ]}))  # fmt: skip
    prompts = read_prompts(tmp_path / "talk.jsonl")
    found = recorded_answers(prompts, encode, lambda m: encode(chat_text(m)), as_chat=True)
    assert [a.text for a in found] == ["1.", "2."]
    assert list(found[1].prompt_ids) == encode(chat_text(row["messages"][:3]))
