"""The guided search on a real vLLM finds what a grid of the whole space found, with few starts.

The grid is a measured table (``benchmarks/tuning/data/vllm_grid.csv``). The run is ended where its confirmation
begins: what it would confirm is known then, and the confirmation starts four servers more.
"""

from __future__ import annotations

import json
import math
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.other_work import OtherWork
from benchmarks.tuning.vllm_grid import Cell, best_of_grid, grid
from rooftune.engines.interpreter import Installed
from rooftune.engines.server import ServerInfo
from rooftune.evidence.records.trial import TrialResult
from rooftune.evidence.records.trial_files import read_trials
from rooftune.files import read_model
from rooftune.runfolder import RunFolder
from rooftune.search.choice import chosen
from rooftune.trial_order import TrialOrder
from rooftune.tuning.guided.progress import Progress
from rooftune.tuning.plan import Plan
from tests.real_vllm.flow_process import LEFT_S, alive, begin, family

MOST_STARTS = 8
"""Servers that a search may start until it names its winner. The smallest confirmation starts four more."""
NEAR = 0.95
"""Share of the grid's best that the search must find, give or take two standard errors of the grid itself."""
REPEATS_WITHIN = 0.4
"""Trials of one configuration differ by less than this on a machine that is quiet enough for a search."""
OTHERS = 0.2
"""Share of the processors that others may use during the search."""
BUDGET_S, LONGEST_S = 540, 420
pytestmark = pytest.mark.timeout(LONGEST_S + 60)
WORKLOAD = """
name: grid
description: More requests than any configuration serves, half of each prompt the same in all
endpoint: completions
arrivals: {process: poisson, rate_per_s: 60}
prompt_tokens: {distribution: uniform, low: 160, high: 224}
output_tokens: {distribution: uniform, low: 20, high: 28}
shared_prefix: {share: 1.0, tokens: 96, groups: 1}
duration_s: 7
warmup_s: 1.5
drain_s: 0.5
seed: 1
objective: {metric: output_throughput}
"""
PLAYBOOK = """
name: grid
knobs:
  dtype: [bfloat16, float32]
  max_num_seqs: [1, 2, 4, 8, 16]
  max_num_batched_tokens: [64, 128, 256, 1024]
  prefix_caching: [true, false]
  graphs: [eager]
  kv_cache_dtype: [auto]
  stream_interval: [1]
"""
BASELINE = {
    "dtype": "float32", "max_model_len": 1024, "max_num_seqs": 16, "max_num_batched_tokens": 1024,
    "enable_prefix_caching": "false", "enforce_eager": "true",
}  # fmt: skip


@dataclass(frozen=True)
class Searched:
    """A run up to its confirmation."""

    plan: Plan
    folder: RunFolder
    trials: list[TrialResult]
    seconds: float
    others: float
    """Share of the processors that others used meanwhile."""
    output: str


@pytest.fixture(scope="module")
def searched(vllm: Installed, small: Path, dtype: str, tmp_path_factory: pytest.TempPathFactory) -> Searched:
    """Run the search until its first order of the confirmation."""
    if dtype != "bfloat16":
        pytest.skip("the grid was measured on a processor that multiplies bfloat16 fast")
    place = tmp_path_factory.mktemp("grid")
    (place / "grid.yaml").write_text(WORKLOAD, encoding="utf-8")
    (place / "playbook.yaml").write_text(PLAYBOOK, encoding="utf-8")
    words = [str(place / "grid.yaml"), "--engine", "vllm", "--model", str(small), "--vllm-python", vllm.python]
    words += ["--playbook", str(place / "playbook.yaml"), "--search", "guided", "--budget", f"{BUDGET_S}s"]
    for name, value in BASELINE.items():
        words += ["--set", f"{name}={value}"]
    began, work = time.monotonic(), OtherWork()
    flow = begin(place, words)
    try:
        while flow.poll() is None and time.monotonic() < began + LONGEST_S:
            if any(not order.shares_server for order in orders(place)):
                break
            time.sleep(0.2)
        seconds, others = time.monotonic() - began, work.share()
    finally:
        end(flow)
    print(f"others used {100 * others:.0f} % of the processors")
    output = (place / "said.txt").read_text(encoding="utf-8")
    runs = list(place.glob("artifacts/grid/*/plan.json"))
    assert runs, output
    folder = RunFolder(runs[0].parent)
    trials = [t for t in read_trials(folder) if order_of(folder, t).shares_server]
    return Searched(read_model(folder.plan_json, Plan), folder, trials, seconds, others, output)


def end(flow: subprocess.Popen[bytes]) -> None:
    if flow.poll() is None:
        flow.kill()
        flow.wait()


def orders(place: Path) -> list[TrialOrder]:
    return [read_model(path, TrialOrder) for path in place.glob("artifacts/grid/*/trials/*/*/order.json")]


def order_of(folder: RunFolder, trial: TrialResult) -> TrialOrder:
    return read_model(folder.trial(trial.candidate, trial.n).path / "order.json", TrialOrder)


def test_the_grid_is_the_space_of_the_search(searched: Searched) -> None:
    assert searched.plan.search is not None
    base = searched.plan.candidates[0].config
    space = {Cell.of(base.with_change(option.change)) for option in searched.plan.search.options}
    assert space == set(grid())
    assert len(space) >= 60
    assert grid()[Cell.of(base)].value < 0.9 * best_of_grid(), "the baseline is not what is looked for"


def needs_measurements(searched: Searched) -> None:
    """Skip where others use the processors, the audit rejects what they leave, or repeated trials differ."""
    if searched.others > OTHERS:
        pytest.skip(f"others used {100 * searched.others:.0f} % of the processors")
    believed = sum(t.believed for t in searched.trials)
    if believed < max(3, 0.7 * len(searched.trials)):
        pytest.skip(f"this machine is too busy to measure: {searched.output}")
    for name, values in repeated(searched).items():
        if max(values) > (1 + REPEATS_WITHIN) * min(values):
            pytest.skip(f"this machine is too busy to measure: {name} reached {values} tokens/s")


def repeated(searched: Searched) -> dict[str, list[float]]:
    """Throughput of each configuration, trial by trial."""
    found: dict[str, list[float]] = {}
    for trial in searched.trials:
        if trial.believed and (value := trial.metrics.get("output_throughput")):
            found.setdefault(trial.candidate, []).append(value)
    return found


@pytest.mark.measurement
def test_trials_that_only_lower_limits_share_a_server(searched: Searched) -> None:
    needs_measurements(searched)
    started = [t for t in searched.trials if t.switched is None]
    switched = [t for t in searched.trials if t.switched is not None]
    assert switched, searched.output
    assert len(started) <= MOST_STARTS, [f"{t.candidate}/{t.n}" for t in started]
    servers = {f"{t.candidate}/{t.n}" for t in started}
    kept = []
    for trial in switched:
        assert trial.switched is not None
        assert trial.switched.server_of in servers
        check = next(c for c in trial.checks if c.id == "switched-limits")
        assert check.status != "fail", check.sentence
        kept.append(check.status)
        server = read_model(searched.folder.trial(trial.candidate, trial.n).server_json, ServerInfo)
        assert server.effective.max_num_seqs == trial.flags["max_num_seqs"]
    assert "pass" in kept, "a busy server may miss the samples of some trials, but not of all"
    saved = sum(s for t in started if (s := ready_after_s(searched, t))) / len(started) * len(switched)
    took = sum(ready_after_s(searched, t) for t in switched)
    print(f"{len(started)} starts, {len(switched)} switched in {took:.0f} s in place of {saved:.0f} s of starts")
    assert took < 0.2 * saved


def ready_after_s(searched: Searched, trial: TrialResult) -> float:
    folder = searched.folder.trial(trial.candidate, trial.n)
    return float(json.loads(folder.server_json.read_text(encoding="utf-8"))["ready_after_s"])


@pytest.mark.measurement
def test_the_search_finds_what_the_grid_found(searched: Searched) -> None:
    needs_measurements(searched)
    progress = Progress.of(searched.plan, searched.trials)
    name = progress.problem.options[chosen(progress.look)].id
    found, best = grid()[Cell.of(progress.config(name))], best_of_grid()
    print(f"{name}: {found.value / best:.1%} of the best, {len(searched.trials)} trials, {searched.seconds:.0f} s")
    assert found.value >= NEAR * best * math.exp(-2 * found.error), [
        f"{t.candidate} {t.metrics.get('output_throughput')}" for t in searched.trials
    ]


def test_no_engine_is_left(searched: Searched, small: Path) -> None:
    deadline = time.monotonic() + LEFT_S
    while (left := alive(family(small))) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left
