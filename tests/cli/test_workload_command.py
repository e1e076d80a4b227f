"""``rooftune workload``: from a log to a workload that other commands take, and its drawing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "Tuesday Noon.jsonl"
    system = "You answer questions about the city library: opening hours, cards, fees and reading rooms. "
    records = [
        {"ts": 100.5 + 0.25 * i, "prompt": system + f"Question {i * i}?", "usage": {"completion_tokens": 5 + i % 7}}
        for i in range(80)
    ]
    records.append({"ts": 120.5, "prompt": "hi", "usage": {"completion_tokens": 5}})
    records.insert(3, {"ts": 101, "status": 500, "prompt": "x"})
    path.write_text("".join(json.dumps(r) + "\n" for r in records) + '{"ts": 1')
    return path


def test_a_log_becomes_a_workload_that_is_predicted_and_drawn(rooftune, log: Path, tmp_path: Path) -> None:
    ended = rooftune("workload", "from-log", str(log), "--redact", "--slo", "ttft_ms=2000")
    assert ended.code == 0, ended.err
    assert "log of requests in JSON: 81 requests" in ended.out
    assert "arrival from ts" in ended.out
    assert "Left out: line 4: status 500." in ended.out
    assert "Left out: line 83: incomplete: the file ends within it." in ended.out
    assert "the lengths of 81 prompts are estimated from their words" in ended.out
    assert "98 % of the requests begin like an earlier one" in ended.out
    file = tmp_path / "workloads" / "tuesday-noon.yaml"
    assert file.is_file()
    predicted = rooftune("predict", "tuesday-noon", "--gpu", "L4", "--model", "qwen2.5-7b", "--json")
    assert predicted.code == 0, predicted.err
    shown = rooftune("workload", "show", "tuesday-noon", "--figure", str(tmp_path / "shape.svg"))
    assert shown.code == 0, shown.err
    assert "81 arrivals" in shown.out
    assert "79 requests with the prefix of an earlier one" in shown.out
    assert "█" in shown.out
    assert "<svg" in (tmp_path / "shape.svg").read_text()


def test_a_limit_on_the_answer_makes_a_workload_for_the_chat_api(rooftune, log: Path, tmp_path: Path) -> None:
    ended = rooftune("workload", "from-log", str(log), "--redact", "--name", "noon", "--slo", "answer_ttft_ms=9000")
    assert ended.code == 0, ended.err
    assert rooftune("workload", "show", "noon").code == 0


def test_the_same_as_json(rooftune, log: Path) -> None:
    found = rooftune("workload", "from-log", str(log), "--redact", "--name", "noon", "--out", "here", "--json").json
    assert found["files"] == ["here/noon.yaml", "here/noon.trace.jsonl"]
    assert found["skipped"] == [
        {"reason": "status 500", "lines": [4], "count": 1},
        {"reason": "incomplete: the file ends within it", "lines": [83], "count": 1},
    ]
    shape = rooftune("workload", "show", "here/noon.yaml", "--json").json
    assert shape["arrivals"]["requests"] == 81
    assert shape["sharing"]["requests"] == 79
    assert shape["prompt_tokens"]["max"] >= shape["prompt_tokens"]["p50"]


def test_texts_are_kept_unless_they_are_redacted(rooftune, log: Path, tmp_path: Path) -> None:
    ended = rooftune("workload", "from-log", str(log), "--name", "kept")
    assert ended.code == 0, ended.err
    prompts = (tmp_path / "workloads" / "kept.prompts.jsonl").read_text().splitlines()
    assert len(prompts) == 81
    assert rooftune("workload", "show", "kept").code == 0


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--column", "arival=ts"], "--column takes FIELD=COLUMN, not 'arival=ts' (did you mean 'arrival'?)"),
        (["--column", "arrival=when"], "no line has the field 'when' for arrival"),
        (["--format", "xml"], "--format is one of vllm, openai, csv, not 'xml'"),
        (["--window", "soon"], "'soon' is not a length of time"),
        (["--arrivals", "later"], "--arrivals is one of replay, poisson"),
        (["--rate", "-1"], "--rate must be a positive number"),
        (["--name", "Not A Name"], "name"),
    ],
)
def test_wrong_options_are_refused_in_one_sentence(rooftune, log: Path, options: list[str], sentence: str) -> None:
    ended = rooftune("workload", "from-log", str(log), *options)
    assert ended.code == 2
    assert sentence in ended.err
    assert ended.err.count("\n") == 1


def test_a_file_that_is_not_there(rooftune) -> None:
    ended = rooftune("workload", "from-log", "nowhere.log")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "nowhere.log does not exist" in ended.err


@pytest.mark.parametrize("name", ["chat-medium", "rag-medium", "mixed", "burst"])
def test_shipped_workloads_are_drawn(rooftune, name: str) -> None:
    ended = rooftune("workload", "show", name)
    assert ended.code == 0, ended.err
    assert "Prompts" in ended.out
    assert "Arrivals over time" in ended.out
    assert ("begin with the same 256 tokens" in ended.out) == (name in ("rag-medium", "mixed"))


def test_a_closed_loop_and_conversations_are_drawn(rooftune, tmp_path: Path) -> None:
    talk = {
        "name": "talk", "arrivals": {"process": "closed", "concurrency": 4}, "duration_s": 20,
        "conversations": {"turns": {"distribution": "fixed", "value": 3}},
        "prompt_tokens": {"distribution": "fixed", "value": 50}, "output_tokens": {"distribution": "fixed", "value": 20},
    }  # fmt: skip
    (tmp_path / "talk.yaml").write_text(json.dumps(talk))
    ended = rooftune("workload", "show", "talk.yaml", "--figure", "talk.png")
    assert ended.code == 0, ended.err
    assert "4 users, each waiting for the answer" in ended.out
    assert "conversations of 3 turns on average" in ended.out
    assert (tmp_path / "talk.png").stat().st_size > 5000
    assert rooftune("workload", "show", "talk.yaml", "--figure", "talk.pdf").code == 2
