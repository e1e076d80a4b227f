"""What a user names: runs, lengths of time, targets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.inputs.durations import seconds
from flows.inputs.parameters import TargetOptions, WorkloadOptions
from flows.inputs.targets import resolve_target
from flows.inputs.workloads import changed_workload
from rooftune.errors import InputError
from rooftune.files import write_json
from rooftune.run_names import find_run
from rooftune.runfolder import FORMAT, RunFolder


@pytest.mark.parametrize(
    ("text", "found"), [("10m", 600), ("90s", 90), ("1h30m", 5400), ("240", 240), ("1.5h", 5400), ("2 min", 120)]
)
def test_lengths_of_time(text: str, found: float) -> None:
    assert seconds(text) == found


@given(st.integers(0, 50), st.integers(0, 59), st.integers(1, 59))
def test_lengths_of_time_add_up(h: int, m: int, s: int) -> None:
    assert seconds(f"{h}h{m}m{s}s") == 3600 * h + 60 * m + s


@pytest.mark.parametrize("text", ["", "soon", "10x", "-5s", "m", "1m1h"])
def test_text_that_is_not_a_duration(text: str) -> None:
    with pytest.raises(InputError, match="10m, 90s or 1h30m"):
        seconds(text)


def test_runs_by_every_name(tmp_path: Path) -> None:
    old = RunFolder(tmp_path / "chat-low" / "20260101-000000-aaaa")
    new = RunFolder(tmp_path / "chat-low" / "20260102-000000-aaaa")
    for folder in (old, new):
        write_json(folder.run_json, {"format": FORMAT})
    by_path = [str(new.path), f"{tmp_path}/chat-low", f"{tmp_path}/chat-low/latest"]
    for name in ("latest", "chat-low/latest", "chat-low", "chat-low/20260102-000000-aaaa", *by_path):
        assert find_run(name, tmp_path).path == new.path
    assert find_run("chat-low/20260101-000000-aaaa", tmp_path).path == old.path


def test_a_run_of_another_version_is_refused(tmp_path: Path) -> None:
    write_json(tmp_path / "w" / "r" / "run.json", {"format": FORMAT + 1})
    with pytest.raises(InputError, match=f"format {FORMAT + 1}, but this version of rooftune reads format {FORMAT}"):
        find_run("w/latest", tmp_path)


async def test_the_default_is_the_published_case() -> None:
    target = await resolve_target(TargetOptions())
    assert (target.engine, target.gpu, target.engine_version) == ("simulated", "T4", "0.15.1")
    assert target.flags["quantization"] == "awq"
    assert target.simulated


async def test_names_are_brought_to_the_catalogues_form() -> None:
    target = await resolve_target(TargetOptions(gpu="a100 80", model="llama-3.1-8b", flags=["max_num_seqs=64"]))
    assert target.gpu == "A100-80"
    assert target.flags["max_num_seqs"] == 64


def test_a_workload_with_changes() -> None:
    found = changed_workload("chat-low", WorkloadOptions(duration_s=5.0, warmup_s=0.0, rate_per_s=3.0, seed=9))
    assert (found.duration_s, found.warmup_s, found.arrivals.rate_per_s, found.seed) == (5.0, 0.0, 3.0, 9)
    assert changed_workload("chat-low").duration_s != 5.0


def test_options_name_the_objective_and_constraints() -> None:
    from flows.inputs.parameters import GoalOptions

    words = ["p99_ttft_ms<=800", "output_throughput >= 100"]
    found = changed_workload("chat-low", goal=GoalOptions("request_goodput", words))
    assert found.decides == "request_goodput"
    bounds = [(c.metric, c.at_most, c.at_least) for c in found.objective.constraints]
    assert bounds == [("p99_ttft_ms", 800, None), ("output_throughput", None, 100)]
    assert changed_workload("chat-low", goal=GoalOptions()).decides == "capacity"


@pytest.mark.parametrize(
    ("goal", "changes", "message"),
    [
        ({"objective": "capacty"}, {}, "did you mean 'capacity'"),
        ({"objective": "energy_per_token"}, {}, "did you mean 'energy_per_output_token_j'"),
        ({"objective": "usd_per_1m_tokens"}, {}, "did you mean 'cost_per_million_output_tokens_usd'"),
        ({"constraints": ["p99_ttft<=800"]}, {}, "did you mean 'p99_ttft_ms'"),
        ({"constraints": ["p99_ttft_ms=800"]}, {}, "METRIC<=VALUE"),
        ({"constraints": ["p99_ttft_ms<=fast"]}, {}, "needs a number"),
        ({"constraints": ["p99_ttft_ms<=-1"]}, {}, "greater than 0"),
        ({}, {"duration_s": 20.0}, "have no effect where the capacity decides"),
    ],
)
def test_a_wrong_objective_or_constraint_is_explained(
    goal: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    from flows.inputs.parameters import GoalOptions

    with pytest.raises(InputError, match=message):
        changed_workload("chat-low", WorkloadOptions(**changes), goal=GoalOptions(**goal))


def test_prompts_that_are_not_there_are_an_error_about_the_option(tmp_path: Path) -> None:
    missing = tmp_path / "mine.jsonl"
    with pytest.raises(InputError, match=r"there is no file .*mine\.jsonl; --prompts takes your prompts"):
        changed_workload("", prompts=str(missing))
