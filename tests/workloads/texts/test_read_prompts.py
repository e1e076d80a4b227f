"""Files of prompts: every format as its tool writes it, and what is said about a file that cannot be read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rooftune.errors import InputError
from rooftune.workloads.texts.prompt_text import PromptText
from rooftune.workloads.texts.read import read_prompts

DATA = Path(__file__).parent / "data"
EGG = "How do I boil an egg?"


def read(name: str, format: str = "auto") -> list[PromptText]:
    return read_prompts(DATA / name, format)  # type: ignore[arg-type]


def said(prompt: PromptText) -> list[object]:
    """What the first request sends."""
    return [prompt.text] if prompt.text is not None else [(m["role"], m["content"]) for m in prompt.messages or ()]


def test_a_line_of_plain_text_is_a_prompt() -> None:
    found = read("plain.txt")
    assert [p.text for p in found] == [EGG, "[INST] Name three rivers. [/INST]", "Übersetze: der Fluss"]
    assert [p.line for p in found] == [1, 3, 4]


def test_jsonl_with_prompts_has_answers_lengths_limits_and_sampling() -> None:
    egg, rivers, ten = read("prompts.jsonl")
    assert (egg.text, egg.output_tokens, egg.answer) == (EGG, 40, None)
    assert (rivers.answer, rivers.extra) == ("Rhine, Elbe, Oder.", {"temperature": 0.7})
    assert (ten.max_tokens, ten.output_tokens) == (24, None)


def test_messages_are_one_request_or_a_conversation() -> None:
    cook, talk, request = read("messages.jsonl")
    assert said(cook) == [("system", "You are a cook."), ("user", EGG)]
    assert list(cook.extra) == ["tools"]
    assert said(talk) == [("user", "Hi")]
    assert talk.answer == "Hello. What can I do?"
    assert [(t.messages[0]["content"], t.answer) for t in talk.turns] == [("Name a river.", "The Rhine.")]
    assert [role for role, _ in said(request)] == ["user", "assistant", "user"]  # type: ignore[misc]
    assert request.turns == ()


def test_an_openai_batch_file_keeps_the_fields_of_its_requests() -> None:
    egg, rivers = read("openai_batch.jsonl")
    assert (said(egg), egg.max_tokens, egg.extra) == ([("user", EGG)], 64, {"temperature": 0.2})
    assert (said(rivers), rivers.max_tokens, rivers.extra) == (["Name three rivers."], 16, {})


def test_sharegpt_conversations_are_replayed_turn_by_turn() -> None:
    egg, river = read("sharegpt.json")
    assert (said(egg), egg.answer) == ([("user", EGG)], "Put it into boiling water for eight minutes.")
    assert [(t.messages[0]["content"], t.answer) for t in egg.turns] == [("And a soft one?", "Five minutes.")]
    assert said(river) == [("assistant", "Welcome."), ("user", "Name a river.")]
    brief, asked = read("sharegpt.jsonl")
    assert said(brief) == [("system", "Be brief."), ("user", EGG)]
    assert [(t.messages[0]["content"], t.answer) for t in asked.turns] == [("Another?", None)]


def test_the_custom_data_set_of_vllm_bench() -> None:
    assert [(p.text, p.output_tokens) for p in read("vllm_custom.jsonl", "custom")] == [
        ("What is the capital of India?", None),
        ("What is the capital of Iran?", 12),
    ]


def test_files_of_guidellm() -> None:
    assert [(p.text, p.output_tokens) for p in read("guidellm.jsonl")] == [
        (EGG, 64),
        ("You are a cook. Name a spice.", 12),
    ]
    assert [(p.text, p.output_tokens, p.line) for p in read("guidellm.csv")] == [
        (f"{EGG}\nPlease be brief.", 64, 2),
        ("Name a river.", 12, 4),
    ]
    egg, river = read("guidellm_report.json", "guidellm")
    assert (said(egg), egg.answer, egg.output_tokens, egg.max_tokens) == ([("user", EGG)], "Eight minutes.", 4, 64)
    assert (said(river), river.answer, river.output_tokens) == (["Name a river."], "The Rhine.", 3)


def test_files_of_aiperf() -> None:
    assert [(p.text, p.output_tokens) for p in read("aiperf_single.jsonl", "aiperf")] == [
        (EGG, None),
        ("Name a river.", None),
        ("Count to ten.", 20),
    ]
    several, single = read("aiperf_multi.jsonl")
    assert said(several) == [("user", EGG)]
    (turn,) = several.turns
    assert (turn.messages[0]["content"], turn.think_s, turn.output_tokens) == ("And a soft one?", 1.5, 9)
    assert (single.text, single.turns) == ("Name a river.", ())
    (egg,) = read("aiperf_inputs.json")
    assert (said(egg), egg.max_tokens, egg.extra) == ([("user", EGG)], 32, {})


def test_results_of_tools_follow_the_recorded_call() -> None:
    (talk,) = read("tools.jsonl")
    result, thanks = talk.turns
    assert result.messages[0]["role"] == "tool"
    assert result.after is not None
    assert result.after["tool_calls"]
    assert (thanks.messages[0]["content"], thanks.after) == ("Thanks", None)


def test_entries_of_several_shapes_may_be_in_one_file() -> None:
    assert [said(p) for p in read("mixed.jsonl")] == [
        [EGG],
        [("user", "Name a river.")],
        [("user", "Count.")],
        ["Just a text"],
    ]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", '{"prompt": "a"}\n{"prompt": "b"', "a.jsonl, line 2: not JSON"),
        ("a.jsonl", '{"prompt": "a"}\n\n{"foo": 1}\n', "line 3: it has neither a prompt nor messages (its keys: foo)"),
        ("a.jsonl", '{"prompt": [1, 2, 3]}', "line 1: the prompt has token ids; give the text instead"),
        ("a.jsonl", '{"prompt": "  "}', "line 1: the prompt is empty"),
        ("a.jsonl", '{"prompt": "a", "max_tokens": 0}', "max_tokens is 0, and it must be a whole number from 1"),
        ("a.jsonl", '{"prompt": "\\ud800"}', "half of a surrogate pair"),
        ("a.jsonl", '{"messages": []}', "messages is not a list with at least one message"),
        ("a.jsonl", '{"messages": [{"role": "robot", "content": "a"}]}', "a message has the role 'robot'"),
        ("a.jsonl", '{"messages": [{"role": "system", "content": "a"}]}', "no message is from the user"),
        ("a.jsonl", '{"turns": [{"text": "a", "delay": -1}]}', "delay is -1"),
        ("a.jsonl", "17", "a number is not a prompt"),
        ("a.jsonl", '{"url": "/v1/embeddings", "body": {"input": "a"}}', "has no answer to measure"),
        ("a.json", '[{"prompt": "a"},\n {"prompt": }]', "a.json, line 2: not JSON"),
        ("a.json", '[{"prompt": "a"}, {"prompt": null}]', "entry 2: it has neither a prompt"),
        ("a.txt", "", "is empty; a file of prompts is JSONL"),
        ("a.txt", " \n \n", "is empty"),
        ("a.txt", '{"prompt": "a"\nb', "read each line as a prompt with prompts.format: text"),
        ("a.csv", "question_id,n\n1,2\n", "line 2: it has neither a prompt"),
        ("a.jsonl", "[]", "has no prompt: none of its entries"),
    ],
)
def test_an_error_names_the_line_and_the_way_out(tmp_path: Path, name: str, content: str, words: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(InputError) as error:
        read_prompts(path)
    assert words in str(error.value)
    assert str(error.value).endswith(".")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("fine\ncaf\xe9\n".encode("latin-1"), "a.txt, line 2: the byte 0xe9 is not UTF-8"),
        ("one\n".encode("utf-16"), "is UTF-16; save it as UTF-8"),
    ],
)
def test_another_encoding_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match="UTF") as error:
        read_prompts(path)
    assert words in str(error.value)


def test_a_byte_order_mark_and_windows_line_ends_are_no_part_of_a_prompt(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\n")
    assert [p.text for p in read_prompts(path)] == ["one", "two"]


def test_a_missing_file_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is missing; prompts\.file is relative to the workload file"):
        read_prompts(tmp_path / "a.jsonl")


def test_a_named_format_refuses_entries_of_another() -> None:
    with pytest.raises(InputError, match=r"line 1: this is a prompt, not sharegpt; set prompts\.format: auto"):
        read("prompts.jsonl", "sharegpt")


def test_a_plain_text_that_looks_like_json_is_read_when_the_format_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text('{"prompt": "a"}\n{not json}\n')
    assert [p.text for p in read_prompts(path, "text")] == ['{"prompt": "a"}', "{not json}"]


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40).filter(lambda t: bool(t.strip()))
MESSAGE = st.fixed_dictionaries({"role": st.sampled_from(["system", "user", "assistant"]), "content": TEXTS})
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(
    ["prompt", "messages", "conversations", "turns", "body", "payloads", "benchmarks", "text", "max_tokens", "url"]
)


def refused_in_one_sentence(path: Path) -> bool:
    """Whether a file is refused with its name. Any error but an input error fails the test."""
    try:
        read_prompts(path)
    except InputError as error:
        return str(path) in str(error)
    return False


@given(prompts=st.lists(TEXTS, min_size=1, max_size=8))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, prompts: list[str]) -> None:
    path = tmp_path_factory.mktemp("texts") / "a.jsonl"
    path.write_text("".join(json.dumps({"prompt": p}) + "\n\n" for p in prompts), encoding="utf-8")
    assert [p.text for p in read_prompts(path)] == prompts


@given(messages=st.lists(MESSAGE, min_size=1, max_size=8))
def test_a_conversation_sends_every_question_in_its_order(
    tmp_path_factory: pytest.TempPathFactory, messages: list[dict[str, str]]
) -> None:
    """Whatever the order of the roles is: each user's message is sent once, and no recorded answer is after one."""
    path = tmp_path_factory.mktemp("texts") / "a.jsonl"
    path.write_text(json.dumps({"messages": messages}), encoding="utf-8")
    asked = [m["content"] for m in messages if m["role"] == "user"]
    if not asked:
        with pytest.raises(InputError, match="no message is from the user"):
            read_prompts(path)
        return
    (prompt,) = read_prompts(path)
    sent = [*prompt.as_messages(), *(m for t in prompt.turns for m in t.messages)]
    assert [m["content"] for m in sent if m["role"] == "user"] == asked


@given(entry=JSON | st.dictionaries(KEYS, JSON, min_size=1, max_size=3))
def test_any_json_is_read_or_refused_in_one_sentence(tmp_path_factory: pytest.TempPathFactory, entry: object) -> None:
    path = tmp_path_factory.mktemp("texts") / "a.jsonl"
    path.write_text(json.dumps(entry), encoding="utf-8")
    assert refused_in_one_sentence(path) or all(p.key for p in read_prompts(path))


@given(data=st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    for name in ("a.txt", "a.jsonl", "a.json", "a.csv"):
        path = tmp_path_factory.mktemp("texts") / name
        path.write_bytes(data)
        assert refused_in_one_sentence(path) or read_prompts(path)
