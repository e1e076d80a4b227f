"""The Python face: a run folder as DataFrames and a decision."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import rooftune
from rooftune.errors import InputError, RooftuneError
from rooftune.runfolder import RunFolder
from tests import synthetic_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A whole made-up run in which one candidate does not start and one is not believed."""
    load = synthetic_run.workload()
    world = synthetic_run.World(synthetic_run.plan_of(load))
    world.failing["batch-32"] = "The GPU has too little memory."
    world.doubted.add("batch-16")
    return synthetic_run.write_run(tmp_path_factory.mktemp("artifacts"), world, world.search(budget=300), load)


def test_trials_are_every_trial_in_order_with_its_audit(folder: RunFolder) -> None:
    trials = rooftune.open_run(folder.path).trials
    assert trials.index.names == ["candidate", "n"]
    assert set(trials.index) == {(t.candidate, t.n) for t in folder.trials()}
    assert trials["position"].is_monotonic_increasing
    assert not trials.loc["batch-32", "believed"].any()
    assert set(trials.loc["batch-32", "status"]) == {"failed"}
    assert set(trials.loc["batch-16", "failed_checks"]) == {"window"}
    assert trials.loc["baseline", "believed"].all()
    assert json.loads(trials.loc[("batch-8", 1), "flags"])["max_num_seqs"] == 8
    assert "output_throughput" not in trials.columns


def test_metrics_are_those_of_trial_json(folder: RunFolder) -> None:
    run = rooftune.open_run(folder.path)
    assert set(run.metrics.index) == {(t.candidate, t.n) for t in run.results if t.status == "measured"}
    for trial in run.results:
        if trial.status == "measured":
            found = run.metrics.loc[(trial.candidate, trial.n)]
            assert found["output_throughput"] == trial.metrics["output_throughput"]
            assert found["server_running"] == trial.server["running"]
    assert "batch-32" not in run.metrics.index.get_level_values("candidate")
    median = run.metrics.groupby("candidate")["output_throughput"].median()
    assert median["awq-marlin"] > 1.5 * median["baseline"]


def test_requests_are_those_of_every_trial(folder: RunFolder) -> None:
    requests = rooftune.open_run(folder.path).requests
    assert requests.index.is_unique
    trial = folder.trial("baseline", 1)
    table = pq.ParquetFile(trial.requests).read()
    mine = requests.loc[("baseline", 1)]
    assert len(mine) == table.num_rows
    assert mine["scheduled_s"].tolist() == table.column("scheduled_s").to_pylist()
    assert (mine["status"] == "completed").sum() == table.column("status").to_pylist().count("completed")
    assert "chunk_s" not in requests.columns


def test_the_decision_names_the_incumbent(folder: RunFolder) -> None:
    decision = rooftune.open_run(folder.path).decision
    assert decision is not None
    assert decision.incumbent.startswith("awq-marlin")
    assert {v.candidate for v in decision.verdicts} >= {"batch-8", "batch-32"}


def test_a_run_is_found_by_its_name(folder: RunFolder, tmp_path: Path) -> None:
    artifacts = folder.path.parents[1]
    assert rooftune.open_run("chat-medium/latest", artifacts).path == folder.path
    with pytest.raises(InputError, match="no run 'chat-large'"):
        rooftune.open_run("chat-large", artifacts)


def test_a_run_that_has_just_begun_is_empty(tmp_path: Path) -> None:
    run = rooftune.open_run(RunFolder.create(tmp_path, "chat-low", {}).path)
    assert (len(run.trials), len(run.metrics), len(run.requests)) == (0, 0, 0)
    assert run.requests.index.names == ["candidate", "n", "index"]
    assert run.decision is None


def test_a_cut_file_is_one_sentence(folder: RunFolder, tmp_path: Path) -> None:
    copy = RunFolder.create(tmp_path, "chat-low", {})
    copy.decision_json.write_text('{"format": 1}')
    with pytest.raises(RooftuneError, match=r"decision\.json does not fit this version of rooftune \(objective"):
        _ = rooftune.open_run(copy.path).decision
    trial, source = copy.trial("baseline", 1), folder.trial("baseline", 1)
    trial.path.mkdir(parents=True)
    trial.trial_json.write_bytes(source.trial_json.read_bytes())
    trial.requests.write_bytes(source.requests.read_bytes()[:1000])
    with pytest.raises(RooftuneError, match="cut"):
        _ = rooftune.open_run(copy.path).requests


def test_importing_rooftune_imports_nothing_heavy() -> None:
    script = "import sys, rooftune; rooftune.open_run; print(*[m for m in sys.modules if m.split('.')[0] in "
    script += "('pandas', 'numpy', 'pyarrow', 'pydantic')])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
