"""The whole flow on a real vLLM: killed under load, resumed, decided and reported. One run serves all tests of this
file."""

from __future__ import annotations

import asyncio
import json
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
from rooftune.engines.launch import running
from rooftune.engines.target import Target
from rooftune.evidence.records.trial import TrialResult
from rooftune.runfolder import RunFolder, TrialFolder
from rooftune.tuning.playbook import default_playbook
from rooftune.vllm_rules.config import EngineConfig
from tests.real_vllm.speed import Speed, measure_speed
from tests.real_vllm.user_environment import user_environment

LEFT_S = 30.0
"""How long to wait for the end of the engine, which the documentation promises within 5 s on a machine that is not
busy."""
START_S, RUN_S = 600, 1200
pytestmark = pytest.mark.timeout(START_S + RUN_S + 60)
WORKLOAD = """
name: short
description: More requests than one at a time can serve, and few enough for sixteen at a time
endpoint: completions
arrivals: {process: poisson, rate_per_s: RATE}
prompt_tokens: {distribution: uniform, low: 192, high: 256}
output_tokens: {distribution: uniform, low: 64, high: 80}
duration_s: DURATION
warmup_s: 3
drain_s: 180
seed: 1
slo: {ttft_ms: TTFT, tpot_ms: TPOT}
objective: {metric: output_throughput}
"""


def workload_for(speed: Speed) -> str:
    """A workload of 32 requests or so at two and a half times the rate that one request at a time can serve."""
    prompt, output = 224, 72
    rate = 2.5 / speed.request_s(prompt, output)
    values = {
        "RATE": f"{rate:.4f}",
        "DURATION": f"{min(45.0, max(12.0, 32 / rate)):.0f}",
        "TTFT": f"{max(2000.0, 10_000 * speed.first_token_s(prompt)):.0f}",
        "TPOT": f"{max(200.0, 10_000 * speed.step_s):.0f}",
    }
    text = WORKLOAD
    for name, value in values.items():
        text = text.replace(name, value)
    return text


@dataclass
class ResumedRun:
    """What happened to the run that was killed and resumed."""

    folder: RunFolder
    output: str = ""
    left_after_kill: list[str] = field(default_factory=list)
    before: dict[str, float] = field(default_factory=dict)
    """Maps trial.json of each trial that was finished when the flow was killed to its modification time."""


def command(place: Path, *words: str) -> list[str]:
    return [
        str(Path(sys.executable).with_name("rooftune")),
        "optimize",
        *words,
        "--artifacts",
        str(place / "artifacts"),
    ]


def begin(place: Path, words: list[str]) -> subprocess.Popen[bytes]:
    with (place / "said.txt").open("ab") as said:
        return subprocess.Popen(
            command(place, *words), stdout=said, stderr=said, cwd=place, env=user_environment(place)
        )


def first_words(place: Path, vllm: Installed, small: Path, dtype: str, speed: Speed) -> list[str]:
    """A baseline and two candidates of the user's: one that cannot start, and one that serves one request at a time."""
    (place / "short.yaml").write_text(workload_for(speed), encoding="utf-8")
    others = [c.id for c in default_playbook().candidates]
    (place / "playbook.yaml").write_text(f"name: own\ndrop: [{', '.join(others)}]\n", encoding="utf-8")
    words = [str(place / "short.yaml"), "--engine", "vllm", "--model", str(small), "--vllm-python", vllm.python]
    for flag in (f"dtype={dtype}", "enforce_eager=true", "max_num_seqs=16", "max_model_len=1024"):
        words += ["--set", flag]
    words += ["--candidate", "bad=tensor_parallel_size=5", "--candidate", "alone=max_num_seqs=1"]
    return [*words, "--playbook", str(place / "playbook.yaml"), "--search", "ladder", "--budget", "60m"]


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
            pytest.skip(f"this machine is too busy to measure: {said}")
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
def single_request_speed(target: Target, small: Path, dtype: str, tmp_path_factory: pytest.TempPathFactory) -> Speed:
    """What one request costs, measured on a server that is stopped before the run begins."""

    folder = TrialFolder(tmp_path_factory.mktemp("speed"))

    async def measure() -> Speed:
        chosen = target.model_copy(update={"model": str(small)})
        config = EngineConfig(model=chosen.model, dtype=dtype, enforce_eager=True, max_num_seqs=16, max_model_len=1024)
        async with running(chosen, config, folder, ready_timeout_s=400) as server:
            return await measure_speed(server)

    return asyncio.run(measure())


@pytest.fixture(scope="module")
def resumed(
    vllm: Installed, small: Path, dtype: str, single_request_speed: Speed, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ResumedRun]:
    """Start a run, kill it with SIGKILL in the second load, resume it, wait for its end."""
    place = tmp_path_factory.mktemp("optimize")
    flow = begin(place, first_words(place, vllm, small, dtype, single_request_speed))
    try:
        found = ResumedRun(second_load(place, flow))
        served = family(small)
        assert len(served) >= 2
        found.before = {
            str(f.trial_json): f.trial_json.stat().st_mtime for f in found.folder.trials() if f.trial_json.exists()
        }
        flow.send_signal(signal.SIGKILL)
        flow.wait()
        deadline = time.monotonic() + LEFT_S
        while alive(served) and time.monotonic() < deadline:
            time.sleep(0.05)
        found.left_after_kill = alive(served)
        flow = begin(place, ["short", "--resume", str(found.folder.path)])
        code = flow.wait(RUN_S)
        found.output = (place / "said.txt").read_text(encoding="utf-8")
        assert code == 0, found.output
        yield found
    finally:
        if flow.poll() is None:
            flow.terminate()
            flow.wait(30)


@pytest.fixture
def verdicts(resumed: ResumedRun) -> dict[str, Any]:
    """Verdicts by candidate. Skip if the audit rejected what a busy machine delivered."""
    found = {v["candidate"]: v for v in json.loads(resumed.folder.decision_json.read_text())["verdicts"]}
    for verdict in found.values():
        if verdict["verdict"] == "not trusted" or "could no longer be measured" in verdict["reason"]:
            pytest.skip(f"this machine is too busy to measure: {verdict['reason']}")
    return found


def test_kill_9_under_load_leaves_no_engine(resumed: ResumedRun) -> None:
    assert resumed.left_after_kill == []


def test_what_was_measured_before_the_kill_is_not_measured_again(resumed: ResumedRun) -> None:
    assert resumed.before
    assert {path: Path(path).stat().st_mtime for path in resumed.before} == resumed.before


@pytest.mark.measurement
def test_a_candidate_that_cannot_start_is_refused_with_its_reason_before_a_server_is_started(
    verdicts: dict[str, Any],
) -> None:
    assert verdicts["bad"]["verdict"] == "not supported"
    assert verdicts["bad"]["trials"] == []
    assert "attention heads (12) must be divisible by tensor parallel size (5)" in verdicts["bad"]["reason"]
    assert "It would start with tensor_parallel_size=4" in verdicts["bad"]["reason"]
    assert verdicts["baseline"]["verdict"] == "applied"
    assert verdicts["alone"]["verdict"] == "no gain"
    assert len(verdicts["alone"]["trials"]) >= 2
    assert "cannot serve the whole load" in verdicts["alone"]["reason"]


@pytest.mark.measurement
def test_client_and_server_count_the_same_tokens(resumed: ResumedRun) -> None:
    """Over the whole load, the usage of all responses equals the gain of the server's counters.

    A busy machine delays tokens and samples of the counter, so the window alone says nothing here; ``token-arrival``
    judges that.
    """
    whole = 0
    for trial in measured(resumed.folder):
        files = resumed.folder.trial(trial.candidate, trial.n)
        requests = pq.read_table(files.requests).to_pydict()
        check = next(c for c in trial.checks if c.id == "token-count")
        assert check.status != "fail", check.sentence
        assert 0 < check.figures["client"] <= check.figures["usage"], "vLLM merges tokens into a chunk when it is late"
        if set(requests["status"]) != {"completed"}:
            continue
        whole += 1
        ticks = pq.read_table(files.ticks).to_pydict()
        for column, counter in (("prompt_tokens", "prompt_tokens_total"), ("output_tokens", "generation_tokens_total")):
            counted = [v for v in ticks[counter] if v is not None]
            assert counted[-1] - counted[0] == sum(requests[column]), counter
    assert whole


@pytest.mark.measurement
def test_the_effective_configuration_is_that_of_each_candidate(resumed: ResumedRun, verdicts: dict[str, Any]) -> None:
    assert set(verdicts) == {"baseline", "bad", "alone"}
    seen = {t.candidate: t.effective.max_num_seqs for t in measured(resumed.folder) if t.effective}
    assert seen == {"baseline": 16, "alone": 1}


def test_the_report_says_where_and_with_what_it_was_measured(
    resumed: ResumedRun, verdicts: dict[str, Any], vllm: Installed
) -> None:
    report = resumed.folder.report.read_text(encoding="utf-8")
    assert f"vLLM {vllm.version}" in report
    assert "- **Hardware**: CPU (" in report
    reason = verdicts["bad"]["reason"]
    assert reason[0].upper() + reason[1:] in report
    assert "**Simulated.**" not in report
    script = resumed.folder.path / "start_vllm.sh"
    subprocess.run(["bash", "-n", str(script)], check=True)
    assert "vllm.entrypoints.openai.api_server" in script.read_text()
    for name in ("result.json", "requests.parquet", "ticks.parquet", "server.log", "server.json"):
        assert (resumed.folder.path / "trials" / "baseline" / "1" / name).stat().st_size > 0


def test_no_engine_is_left_at_the_end(resumed: ResumedRun, small: Path) -> None:
    assert alive(family(small)) == []
