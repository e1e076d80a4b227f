"""Logs become workloads: what was found, what was left out and why, and what could not be known."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest

from rooftune.capacity.lone import lone_workload
from rooftune.errors import InputError
from rooftune.workloads.draw import draw
from rooftune.workloads.load import load_workload
from rooftune.workloads.logs.lengths import Assumed
from rooftune.workloads.logs.making import LogOptions, MadeWorkload, make_workload
from rooftune.workloads.logs.written import write_workload
from rooftune.workloads.request_plan import RequestPlan

LOGS = Path(__file__).parent / "data" / "logs"
REDACTED = LogOptions(redact=True)
REQUEST = (
    "Received request r{}: prompt: 'x', params: SamplingParams(max_tokens=5), prompt_token_ids: [1, 2], "
    "lora_request: None."
)


def made_of(tmp_path: Path, text: str, options: LogOptions = REDACTED, name: str = "log.jsonl") -> MadeWorkload:
    path = tmp_path / name
    path.write_text(text)
    return make_workload(path, options)


def lines_of(*records: object) -> str:
    return "".join(json.dumps(r) + "\n" for r in records)


def plan_of(made: MadeWorkload, folder: Path) -> RequestPlan:
    return draw(load_workload(str(write_workload(made, folder).workload)))


def skipped(made: MadeWorkload) -> dict[str, list[int]]:
    return {s.reason: list(s.lines) for s in made.skipped}


def said(made: MadeWorkload, words: str) -> bool:
    return any(words in note for note in made.notes)


def test_old_vllm_logs_have_prompts_in_the_request_line(tmp_path: Path) -> None:
    made = make_workload(LOGS / "vllm-0.11.log", LogOptions(assumed=Assumed(output_tokens=20)))
    assert made.format == "vllm"
    assert [(r.prompt_tokens, r.adapter, r.max_tokens) for r in made.requests] == [(29, "", 64), (22, "orchard", 128)]
    assert made.requests[1].text.endswith('What\'s the max_tokens=5 "rule", prompt_token_ids: [1]?')
    assert [r.at for r in made.requests] == [0, 2]
    assert skipped(made) == {
        "not a generation (embedding, beam search or tokenisation)": [8],
        "its request id occurs before": [9],
        "the file ends within it": [10],
    }
    assert [r.blocks for r in made.requests] == [(0,), (0,)], "the common system prompt, in whole blocks"
    redacted = make_workload(LOGS / "vllm-0.11.log", replace(REDACTED, assumed=Assumed(output_tokens=20)))
    assert [r.adapter for r in redacted.requests] == ["", "adapter-1"]
    assert made.content["lora"] == [{"name": "orchard", "path": "/adapters/orchard", "share": 0.5}]
    assert redacted.content["lora"] == [{"name": "adapter-1", "share": 0.5}]
    plan = plan_of(redacted, tmp_path)
    assert plan.adapters == ("adapter-1",)
    assert plan.adapter is not None
    assert plan.adapter.tolist() == [-1, 0]
    assert plan.blocks is not None
    assert plan.blocks[0][0] != plan.blocks[1][0], "an adapter has its own cache"


def test_newer_vllm_logs_without_prompts_say_what_is_missing() -> None:
    with pytest.raises(
        InputError,
        match=r"the prompts have neither.*VLLM_LOGGING_LEVEL=DEBUG, or assume .*--prompt-tokens",
    ):
        make_workload(LOGS / "vllm-0.32.log", REDACTED)
    made = make_workload(LOGS / "vllm-0.32.log", replace(REDACTED, assumed=Assumed(prompt_tokens=500)))
    assert [(r.prompt_tokens, r.output_tokens, r.at) for r in made.requests] == [(500, 100, 0), (500, 300, 3)]
    assert said(made, "max_tokens, which is the longest that they can be")
    assert said(made, "shared prefixes are not known")
    assert said(made, "clients aborted 1 request")


def test_debug_logs_of_vllm_have_prompts_answers_and_messages(tmp_path: Path) -> None:
    made = make_workload(LOGS / "vllm-0.32-debug.log", LogOptions())
    assert [(r.prompt_tokens, r.output_tokens, r.adapter) for r in made.requests] == [(39, 17, ""), (40, 5, "tide")]
    assert [m["role"] for m in made.requests[0].messages] == ["system", "user"]
    assert made.requests[1].answer == "Yes, to 27 degrees."
    assert made.texts
    redacted = make_workload(LOGS / "vllm-0.32-debug.log", REDACTED)
    assert [r.blocks for r in redacted.requests] == [(0, 1), (0, 1)]


def test_streamed_answers_of_a_real_vllm_have_the_lengths_of_its_usage() -> None:
    """The first and the last answer ended by themselves: vLLM does not log the token that ends them, which has no text.
    The second reached its limit."""
    made = make_workload(LOGS / "vllm-0.32-streamed.log", LogOptions())
    found = [(r.prompt_tokens, r.output_tokens, r.adapter) for r in made.requests]
    assert found == [(12, 16, ""), (21, 40, ""), (11, 8, "manual")]
    assert made.content["lora"] == [{"name": "manual", "path": "/adapters/manual", "share": 0.333333}]
    assert [m["content"] for m in made.requests[0].messages] == ["What does lzma.open do?"]
    assert made.requests[0].answer == "Open an LZMA-compressed file in binary or text mode."


def test_a_collector_in_front_of_the_log_gives_better_times(tmp_path: Path) -> None:
    request = REQUEST
    plain = "".join(
        f"2026-11-27T10:00:0{i}.250000Z INFO 11-27 11:00:0{i} [l.py:1] {request.format(i)}\n" for i in range(3)
    )
    wrapped = lines_of(*({"log": f"INFO 11-27 11:00:00 [l.py:1] {request.format(i)}\n", "stream": "stderr",
                          "time": f"2026-11-27T10:00:00.{i}00Z"} for i in range(3)))  # fmt: skip
    assert [r.at for r in made_of(tmp_path, plain, name="k.log").requests] == pytest.approx([0, 1, 2])
    assert [r.at for r in made_of(tmp_path, wrapped, name="d.log").requests] == pytest.approx([0, 0.1, 0.2])


def test_logs_of_requests_and_answers(tmp_path: Path) -> None:
    made = make_workload(LOGS / "gateway.jsonl", REDACTED)
    assert made.format == "openai"
    assert [(r.line, r.prompt_tokens, r.output_tokens) for r in made.requests] == [(1, 36, 4), (3, 38, 6), (6, 3, 1)]
    assert [r.at for r in made.requests] == pytest.approx([0, 0.75, 3.25])
    assert skipped(made) == {
        "status 429": [2],
        "a copy of line 3": [4],
        "not JSON": [5],
        "incomplete: the file ends within it": [7],
    }
    plan = plan_of(made, tmp_path)
    assert plan.prefix_tokens.tolist() == [0, 32, 0], "106 of 124 characters are 32 of 38 tokens: two blocks"


def test_tables_with_quotes_and_a_column_map(tmp_path: Path) -> None:
    columns = {"arrival": "ts", "prompt_tokens": "in", "output_tokens": "out"}
    made = make_workload(LOGS / "usage.csv", LogOptions(redact=True, columns=columns))  # type: ignore[arg-type]
    assert [(r.prompt_tokens, r.output_tokens) for r in made.requests] == [(120, 30), (80, 12), (300, 64), (40, 8)]
    assert [r.at for r in made.requests] == pytest.approx([0, 0.4, 1.5, 2.6])
    assert skipped(made) == {"in is 'abc', not a number": [5], "3 of 5 columns": [7]}
    assert plan_of(made, tmp_path).arrival_s.tolist() == pytest.approx([0, 0.4, 1.5, 2.6])


def test_a_column_that_is_not_there_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"no line has the field 'tss' for arrival \(did you mean 'ts'\?\)"):
        make_workload(LOGS / "usage.csv", LogOptions(columns={"arrival": "tss", "prompt_tokens": "in"}))


def test_nothing_of_a_text_is_in_a_redacted_workload(tmp_path: Path) -> None:
    for name in ("vllm-0.32-debug.log", "gateway.jsonl"):
        files = write_workload(make_workload(LOGS / name, REDACTED), tmp_path / name)
        assert files.prompts is None
        text = "".join(p.read_text() for p in files.paths())
        for word in ("Harbour", "breakfast", "pool", "library", "card", "nine", "tide"):
            assert word not in text, (name, word)


def test_a_redacted_workload_keeps_shapes(tmp_path: Path) -> None:
    kept, redacted = (make_workload(LOGS / "gateway.jsonl", LogOptions(redact=r)) for r in (False, True))
    shape = [[(r.at, r.prompt_tokens, r.output_tokens, r.blocks) for r in made.requests] for made in (kept, redacted)]
    assert shape[0] == shape[1]


def test_gzipped_logs_are_read_and_cut_ones_up_to_the_cut(tmp_path: Path) -> None:
    text = lines_of(
        *({"ts": i, "prompt_tokens": 5 + i * 7 % 11, "output_tokens": 3, "pad": f"{i * i}"} for i in range(400))
    )
    whole = tmp_path / "a.jsonl.gz"
    whole.write_bytes(gzip.compress(text.encode()))
    assert len(make_workload(whole, REDACTED).requests) == 400
    cut = tmp_path / "b.jsonl.gz"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    made = make_workload(cut, REDACTED)
    assert 50 < len(made.requests) < 400
    assert any("ends" in reason for reason in skipped(made))


def test_lines_in_another_order_are_sorted(tmp_path: Path) -> None:
    made = made_of(tmp_path, lines_of(*({"ts": t, "prompt_tokens": n, "output_tokens": 1} for t, n in
                                        ((10.5, 1), (10.1, 2), (12.0, 3), (11.0, 4)))))  # fmt: skip
    assert [r.prompt_tokens for r in made.requests] == [2, 1, 4, 3]
    assert [r.at for r in made.requests] == pytest.approx([0, 0.4, 0.9, 1.9])
    assert said(made, "2 of 4 lines are earlier than the line before them")


def test_a_clock_that_was_set_back_goes_on(tmp_path: Path) -> None:
    times = [7200.5 + i for i in range(30)] + [3630.5 + i for i in range(30)]
    made = made_of(tmp_path, lines_of(*({"ts": t, "prompt_tokens": 9, "output_tokens": 1} for t in times)))
    assert [r.at for r in made.requests] == pytest.approx([*range(30), *range(29, 59)])
    assert said(made, "the clock goes back by 3,599 s at line 31 and stays there")


def test_a_shuffled_log_is_only_sorted(tmp_path: Path) -> None:
    times = [1000.5 + 17 * (37 * i % 100) for i in range(100)]
    options = replace(REDACTED, window_s=float("inf"))
    made = made_of(tmp_path, lines_of(*({"ts": t, "prompt_tokens": 9, "output_tokens": 1} for t in times)), options)
    assert [r.at for r in made.requests] == pytest.approx([17 * i for i in range(100)])
    assert not said(made, "clock")


def test_one_late_line_does_not_mean_that_the_clock_was_set(tmp_path: Path) -> None:
    times = [1000.5 + i for i in range(40)]
    times[20] = 500.5
    made = made_of(
        tmp_path,
        lines_of(*({"ts": t, "prompt_tokens": 9, "output_tokens": 1} for t in times)),
        replace(REDACTED, window_s=float("inf")),
    )
    assert not said(made, "the clock goes back")
    assert made.requests[0].line == 21


def test_new_year_is_not_a_jump(tmp_path: Path) -> None:
    line = f"INFO {{}} [l.py:1] {REQUEST}\n"
    stamps = ["12-31 23:59:57", "12-31 23:59:58", "01-01 00:00:01", "01-01 00:00:02", "01-01 00:00:05"]
    made = made_of(tmp_path, "".join(line.format(s, i) for i, s in enumerate(stamps)), name="v.log")
    assert [r.at for r in made.requests] == pytest.approx([0, 1, 4, 5, 8])
    assert not said(made, "clock")


def test_whole_seconds_are_spread(tmp_path: Path) -> None:
    times = [5, 5, 5, 5, 6, 8, 8]
    made = made_of(tmp_path, lines_of(*({"ts": t, "prompt_tokens": 9, "output_tokens": 1} for t in times)))
    assert [r.at for r in made.requests] == pytest.approx([0, 0.25, 0.5, 0.75, 1.375, 3.125, 3.625])
    assert said(made, "whole seconds")


def test_without_times_the_arrivals_are_poisson(tmp_path: Path) -> None:
    text = lines_of(*({"prompt": f"question {i} " * 9, "answer": "yes"} for i in range(50)))
    made = made_of(tmp_path, text)
    assert said(made, "the log has no times, so the requests arrive as a Poisson process at 1 request/s")
    assert made.content["arrivals"]["rate_per_s"] == 1  # type: ignore[index]
    plan = plan_of(made, tmp_path / "out")
    assert 30 <= len(plan) <= 95
    assert set(plan.prompt_tokens.tolist()) == {22}


def test_without_lengths_there_is_no_workload(tmp_path: Path) -> None:
    text = lines_of(*({"ts": i, "user": "a"} for i in range(5)))
    with pytest.raises(InputError, match=r"no request: line 1: the prompt has neither a length nor a text.*--column"):
        made_of(tmp_path, text)
    text = lines_of(*({"ts": i, "prompt_tokens": 5} for i in range(5)))
    with pytest.raises(
        InputError,
        match=r"the answers have neither a length nor a text.*; name .*--column output_tokens=COLUMN",
    ):
        made_of(tmp_path, text)


def test_lengths_of_some_answers_stand_in_for_those_that_are_missing(tmp_path: Path) -> None:
    records = [{"ts": i, "prompt_tokens": 5, **({"output_tokens": 7} if i % 2 else {})} for i in range(20)]
    made = made_of(tmp_path, lines_of(*records))
    assert {r.output_tokens for r in made.requests} == {7}
    assert said(made, "10 answers without a length get lengths drawn from the other answers")


def test_the_busiest_stretch_of_a_long_log(tmp_path: Path) -> None:
    times = [60.0 * i for i in range(100)] + [3000 + 0.5 * i for i in range(200)]
    text = lines_of(*({"ts": t + 0.5, "prompt_tokens": 9, "output_tokens": 1} for t in sorted(times)))
    made = made_of(tmp_path, text, replace(REDACTED, window_s=60.0))
    assert 118 <= len(made.requests) <= 122
    assert made.requests[0].at == 0
    assert max(r.at or 0 for r in made.requests) < 60
    assert said(made, "the busiest 60 s are taken")
    assert len(made_of(tmp_path, text, replace(REDACTED, window_s=float("inf"))).requests) == 300


def test_times_that_are_dates_or_numbers_but_not_both(tmp_path: Path) -> None:
    text = lines_of(
        {"ts": 5, "prompt_tokens": 1, "output_tokens": 1},
        {"ts": "2026-01-01T00:00:00Z", "prompt_tokens": 1, "output_tokens": 1},
    )
    with pytest.raises(InputError, match="dates in some lines and numbers in others"):
        made_of(tmp_path, text)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (["2026-11-27T10:00:00+01:00", "2026-11-27T09:00:01.5Z"], 1.5),
        (["2026-11-27 10:00:00,250", "2026-11-27 10:00:02,750"], 2.5),
        (["[27/Nov/2026:10:00:00 +0000", "27/Nov/2026:12:00:07 +0200"], 7),
        ([1764165600000000, 1764165601000000], 1),
        ([1764165600.5, 1764165603.5], 3),
    ],
)
def test_ways_to_write_times(tmp_path: Path, written: list[object], seconds: float) -> None:
    made = made_of(tmp_path, lines_of(*({"ts": t, "prompt_tokens": 1, "output_tokens": 1} for t in written)))
    assert made.requests[1].at == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty"),
        (b"\x28\xb5\x2f\xfd123", "is a zstd file; unpack it"),
        (b"PAR1....", "is a Parquet file"),
        (b"\x00\x01\x02", "is not a text file"),
        (b"hello world\n", "has no requests"),
        (b"INFO [x] vLLM API server version 0.32.0\nINFO done\n", "start the server with --enable-log-requests"),
        (b'[{"a": 1},\n', "is an incomplete JSON list"),
        (b'a,b\n"x,1\n2,3\n', "a quote that does not end"),
    ],
)
def test_files_that_are_no_logs(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(InputError, match=sentence) as error:
        make_workload(path, REDACTED)
    assert "\n" not in str(error.value)


def test_token_ids_share_exactly_and_texts_by_their_ratio(tmp_path: Path) -> None:
    base = list(range(100, 164))
    prompts = [base, base[:50] + [1] * 30, [2] * 40, base[:50] + [1] * 30 + [3] * 20]
    made = made_of(
        tmp_path, lines_of(*({"ts": i + 0.5, "prompt": p, "output_tokens": 2} for i, p in enumerate(prompts)))
    )
    plan = plan_of(made, tmp_path / "out")
    assert plan.prefix_tokens.tolist() == [0, 48, 0, 80], "in whole blocks of 16 tokens"
    assert plan.blocks is not None
    assert [len(b) for b in plan.blocks] == [4, 5, 2, 6]


def test_a_workload_at_a_rate_can_be_varied(tmp_path: Path) -> None:
    options = replace(REDACTED, arrivals="poisson", slo={"ttft_ms": 500.0})
    prompts = [[7] * 16 + [i] * 16 for i in range(5)]
    made = made_of(
        tmp_path, lines_of(*({"ts": i + 0.5, "prompt": p, "output_tokens": 2} for i, p in enumerate(prompts))), options
    )
    workload = load_workload(str(write_workload(made, tmp_path).workload))
    assert workload.measures_capacity
    plan = draw(workload)
    assert len(plan) > 30, "requests repeat when the log has too few"
    first = [b[0] for b in plan.blocks or ()]
    assert len(set(first)) == 1, "what prompts share stays shared when they repeat"
    last = [b[1] for b in plan.blocks or ()]
    assert len(set(last)) == len(last), "what they do not share is new text"


def test_users_send_requests_of_the_same_lengths(tmp_path: Path) -> None:
    """Where the SLO seems to break without load, a capacity measurement sends one request at a time."""
    options = replace(REDACTED, arrivals="poisson", slo={"ttft_ms": 500.0})
    made = make_workload(LOGS / "gateway.jsonl", options)
    workload = load_workload(str(write_workload(made, tmp_path).workload))
    plan = draw(lone_workload(workload, 1.0, seed=3))
    assert plan.concurrency == 1
    assert set(plan.prompt_tokens.tolist()) == {36, 38, 3}
    assert set(plan.output_tokens.tolist()) == {4, 6, 1}


def test_files_are_not_replaced_without_being_asked(tmp_path: Path) -> None:
    made = make_workload(LOGS / "gateway.jsonl", REDACTED)
    write_workload(made, tmp_path)
    with pytest.raises(InputError, match=r"gateway.yaml exists; give another --name, or --force"):
        write_workload(made, tmp_path)
    write_workload(made, tmp_path, replace=True)
