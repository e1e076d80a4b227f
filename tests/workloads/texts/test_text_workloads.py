"""Workloads with real texts: what the file may say, which prompts are drawn, and how long their requests are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rooftune.errors import InputError
from rooftune.loadgen.texts_sent import texts_sent
from rooftune.simulator.front.tokens import encode
from rooftune.workloads.draw import draw
from rooftune.workloads.identity import workload_hash
from rooftune.workloads.load import as_workload, load_workload
from rooftune.workloads.request_plan import RequestPlan
from rooftune.workloads.spec import Workload
from rooftune.workloads.texts.pieces import chat_text
from rooftune.workloads.texts.prompt_text import key_of, part_of

HEAD = "name: mine\narrivals: {process: constant, rate_per_s: 10}\nduration_s: 6\n"
SYSTEM = "You are a careful assistant who answers in one short sentence and never makes anything up at all. "


def write(folder: Path, records: list[Any], name: str = "mine.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
    return path


def workload(folder: Path, records: list[Any], more: str = "prompts: {file: mine.jsonl}\n") -> Workload:
    write(folder, records)
    path = folder / "mine.yaml"
    path.write_text(HEAD + more)
    return load_workload(str(path))


def numbered(n: int) -> list[dict[str, object]]:
    return [{"prompt": f"question number {i} about the river", "output_tokens": 5 + i} for i in range(n)]


def talk(*words: str, answer: str = "an answer of some words") -> dict[str, object]:
    said = [m for w in words for m in ({"role": "user", "content": w}, {"role": "assistant", "content": answer})]
    return {"messages": said}


def texts_of(plan: RequestPlan) -> list[str]:
    assert plan.prompts is not None
    assert plan.prompt is not None
    return [str(plan.prompts[i].text) for i in plan.prompt]


def test_answers_to_texts_end_by_themselves_unless_the_file_says_otherwise(tmp_path: Path) -> None:
    assert not workload(tmp_path, numbered(3)).ignore_eos
    assert workload(tmp_path, numbered(3), "prompts: {file: mine.jsonl}\nignore_eos: true\n").ignore_eos


def test_prompts_in_place_of_drawn_ones_do_not_keep_the_description_of_those(tmp_path: Path) -> None:
    found = load_workload("chat-medium", write(tmp_path, numbered(3)))
    assert found.description == "Prompts of mine.jsonl, arrivals and SLO of chat-medium"


def test_messages_go_to_the_chat_api(tmp_path: Path) -> None:
    assert workload(tmp_path, numbered(3)).endpoint == "completions"
    assert workload(tmp_path, [*numbered(3), talk("Hi")]).endpoint == "chat"
    with pytest.raises(InputError, match="has messages, which need the chat API; set endpoint: chat"):
        workload(tmp_path, [talk("Hi")], "endpoint: completions\nprompts: {file: mine.jsonl}\n")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("prompts: {file: mine.jsonl}\nprompt_tokens: {distribution: fixed, value: 3}\n", "prompts and prompt_tokens"),
        ("prompts: {file: none.jsonl}\n", "none.jsonl is missing"),
        ("prompts: {file: mine.jsonl, form: auto}\n", "unknown key 'form' in prompts (did you mean 'format'?)"),
        ("prompts: {file: mine.jsonl}\nsampling: {temprature: 1}\n", "(did you mean 'temperature'?)"),
        ("prompts: {file: mine.jsonl}\nsampling: {extra_body: {stream: true}}\n", "stream cannot be set here"),
        ("prompt_tokens: {distribution: fixed, value: 3}\noutput_tokens: {distribution: fixed, value: 3}\n"
         "max_tokens: 3\n", "max_tokens belongs to prompts"),
    ],
)  # fmt: skip
def test_what_a_workload_with_texts_cannot_say(tmp_path: Path, more: str, words: str) -> None:
    with pytest.raises(InputError) as error:
        workload(tmp_path, numbered(3), more)
    assert words in str(error.value)


def test_a_file_of_prompts_takes_the_place_of_those_that_a_workload_names_or_lacks(tmp_path: Path) -> None:
    texts = write(tmp_path, numbered(3), "texts.jsonl")
    drawn = "prompt_tokens: {distribution: fixed, value: 3}\noutput_tokens: {distribution: fixed, value: 9}\n"
    for own in ("", "max_tokens: 120\n", drawn, "prompts: {file: other.jsonl}\n"):
        (tmp_path / "mine.yaml").write_text(HEAD + own)
        found = load_workload(str(tmp_path / "mine.yaml"), texts)
        assert found.prompts is not None
        assert (found.name, found.prompts.file, found.prompt_tokens) == ("mine", str(texts), None)
    (tmp_path / "mine.yaml").write_text(HEAD + "max_token: 120\n")
    with pytest.raises(InputError, match=r"line 4: unknown key 'max_token'"):
        load_workload(str(tmp_path / "mine.yaml"), texts)


def test_the_hash_is_that_of_the_content_wherever_the_file_is(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    first = workload(here, numbered(3))
    assert workload_hash(first) == workload_hash(workload(there, numbered(3)))
    assert workload_hash(first) == workload_hash(first.with_part("confirm", "lengths.json"))
    assert workload_hash(first) != workload_hash(workload(there, numbered(4)))
    sampled = workload(there, numbered(3), "prompts: {file: mine.jsonl}\nsampling: {temperature: 1.0}\n")
    assert workload_hash(first) != workload_hash(sampled)


def test_a_workload_without_texts_keeps_the_hash_that_its_trials_have() -> None:
    """History and gates compare trials of different versions of rooftune by this hash."""
    assert workload_hash(load_workload("chat-medium")) == "bf033b50832fb277"


def test_a_file_that_changes_during_a_run_is_refused(tmp_path: Path) -> None:
    begun = workload(tmp_path, numbered(3))
    write(tmp_path, numbered(4))
    with pytest.raises(InputError, match="has changed since the run began"):
        draw(begun)


def test_a_workload_survives_being_written_and_read(tmp_path: Path) -> None:
    begun = workload(tmp_path, numbered(3))
    assert as_workload(begun.model_dump(mode="json"), "run.json") == begun


def test_every_prompt_is_sent_before_any_is_sent_again(tmp_path: Path) -> None:
    plan = draw(workload(tmp_path, numbered(25)))
    sent = texts_of(plan)
    assert len(sent) == 60
    assert len(set(sent[:25])) == len(set(sent[25:50])) == 25
    assert sent[:25] != sent[25:50]
    assert plan.salt is not None
    assert plan.salt.tolist() == [0] * 25 + [1] * 25 + [2] * 10
    assert any("sends each several times" in note for note in plan.notes)


def test_the_seed_decides_the_order(tmp_path: Path) -> None:
    begun = workload(tmp_path, numbered(100))
    assert texts_of(draw(begun, seed=1)) == texts_of(draw(begun, seed=1))
    assert texts_of(draw(begun, seed=1)) != texts_of(draw(begun, seed=2))


@given(seeds=st.lists(st.integers(0, 2**40), min_size=1, max_size=4))
def test_a_part_sends_its_own_prompts_alone(tmp_path_factory: pytest.TempPathFactory, seeds: list[int]) -> None:
    begun = workload(tmp_path_factory.mktemp("texts"), numbered(40))
    for seed in seeds:
        for part in ("search", "confirm"):
            sent = texts_of(draw(begun.with_part(part), seed=seed))  # type: ignore[arg-type]
            assert {part_of(key_of(text, None)) for text in sent} == {part}


def test_the_estimate_is_what_the_simulated_engine_counts(tmp_path: Path) -> None:
    plan = draw(workload(tmp_path, numbered(30)))
    assert plan.counted == "estimate"
    assert plan.prompt_tokens.tolist() == [len(encode(t)) for t in texts_of(plan)]
    chat = draw(workload(tmp_path, numbered(30), "endpoint: chat\nprompts: {file: mine.jsonl}\n"))
    messages = [[{"role": "user", "content": t}] for t in texts_of(chat)]
    assert chat.prompt_tokens.tolist() == [len(encode(chat_text(m))) for m in messages]


def test_answers_have_the_recorded_length_and_at_most_their_limit(tmp_path: Path) -> None:
    records = [{"prompt": "a b c", "output_tokens": 50}, {"prompt": "d e f", "max_tokens": 7}, {"prompt": "g h i"}]
    plan = draw(workload(tmp_path, records, "prompts: {file: mine.jsonl}\nmax_tokens: 30\n"))
    assert plan.max_tokens is not None
    found = set(zip(texts_of(plan), plan.output_tokens.tolist(), plan.max_tokens.tolist(), strict=True))
    assert found == {("a b c", 30, 30), ("d e f", 7, 7), ("g h i", 30, 30)}


def test_without_a_recorded_answer_the_workload_says_what_is_expected(tmp_path: Path) -> None:
    more = "prompts: {file: mine.jsonl}\noutput_tokens: {distribution: fixed, value: 12}\n"
    plan = draw(workload(tmp_path, [{"prompt": "a"}, {"prompt": "b", "output_tokens": 3}], more))
    assert set(zip(texts_of(plan), plan.output_tokens.tolist(), strict=True)) == {("a", 12), ("b", 3)}
    assert plan.max_tokens is not None
    assert set(plan.max_tokens.tolist()) == {1024}
    assert plan.longest_request > 1024


def test_an_answer_that_cannot_end_needs_a_length(tmp_path: Path) -> None:
    more = "prompts: {file: mine.jsonl}\nignore_eos: true\n"
    with pytest.raises(InputError, match="the prompt in line 2 has no recorded answer"):
        draw(workload(tmp_path, [{"prompt": "a", "output_tokens": 3}, {"prompt": "b"}], more))
    plan = draw(workload(tmp_path, numbered(3), more))
    assert plan.max_tokens is None
    assert set(plan.output_tokens.tolist()) == {5, 6, 7}


def test_turns_grow_by_what_was_asked_and_answered(tmp_path: Path) -> None:
    plan = draw(workload(tmp_path, [talk("one", "two", "three", answer="word " * 20)]))
    first, second, third = plan.prompt_tokens[:3].tolist()
    assert plan.turn[:6].tolist() == [0, 1, 2, 0, 1, 2]
    assert plan.conversation[:4].tolist() == [0, 0, 0, 1]
    answer = int(plan.output_tokens[0])
    assert answer == len(encode("word " * 20))
    assert second == first + answer + len(encode(chat_text([{"role": "user", "content": "two"}])))
    assert third > second + answer
    assert (plan.think_s[plan.turn == 0] == 0).all()
    assert (plan.think_s[plan.turn > 0] > 0).all()


def test_recorded_pauses_are_kept(tmp_path: Path) -> None:
    turns = [{"text": "one"}, {"text": "two", "delay": 1500}, {"text": "three", "delay": 250}]
    plan = draw(workload(tmp_path, [{"session_id": "s", "turns": turns}]))
    assert plan.think_s[:3].tolist() == [0.0, 1.5, 0.25]


def test_a_common_beginning_is_known_before_the_load(tmp_path: Path) -> None:
    apart = draw(workload(tmp_path, numbered(30)))
    assert apart.blocks is None
    together = [{"prompt": f"{SYSTEM}{i} and then something else"} for i in range(30)]
    plan = draw(workload(tmp_path, together))
    assert plan.blocks is not None
    common = len(encode(SYSTEM)) // 16
    assert {len(b) for b in plan.blocks} == {common}
    assert plan.blocks[0] == plan.blocks[29]
    assert plan.blocks[0] != plan.blocks[30], "the second pass has another salt"


def test_what_the_prefix_cache_should_have_had(tmp_path: Path) -> None:
    def shared(records: list[Any], more: str = "") -> float:
        plan = draw(workload(tmp_path, records, f"prompts: {{file: mine.jsonl{more}}}\n"))
        found = texts_sent(plan, np.arange(len(plan)))
        assert found is not None
        return found.shared_share

    assert shared(numbered(60)) == 0
    assert shared(numbered(20)) == 0
    assert shared([{"prompt": f"{SYSTEM}{i}"} for i in range(20)], ", repeats: same") > 0.4
    common = shared([{"prompt": f"{SYSTEM}{SYSTEM}{i}"} for i in range(60)])
    assert 0.7 < common < 1
    assert shared([talk("one", "two", "three", answer="word " * 20)]) > 0.4


def test_a_closed_loop_takes_prompts_too(tmp_path: Path) -> None:
    write(tmp_path, numbered(5))
    path = tmp_path / "mine.yaml"
    path.write_text(
        "name: mine\narrivals: {process: closed, concurrency: 3}\nduration_s: 1\nprompts: {file: mine.jsonl}\n"
    )
    plan = draw(load_workload(str(path)))
    assert plan.concurrency == 3
    assert len(plan) >= 150


def test_a_trace_gives_texts_their_times(tmp_path: Path) -> None:
    write(tmp_path, numbered(5))
    (tmp_path / "t.csv").write_text("arrival,prompt_tokens,output_tokens\n0,5,5\n1.5,9,9\n4,7,7\n")
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\narrivals: {process: trace, file: t.csv}\nduration_s: 9\nprompts: {file: mine.jsonl}\n")
    plan = draw(load_workload(str(path)))
    assert plan.arrival_s.tolist() == [0.0, 1.5, 4.0]
    assert len(set(texts_of(plan))) == 3
