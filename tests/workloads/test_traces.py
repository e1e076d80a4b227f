"""Traces of many sources become plans; what is assumed is said, and bad files are named with their line."""

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
        ("a.jsonl", '{"timestamp": 1}\n', "no column prompt_tokens.*it has timestamp"),
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
            ENTRY.replace("}", ', "hash_ids": [-5]}'),
            "line 1: .*hash_ids is -5, and it must be",
        ),
        (
            "a.csv",
            ROWS + "2,99999999999999999999,3\n",
            "line 3: prompt_tokens is '99999999999999999999', and it must be",
        ),
        ("a.csv", ROWS + "2,5,Infinity\n", "line 3: output_tokens is 'Infinity', not a finite number"),
        ("a.csv", ROWS + "nan,5,6\n", "line 3: t is 'nan', not a finite number"),
        (
            "a.csv",
            ROWS + "2026-13-45 00:00:00,5,6\n",
            "line 3: t is '2026-13-45 00:00:00', neither a number nor a date",
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


# ---- formats of other sources


DATA = Path(__file__).parent / "data"


def written(folder: Path, name: str, *records: object) -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(r) + "\n" for r in records))
    return path


def test_bailian_has_seconds_and_blocks_of_16() -> None:
    plan = plan_of(DATA / "bailian.jsonl", duration_s=30)
    assert len(plan) == 30
    assert plan.arrival_s.tolist() == pytest.approx(list(range(30)))
    assert plan.block_tokens == 16
    assert plan.prefix_tokens.tolist() == [0] + [16] * 29
    assert plan.notes == ("bailian.jsonl is read as a Bailian trace: times in seconds, 16 tokens per hash block",)
    first, second = (prompt_token_ids(plan, i) for i in range(2))
    assert first[:16] == second[:16]
    assert first[16:32] != second[16:32]


@pytest.mark.parametrize("name", ["burstgpt_v1.csv", "burstgpt_v2.csv"])
def test_burstgpt(name: str) -> None:
    plan = plan_of(DATA / name, duration_s=60)
    assert plan.arrival_s.tolist() == [3.0 * i for i in range(20)]
    assert plan.prompt_tokens.mean() == 409.5
    assert plan.output_tokens.mean() == 109.5
    assert set(plan.conversation.tolist()) == {-1}, "each request has its own time"
    assert plan.notes == (f"{name} is read as a BurstGPT trace: times in seconds",)


def test_failed_requests_of_burstgpt_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "b.csv"
    path.write_text((DATA / "burstgpt_v1.csv").read_text() + "64,ChatGPT,400,0,400,Conversation log\n")
    plan = plan_of(path)
    assert len(plan) == 20
    assert plan.notes[0] == "1 requests of b.csv without an answer are left out"


@pytest.mark.parametrize(("fmt", "suffix"), [("auto", ".json"), ("sharegpt", ".json"), ("openai", ".jsonl")])
def test_messages_of_openai(tmp_path: Path, fmt: str, suffix: str) -> None:
    talks = json.loads((DATA / "messages.json").read_text())
    path = tmp_path / f"talks{suffix}"
    path.write_text(json.dumps(talks) if suffix == ".json" else "".join(json.dumps(t) + "\n" for t in talks))
    plan = plan_of(path, duration_s=30, format=fmt, rate_per_s=2)
    assert 30 < len(plan) < 90
    assert plan.texts is not None
    assert plan.texts[0].startswith("What is a heap?")
    assert set(plan.turn.tolist()) == {0}
    assert "estimated from its words" in plan.notes[0]


def test_sharegpt_as_lines_and_a_system_message(tmp_path: Path) -> None:
    talk = [
        {"from": "system", "value": "Be brief."},
        {"from": "human", "value": "Hi"},
        {"from": "gpt", "value": "Hello"},
    ]
    plan = plan_of(written(tmp_path, "t.jsonl", {"conversations": talk}, {"conversations": talk}), rate_per_s=1)
    assert plan.texts is not None
    assert plan.texts[0] == "Be brief.\nHi"


def test_a_batch_file_of_openai_has_the_length_that_it_asks_for(tmp_path: Path) -> None:
    messages = [
        {"role": "system", "content": "one two three"},
        {"role": "user", "content": [{"type": "text", "text": "Why?"}]},
    ]
    body = {"model": "m", "messages": messages, "max_tokens": 77}
    line = {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": body}
    plan = plan_of(written(tmp_path, "batch.jsonl", line, line, line), rate_per_s=1)
    assert set(plan.output_tokens.tolist()) == {77}
    assert set(plan.prompt_tokens.tolist()) == {4 + 2}, "the system message counts"


def test_prompts_without_answers_need_lengths(tmp_path: Path) -> None:
    path = written(tmp_path, "p.jsonl", {"prompt": "Tell me a story"}, {"prompt": "And now?"})
    with pytest.raises(InputError, match="line 1: a prompt without an answer; set output_tokens"):
        plan_of(path, rate_per_s=1)
    arrivals = {"process": "trace", "file": str(path), "rate_per_s": 1}
    lengths = {"distribution": "fixed", "value": 40}
    workload = Workload.model_validate({"name": "t", "arrivals": arrivals, "output_tokens": lengths, "duration_s": 30})
    assert set(draw(workload).output_tokens.tolist()) == {40}


def test_turns_of_aiperf(tmp_path: Path) -> None:
    turns = [{"text": "Hello you", "output_length": 5}, {"text": "And?", "delay": 1500, "output_length": 6}]
    plan = plan_of(written(tmp_path, "m.jsonl", {"session_id": "a", "turns": turns}), rate_per_s=1, duration_s=20)
    assert plan.turn.tolist()[:2] == [0, 1]
    assert plan.think_s[1] == 1.5
    assert plan.output_tokens.tolist()[:2] == [5, 6]


def test_prompts_with_times_of_aiperf(tmp_path: Path) -> None:
    lines = [{"text_input": f"why {i}", "output_length": 9, "timestamp": 500.5 * i} for i in range(8)]
    plan = plan_of(written(tmp_path, "m.jsonl", *lines))
    assert plan.arrival_s.tolist() == pytest.approx([0.5005 * i for i in range(8)])


def test_vidur_and_llmservingsim(tmp_path: Path) -> None:
    vidur = tmp_path / "v.csv"
    vidur.write_text("arrived_at,num_prefill_tokens,num_decode_tokens\n0.5,100,10\n1.5,200,20\n")
    assert plan_of(vidur).arrival_s.tolist() == [0, 1]
    lines = tmp_path / "l.tsv"
    lines.write_text("input_toks\toutput_toks\tarrival_time_ns\n100\t10\t5000000000\n200\t20\t6500000000\n")
    plan = plan_of(lines)
    assert plan.arrival_s.tolist() == pytest.approx([0, 1.5])
    assert plan.notes == ("l.tsv is read as a LLMServingSim trace: times in nanoseconds",)
    same = written(tmp_path, "l.jsonl", {"input_toks": 100, "output_toks": 10, "arrival_time_ns": 10**9})
    assert plan_of(same).prompt_tokens.tolist() == [100]


def test_a_table_of_lengths_alone_needs_a_rate(tmp_path: Path) -> None:
    path = tmp_path / "v.csv"
    path.write_text("num_prefill_tokens,num_decode_tokens\n100,10\n200,20\n")
    with pytest.raises(InputError, match=r"has no times; set arrivals.rate_per_s"):
        plan_of(path)
    plan = plan_of(path, rate_per_s=2, duration_s=20)
    assert len(plan) > 20
    assert set(plan.prompt_tokens.tolist()) == {100, 200}


def test_a_report_of_guidellm(tmp_path: Path) -> None:
    requests = [{"start_time": 1.7e9 + i, "prompt_tokens": 50 + i, "output_tokens": 9} for i in range(6)]
    plan = plan_of(written(tmp_path, "b.json", {"benchmarks": [{"requests": {"successful": requests}}, {}]}))
    assert plan.arrival_s.tolist() == [0, 1, 2, 3, 4, 5]
    assert "only the first of the 2 benchmarks" in plan.notes[0]


# ---- units and blocks


def mooncake(at: float, prompt: int = 700, hashes: int = 2) -> dict[str, Any]:
    ids = [1, *range(int(at) * 100 + 2, int(at) * 100 + 1 + hashes)]
    return {"timestamp": at, "input_length": prompt, "output_length": 9, "hash_ids": ids}


def test_a_rate_that_cannot_be_is_refused_and_the_workload_settles_it(tmp_path: Path) -> None:
    path = written(tmp_path, "t.jsonl", *[mooncake(i) for i in range(30)])
    with pytest.raises(InputError, match=r"30 requests in 0.029 s if its times are milliseconds.*arrivals.time_unit"):
        plan_of(path)
    assert plan_of(path, time_unit="s").arrival_s[-1] == 29
    slow = tmp_path / "slow.csv"
    slow.write_text("timestamp,prompt_tokens,output_tokens\n" + "".join(f"{i * 1500},9,9\n" for i in range(9)))
    with pytest.raises(InputError, match=r"one request every 1,500 s.*arrivals.time_unit"):
        plan_of(slow)
    assert plan_of(slow, time_unit="ms").arrival_s[-1] == 12


def test_times_with_fractions_are_not_mooncakes_milliseconds(tmp_path: Path) -> None:
    path = written(tmp_path, "t.jsonl", mooncake(1.5), mooncake(1000.25))
    with pytest.raises(InputError, match=r"have fractions; set arrivals.time_unit to s or ms"):
        plan_of(path)
    assert plan_of(path, time_unit="ms").arrival_s.tolist() == pytest.approx([0, 0.99875])


@pytest.mark.parametrize(
    ("unit", "power"), [("seconds", 0), ("milliseconds", 3), ("microseconds", 6), ("nanoseconds", 9)]
)
def test_dates_since_1970_show_their_unit(tmp_path: Path, unit: str, power: int) -> None:
    path = tmp_path / "t.csv"
    path.write_text(
        "time,prompt_tokens,output_tokens\n" + "".join(f"{(1_700_000_000 + i) * 10**power},9,9\n" for i in range(6))
    )
    plan = plan_of(path)
    assert plan.arrival_s.tolist() == pytest.approx([0, 1, 2, 3, 4, 5], abs=1e-3)
    assert plan.notes == (f"t.csv has times in {unit} since 1970",)


def test_a_unit_in_the_name_of_a_column_needs_no_word(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("timestamp_ms,prompt_tokens,output_tokens\n0,9,9\n1500,9,9\n")
    assert plan_of(path).arrival_s.tolist() == [0, 1.5]
    plain = tmp_path / "p.csv"
    plain.write_text("t,prompt_tokens,output_tokens\n0,9,9\n1,9,9\n")
    assert plan_of(plain).notes == ("the times of p.csv are taken as seconds (arrivals.time_unit names another unit)",)
    assert plan_of(plain, time_unit="s").notes == ()


def test_the_size_of_blocks_is_what_fits_the_prompts(tmp_path: Path) -> None:
    of_64 = written(tmp_path, "t.jsonl", *[mooncake(1000 * i, prompt=640, hashes=10) for i in range(6)])
    plan = plan_of(of_64)
    assert plan.block_tokens == 64
    assert "64 tokens per hash block, the only size that fits" in plan.notes[0]
    with pytest.raises(
        InputError, match=r"line 1: 10 hash_ids for a prompt of 640 tokens do not fit arrivals.block_tokens"
    ):
        plan_of(of_64, block_tokens=512)
    odd = written(tmp_path, "odd.jsonl", *[mooncake(1000 * i, prompt=640, hashes=7) for i in range(6)])
    with pytest.raises(InputError, match="do not fit a usual block size"):
        plan_of(odd)
    assert plan_of(odd, block_tokens=96).prefix_tokens.tolist() == [0, 96, 96, 96, 96, 96]


def test_hashes_may_have_64_bits(tmp_path: Path) -> None:
    entries = [mooncake(1000 * i) | {"hash_ids": [2**63 + 5, 2**62 + i]} for i in range(3)]
    assert plan_of(written(tmp_path, "t.jsonl", *entries)).prefix_tokens.tolist() == [0, 512, 512]


def test_columns_can_be_named(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("wann;rein;raus\n0;5;6\n2;7;8\n")
    with pytest.raises(InputError, match=r"no column prompt_tokens.*it has wann, rein, raus.*arrivals.columns"):
        plan_of(path)
    named = {"arrival": "wann", "prompt_tokens": "rein", "output_tokens": "raus"}
    plan = plan_of(path, columns=named, time_unit="s")
    assert (plan.arrival_s.tolist(), plan.prompt_tokens.tolist()) == ([0, 2], [5, 7])
    with pytest.raises(InputError, match=r"no column 'rei' \(did you mean 'rein'\?\)"):
        plan_of(path, columns={**named, "prompt_tokens": "rei"})


def test_what_a_file_is_not_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="it has neither a conversation nor a prompt"):
        plan_of(DATA / "bailian.jsonl", format="sharegpt", rate_per_s=1)
    with pytest.raises(InputError, match=r"has no column prompt_tokens.*it has messages"):
        plan_of(DATA / "messages.json", format="mooncake")
