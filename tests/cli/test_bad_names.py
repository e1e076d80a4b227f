"""A user's errors in names, files and flags: exit code 2, one sentence with the way out, nothing started."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "workloads" / "chat-low.yaml"


def edited(folder: Path, old: str, new: str) -> Path:
    """A workload file with one thing changed."""
    text = EXAMPLE.read_text()
    assert old in text
    path = folder / "mine.yaml"
    path.write_text(text.replace(old, new))
    return path


WORKLOADS = [
    ("duration_s:", "duraton_s:", ["unknown key 'duraton_s'", "did you mean 'duration_s'"]),
    ("rate_per_s: 1", "rate_per_s: fast", ["arrivals.rate_per_s", "'fast'"]),
    ("rate_per_s: 1", "rate_per_s: -1", ["arrivals.rate_per_s", "greater than 0"]),
    ("process: poisson", "process: poison", ["'poison' is unknown", "did you mean 'poisson'"]),
    ("metric: ", "metric: x", ["objective.metric"]),
    ("name: chat-low", "name: [", ["not valid YAML"]),
]


def test_a_server_without_a_reasoning_parser_cannot_be_judged_by_its_answers(rooftune, tmp_path: Path) -> None:
    path = edited(tmp_path, "endpoint: completions", "endpoint: chat")
    ended = rooftune("optimize", path, "--slo", "answer_ttft_ms=8000")
    assert ended.code == 2
    assert "--set reasoning_parser=NAME" in ended.sentence()


@pytest.mark.parametrize(("old", "new", "words"), WORKLOADS)
@pytest.mark.parametrize("command", ["plan", "optimize"])
def test_errors_in_a_workload_file(
    rooftune, tmp_path: Path, command: str, old: str, new: str, words: list[str]
) -> None:
    path = edited(tmp_path, old, new)
    ended = rooftune(command, path)
    assert ended.code == 2
    sentence = ended.sentence()
    number = next(i for i, line in enumerate(path.read_text().splitlines(), 1) if new in line)
    assert f"line {number}" in sentence or "not valid YAML" in sentence
    assert all(w in sentence for w in words), sentence
    assert not (tmp_path / "artifacts").exists()


NAMES = [
    (["plan", "chat-mediun"], ["did you mean 'chat-medium'"]),
    (["plan", "nowhere.yaml"], ["no workload 'nowhere.yaml'"]),
    (["plan", "chat-low", "--gpu", "H1000"], ["unknown GPU 'H1000'", "did you mean 'H100'"]),
    (["plan", "chat-low", "--model", "llama-3-8"], ["unknown model", "did you mean 'llama-3-8b'"]),
    (["plan", "chat-low", "--engine", "simulate"], ["unknown engine", "did you mean 'simulated'"]),
    (["plan", "chat-low", "--set", "max_nun_seqs=4"], ["did you mean 'max_num_seqs'"]),
    (["plan", "chat-low", "--set", "max_num_seqs=many"], ["max_num_seqs", "whole number"]),
    (["plan", "chat-low", "--set", "max_num_active_seqs=4", "--engine-version", "0.15.1"], ["vLLM 0.15.1 has no flag"]),
    (["plan", "chat-low", "--set", "swap_space=4", "--engine-version", "0.32.0"], ["0.15 has it, 0.19 does not"]),
    (
        ["plan", "chat-low", "--set", "max_num_seqs=256", "--set", "max_num_batched_tokens=128"],
        ["max_num_batched_tokens (128) is below max_num_seqs (256)", "raise the first or lower the second"],
    ),
    (["plan", "chat-low", "--candidate", "fast"], ["NAME=FLAG=VALUE"]),
    (["plan", "chat-low", "--candidate", "fast=max_nun_seqs=4"], ["did you mean 'max_num_seqs'"]),
    (["plan", "chat-low", "--playbook", "nowhere.yaml"], ["nowhere.yaml", "not exist"]),
    (["plan", "chat-low", "--engine", "endpoint"], ["--url"]),
    (["plan", "chat-low", "--engine", "vllm", "--vllm-python", "/nowhere/python"], ["/nowhere/python"]),
    (["optimize", "chat-low", "--budget", "soon"], ["'soon'", "10m"]),
    (["optimize", "chat-low", "--rate", "0"], ["the rate must be a positive number"]),
    (["optimize", "chat-low", "--duration", "-5"], ["duration must be a positive number"]),
    (["optimize", "chat-low", "--resume", "nothing"], ["no run 'nothing'"]),
    (["optimize", "chat-low", "--resume", "latest"], ["has no run yet"]),
    (["report", "nothing"], ["no run 'nothing'"]),
    (["compare", "one", "two"], ["no run 'one'"]),
    (["history", "nothing"], ["no trial of 'nothing'"]),
    (["audit", "nothing.json"], ["nothing.json"]),
    (["load", "chat-low", "--url", "here"], ["'here' is not the URL of a server"]),
    (["load", "chat-low", "--url", "http://127.0.0.1:1", "--prompts", "emoji"], ["tokens or text"]),
    (["plan"], ["name a workload", "--prompts FILE"]),
    (["plan", "chat-low", "--bogus"], ["No such option", "--bogus"]),
    (["pla", "chat-low"], ["No such command", "plan"]),
    (["simulate", "--port", "99999"], ["--port", "65535"]),
    (["simulate", "--gpu", "H1000"], ["did you mean 'H100'"]),
]


@pytest.mark.parametrize(("words", "said"), NAMES, ids=lambda v: " ".join(v)[:60])
def test_unknown_names_and_contradictions(rooftune, tmp_path: Path, words: list[str], said: list[str]) -> None:
    ended = rooftune(*words)
    sentence = ended.sentence()
    assert ended.code == 2, sentence
    assert ended.out == ""
    assert all(w in sentence for w in said), sentence
    assert not (tmp_path / "artifacts").exists()
    assert not (tmp_path / "home").exists(), "no server was started for bad input"


def test_json_keeps_standard_output_clean_on_failure(rooftune) -> None:
    ended = rooftune("plan", "chat-low", "--gpu", "H1000", "--json")
    assert (ended.code, ended.out) == (2, "")
    ended.sentence()


def test_a_taken_port(rooftune) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = rooftune("simulate", "--port", port)
        assert ended.code == 2
        assert f"port {port}" in ended.sentence()


def test_down_when_nothing_is_up(rooftune) -> None:
    ended = rooftune("down", "--json")
    assert (ended.code, ended.json) == (0, {"ended": False})
