"""The whole flow on a real vLLM: killed under load, taken up again, decided, reported. One run serves all tests of this
file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest

from rooftune.engines import metrics
from rooftune.engines.interpreter import Installed
from rooftune.evidence.records.trial import TrialResult
from rooftune.runfolder import RunFolder
from rooftune.tuning.playbook import default_playbook

PROMISE_S = 5.0
START_S, RUN_S = 420, 900
pytestmark = pytest.mark.timeout(START_S + RUN_S + 60)
WORKLOAD = """
name: short
description: Prefills that take longer than a busy machine delays the client, and more than one request at a time can serve
endpoint: completions
arrivals: {process: poisson, rate_per_s: 3}
prompt_tokens: {distribution: uniform, low: 192, high: 256}
output_tokens: {distribution: uniform, low: 64, high: 80}
duration_s: 15
warmup_s: 3
drain_s: 90
seed: 1
slo: {ttft_ms: 2000, tpot_ms: 200}
objective: {metric: output_throughput}
"""


@dataclass
class Story:
    """What happened to the run."""

    folder: RunFolder
    said: str = ""
    left_after_kill: list[str] = field(default_factory=list)
    before: dict[str, float] = field(default_factory=dict)
    """trial.json of trials that were finished when the flow was killed -> its time of change."""


def command(place: Path, *words: str) -> list[str]:
    return [
        str(Path(sys.executable).with_name("rooftune")),
        "optimize",
        *words,
        "--artifacts",
        str(place / "artifacts"),
    ]


def begin(place: Path, words: list[str]) -> subprocess.Popen[bytes]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    environment |= {"ROOFTUNE_HOME": str(place / "home"), "DO_NOT_TRACK": "1", "ROOFTUNE_LOCKS": str(place / "locks")}
    with (place / "said.txt").open("ab") as said:
        return subprocess.Popen(command(place, *words), stdout=said, stderr=said, cwd=place, env=environment)


def first_words(place: Path, vllm: Installed, small: Path) -> list[str]:
    """A run of a baseline and two candidates of the user's: one that cannot start, one that serves one request at a
    time."""
    (place / "short.yaml").write_text(WORKLOAD, encoding="utf-8")
    others = [c.id for c in default_playbook().candidates]
    (place / "playbook.yaml").write_text(f"name: own\ndrop: [{', '.join(others)}]\n", encoding="utf-8")
    words = [str(place / "short.yaml"), "--engine", "vllm", "--model", str(small), "--vllm-python", vllm.python]
    for flag in ("enforce_eager=true", "max_num_seqs=16", "max_model_len=1024"):
        words += ["--set", flag]
    words += ["--candidate", "bad=tensor_parallel_size=5", "--candidate", "alone=max_num_seqs=1"]
    return [*words, "--playbook", str(place / "playbook.yaml"), "--budget", "40m"]


def family(small: Path) -> list[psutil.Process]:
    """The processes that serve the model, and their children."""
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        try:
            if str(small) in process.cmdline() and "vllm.entrypoints.openai.api_server" in process.cmdline():
                found |= {p.pid: p for p in [process, *process.children(recursive=True)]}
        except psutil.Error:
            continue
    return list(found.values())


def alive(processes: list[psutil.Process]) -> list[str]:
    left = []
    for process in processes:
        try:
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                left.append(f"{process.pid} {process.name()}")
        except psutil.NoSuchProcess:
            continue
    return left


def second_load(place: Path, flow: subprocess.Popen[bytes]) -> RunFolder:
    """Wait until one trial is measured and another server has answered requests of the load."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if flow.poll() is not None:
            said = (place / "said.txt").read_text()
            assert "not trusted" in said, said
            pytest.skip(f"this machine is too busy to measure on: {said}")
        for server in place.glob("artifacts/short/*/trials/*/*/server.json"):
            run = RunFolder(server.parents[3])
            if not measured(run) or (server.parent / "trial.json").exists():
                continue
            page = metrics.scrape_once(json.loads(server.read_text())["url"])
            if metrics.parse(page or "").get("request_success_total", 0) > 5:
                return run
        time.sleep(0.1)
    raise AssertionError(f"no second load within {START_S} s: {(place / 'said.txt').read_text()}")


def measured(run: RunFolder) -> list[TrialResult]:
    found = [TrialResult.model_validate_json(f.trial_json.read_text()) for f in run.trials() if f.trial_json.exists()]
    return [t for t in found if t.status == "measured"]


@pytest.fixture(scope="module")
def story(vllm: Installed, small: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """Start, kill -9 in the second load, take up again, finish."""
    place = tmp_path_factory.mktemp("optimize")
    flow = begin(place, first_words(place, vllm, small))
    try:
        found = Story(second_load(place, flow))
        served = family(small)
        assert len(served) >= 2
        found.before = {str(f.trial_json): f.trial_json.stat().st_mtime for f in found.folder.trials() if f.trial_json.exists()}  # fmt: skip
        flow.send_signal(signal.SIGKILL)
        flow.wait()
        deadline = time.monotonic() + PROMISE_S
        while alive(served) and time.monotonic() < deadline:
            time.sleep(0.05)
        found.left_after_kill = alive(served)
        flow = begin(place, ["short", "--resume", str(found.folder.path)])
        code = flow.wait(RUN_S)
        found.said = (place / "said.txt").read_text(encoding="utf-8")
        assert code == 0, found.said
        yield found
    finally:
        if flow.poll() is None:
            flow.terminate()
            flow.wait(30)


@pytest.fixture
def verdicts(story: Story) -> dict[str, Any]:
    """Verdicts by candidate. Where the audit rightly refuses what a crowded machine delivered there is nothing to look
    at."""
    found = {v["candidate"]: v for v in json.loads(story.folder.decision_json.read_text())["verdicts"]}
    for verdict in found.values():
        if verdict["verdict"] == "not trusted" or "could no longer be measured" in verdict["reason"]:
            pytest.skip(f"this machine is too busy to measure on: {verdict['reason']}")
    return found


def test_kill_9_under_load_leaves_no_engine(story: Story) -> None:
    assert story.left_after_kill == []


def test_what_was_measured_before_the_kill_is_not_measured_again(story: Story) -> None:
    assert story.before
    assert {path: Path(path).stat().st_mtime for path in story.before} == story.before


def test_a_candidate_that_cannot_start_is_a_verdict_with_its_reason(verdicts: dict[str, Any]) -> None:
    assert verdicts["bad"]["verdict"] == "failed"
    assert "12 attention heads cannot be shared by 5 GPUs" in verdicts["bad"]["reason"]
    assert "choose a tensor_parallel_size that divides 12" in verdicts["bad"]["reason"]
    assert verdicts["baseline"]["verdict"] == "applied"
    assert verdicts["alone"]["verdict"] == "no gain"
    assert len(verdicts["alone"]["trials"]) >= 2
    assert "cannot serve the asked rate" in verdicts["alone"]["reason"]


def test_client_and_server_count_the_same_tokens(story: Story) -> None:
    """Over the whole load: the usage of every answer against the gain of the server's counters, exactly. Within the
    window the check compares samples a second apart, which a busy machine delays: a warning is no difference in the
    counts."""
    whole = 0
    for trial in measured(story.folder):
        files = story.folder.trial(trial.candidate, trial.n)
        requests = pq.read_table(files.requests).to_pydict()
        check = next(c for c in trial.checks if c.id == "token-count")
        assert check.status != "fail", check.sentence
        assert check.figures["client"] == check.figures["usage"], check.sentence
        if set(requests["status"]) != {"completed"}:
            continue
        whole += 1
        ticks = pq.read_table(files.ticks).to_pydict()
        for column, counter in (("prompt_tokens", "prompt_tokens_total"), ("output_tokens", "generation_tokens_total")):
            counted = [v for v in ticks[counter] if v is not None]
            assert counted[-1] - counted[0] == sum(requests[column]), counter
    assert whole


def test_the_effective_configuration_is_that_of_each_candidate(story: Story, verdicts: dict[str, Any]) -> None:
    assert set(verdicts) == {"baseline", "bad", "alone"}
    seen = {t.candidate: t.effective.max_num_seqs for t in measured(story.folder) if t.effective}
    assert seen == {"baseline": 16, "alone": 1}


def test_the_report_says_where_and_with_what_it_was_measured(
    story: Story, verdicts: dict[str, Any], vllm: Installed
) -> None:
    report = story.folder.report.read_text(encoding="utf-8")
    assert f"vLLM {vllm.version}" in report
    assert "| Hardware | CPU (" in report
    reason = verdicts["bad"]["reason"]
    assert reason[0].upper() + reason[1:] in report
    assert "simulated" not in report.lower().replace("not simulated", "")
    script = story.folder.path / "start_vllm.sh"
    subprocess.run(["bash", "-n", str(script)], check=True)
    assert "vllm.entrypoints.openai.api_server" in script.read_text()
    for name in ("result.json", "requests.parquet", "ticks.parquet", "server.log", "server.json"):
        assert (story.folder.path / "trials" / "baseline" / "1" / name).stat().st_size > 0


def test_no_engine_is_left_at_the_end(story: Story, small: Path) -> None:
    assert alive(family(small)) == []
