"""Traces of four kinds become plans; bad files are named with their line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rooftune.errors import InputError
from rooftune.workloads.draw import draw
from rooftune.workloads.prompts import prompt_text, prompt_token_ids, said_text
from rooftune.workloads.request_plan import RequestPlan
from rooftune.workloads.spec import Workload


def plan_of(path: Path, duration_s: float = 100, **more: Any) -> RequestPlan:
    arrivals = {"process": "trace", "file": str(path), **more}
    return draw(Workload.model_validate({"name": "t", "arrivals": arrivals, "duration_s": duration_s}))


def test_mooncake_blocks_are_equal_text(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    entries = [
        {"timestamp": 27_000, "input_length": 1100, "output_length": 5, "hash_ids": [0, 1, 2]},
        {"timestamp": 27_500, "input_length": 1400, "output_length": 7, "hash_ids": [0, 1, 3]},
        {"timestamp": 30_000, "input_length": 600, "output_length": 9, "hash_ids": [8, 9]},
    ]
    path.write_text("".join(json.dumps(e) + "\n" for e in entries))
    plan = plan_of(path)
    assert plan.arrival_s.tolist() == [0, 0.5, 3]
    assert plan.prefix_tokens.tolist() == [0, 1024, 0]
    first, second, third = (prompt_token_ids(plan, i) for i in range(3))
    assert [len(first), len(second), len(third)] == [1100, 1400, 600]
    assert first[:1024] == second[:1024]
    assert first[1024:1100] != second[1024:1100]
    assert third[:512] != first[:512]


def test_azure_times_have_seven_digits(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 "
        "18:15:46.6805900,374,44\n2023-11-16 18:15:50.9951690,396,109\n"
    )
    plan = plan_of(path, speed=2)
    assert plan.arrival_s.tolist() == pytest.approx([0, 4.314579 / 2], abs=1e-5)
    assert plan.prompt_tokens.tolist() == [374, 396]
    assert plan.output_tokens.tolist() == [44, 109]


def test_a_plain_csv_may_have_conversations(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(
        "arrival_s,prompt_tokens,output_tokens,conversation,think_s\n10,5,6,1,0\n11,9,9,,0\n12,20,6,1,1.5\n"
    )
    plan = plan_of(path)
    assert plan.conversation.tolist() == [1, 1, -1]
    assert plan.turn.tolist() == [0, 1, 0]
    assert plan.think_s.tolist() == [0, 1.5, 0]


def test_sharegpt_conversations_are_said_in_their_own_words(tmp_path: Path) -> None:
    path = tmp_path / "talks.json"
    talk = [
        {"from": "human", "value": "Hello there"},
        {"from": "gpt", "value": "Good day to you"},
        {"from": "human", "value": "And now?"},
        {"from": "gpt", "value": "Tea."},
    ]
    path.write_text(json.dumps([{"id": "a", "conversations": talk}, {"id": "b", "conversations": talk[:1]}]))
    plan = plan_of(path, rate_per_s=1)
    assert plan.turn.tolist()[:4] == [0, 1, 0, 1]
    assert prompt_text(plan, 0) == "Hello there"
    assert said_text(plan, 1) == "And now?"
    assert plan.prompt_tokens[1] > plan.prompt_tokens[0] + plan.output_tokens[0]
    with pytest.raises(InputError, match="rate_per_s"):
        plan_of(path)


ENTRY = '{"timestamp": 900, "input_length": 700, "output_length": 9}\n'
ROWS = "t,prompt_tokens,output_tokens\n1,5,6\n"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.jsonl", '{"timestamp": 1}\n', "line 1"),
        ("a.jsonl", "{\n", "line 1"),
        ("a.csv", "time,prompt_len,output_len\n1,x,3\n", "line 2"),
        ("a.csv", "when,size\n1,2\n", "no column"),
        ("a.csv", "t,prompt_tokens,output_tokens\n", "no request"),
        ("a.json", "[1]", "conversation"),
        ("a.json", "{", "ShareGPT"),
        ("a.json", '{"conversations": []}', "ShareGPT"),
        ("a.jsonl", ENTRY + ENTRY.replace("900", "Infinity"), "line 2: .*timestamp is inf, not a finite number"),
        ("a.jsonl", ENTRY + ENTRY.replace("900", "NaN"), "line 2: .*timestamp is nan"),
        ("a.jsonl", ENTRY.replace("700", "Infinity"), "line 1: .*input_length is inf, not a finite number"),
        ("a.jsonl", ENTRY.replace("9}", "1e400}"), "line 1: .*output_length is inf"),
        ("a.jsonl", ENTRY.replace("700", "true"), "line 1: .*input_length is True, not a number"),
        (
            "a.jsonl",
            ENTRY.replace("}", ', "hash_ids": [1099511627776]}'),
            "line 1: .*hash_ids is 1099511627776, and it must be",
        ),
        (
            "a.csv",
            ROWS + "2,99999999999999999999,3\n",
            "line 3: prompt_tokens is '99999999999999999999', and it must be",
        ),
        ("a.csv", ROWS + "2,5,Infinity\n", "line 3: output_tokens is 'Infinity', not a finite number"),
        ("a.csv", ROWS + "nan,5,6\n", "line 3: arrival_s is 'nan', not a finite number"),
        (
            "a.csv",
            ROWS + "2026-13-45 00:00:00,5,6\n",
            "line 3: arrival_s is '2026-13-45 00:00:00', neither seconds nor a date",
        ),
        ("a.csv", ROWS + "2,5\n", "line 3: output_tokens is '', not a number"),
    ],
)
def test_a_bad_trace_is_named(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=said):
        plan_of(tmp_path / name, rate_per_s=1)


def test_a_missing_trace_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is missing"):
        plan_of(tmp_path / "none.csv")
