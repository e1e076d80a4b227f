"""A trial's figures from its records, when the server keeps up and when it does not."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from rooftune.engines.target import CalibrationFile, Target
from rooftune.errors import EngineError, RooftuneError
from rooftune.evidence import history
from rooftune.evidence.aggregate import aggregate, failed_trial
from rooftune.evidence.records.trial import TrialResult
from rooftune.evidence.records.trial_files import read_trial
from rooftune.evidence.trial_table import write_metrics
from rooftune.evidence.vllm_result import write_summary
from rooftune.files import read_json, write_json
from rooftune.runfolder import RunFolder, TrialFolder
from tests.evidence import made_load

TARGET = Target(model="llama-2-7b", engine_version="0.15.1", gpu="T4")


def measure(path: Path, rate: float, slots: int, tpot_s: float = 0.02, **more: float) -> TrialResult:
    """Load the made-up server and aggregate."""
    load = made_load.workload(rate, **more)
    rows = made_load.serve(rate, load.total_s, slots=slots, tpot_s=tpot_s, drain_s=load.drain_s)
    folder = TrialFolder(path / "trials" / "baseline" / "1")
    made_load.write(folder, load, rows, slots)
    return aggregate(folder, made_load.order("baseline", 1, 0, max_num_seqs=slots), load, TARGET)


def test_a_server_that_keeps_up(tmp_path: Path) -> None:
    trial = measure(tmp_path, rate=10.0, slots=64)
    assert not trial.overloaded
    assert trial.asked_rate_per_s == pytest.approx(10, rel=0.15)
    assert trial.metrics["output_throughput"] == pytest.approx(trial.asked_rate_per_s * 40, rel=0.05)
    assert trial.metrics["request_throughput"] == pytest.approx(trial.asked_rate_per_s, rel=0.05)
    assert trial.metrics["median_ttft_ms"] == pytest.approx(20, rel=0.1)
    assert trial.metrics["median_tpot_ms"] == pytest.approx(20, rel=0.05)
    assert trial.metrics["median_e2el_ms"] == pytest.approx(800, rel=0.05)
    assert trial.metrics["slo_attainment"] == 1.0
    assert not trial.withheld
    assert trial.census is not None
    assert trial.census.completed == trial.census.scheduled
    assert trial.server["generation_tokens_per_s"] == pytest.approx(trial.metrics["output_throughput"], rel=0.02)
    assert trial.believed, [c for c in trial.checks if c.status == "fail"]


def test_a_simulated_trial_records_its_calibration(tmp_path: Path) -> None:
    used = CalibrationFile(path="/calibrations/t4.yaml", sha256="ab" * 32)
    trial = measure(tmp_path, rate=10.0, slots=64)
    assert trial.calibration is None
    folder, target = (
        TrialFolder(tmp_path / "trials" / "baseline" / "1"),
        TARGET.model_copy(update={"calibration": used}),
    )
    load = made_load.workload(10.0)
    again = aggregate(folder, made_load.order("baseline", 1, 0, max_num_seqs=64), load, target)
    assert again.calibration == used
    assert read_trial(folder).calibration == used
    real = target.model_copy(update={"engine": "endpoint"})
    assert aggregate(folder, made_load.order("baseline", 1, 0), load, real).calibration is None


def test_overload_is_measured_and_not_hidden(tmp_path: Path) -> None:
    trial = measure(tmp_path, rate=20.0, slots=4)
    capacity = 4 / 0.02
    assert trial.overloaded
    assert trial.metrics["output_throughput"] == pytest.approx(capacity, rel=0.02)
    assert trial.served_rate_per_s == pytest.approx(capacity / 40, rel=0.02)
    assert trial.metrics["median_tpot_ms"] == pytest.approx(20, rel=0.03)
    assert "median_ttft_ms" not in trial.metrics
    assert "grew" in trial.withheld["p99_e2el_ms"]
    assert trial.server["queue_growth_per_s"] == pytest.approx(15, rel=0.2)
    assert 0 < trial.server["slo_breaks_after_s"] < 10
    assert trial.believed, [c for c in trial.checks if c.status == "fail"]


def test_unfinished_answers_leave_the_high_quantiles_open(tmp_path: Path) -> None:
    """Without a drain the last requests have no end, so the median is known and p99 is not."""
    trial = measure(tmp_path, rate=2.0, slots=64, tpot_s=0.1, drain_s=0)
    assert not trial.overloaded
    assert trial.metrics["median_e2el_ms"] == pytest.approx(4000, rel=0.05)
    assert "p99_e2el_ms" in trial.withheld
    assert "mean_e2el_ms" in trial.withheld


def test_result_json_has_the_keys_of_vllm_bench_serve(tmp_path: Path) -> None:
    measure(tmp_path, rate=10.0, slots=64)
    found = read_json(tmp_path / "trials" / "baseline" / "1" / "result.json")
    keys = [
        "date",
        "backend",
        "model_id",
        "num_prompts",
        "request_rate",
        "burstiness",
        "max_concurrency",
        "duration",
        "completed",
        "failed",
        "total_input_tokens",
        "total_output_tokens",
        "request_throughput",
        "output_throughput",
        "total_token_throughput",
        "mean_ttft_ms",
        "median_ttft_ms",
        "std_ttft_ms",
        "p99_ttft_ms",
        "mean_tpot_ms",
        "p99_tpot_ms",
        "mean_itl_ms",
        "p99_itl_ms",
        "median_e2el_ms",
        "max_concurrent_requests",
        "tensor_parallel_size",
    ]
    assert not [k for k in keys if k not in found]
    assert isinstance(found["completed"], int)
    assert 0 < found["mean_concurrent_requests"] < found["max_concurrent_requests"] <= 64


def test_summary_json_lists_the_results_of_the_trusted_trials(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    first = measure(tmp_path, rate=10.0, slots=64)
    assert first.believed
    other = run.trial("batch-8", 1)
    shutil.copytree(run.trial("baseline", 1).path, other.path)
    result = read_json(other.result_json)
    result["rooftune"]["believed"] = False
    write_json(other.result_json, result)
    assert read_json(write_summary(run)) == [read_json(run.trial("baseline", 1).result_json)]


def test_broken_files_are_one_sentence(tmp_path: Path) -> None:
    measure(tmp_path, rate=5.0, slots=64)
    folder = TrialFolder(tmp_path / "trials" / "baseline" / "1")
    whole = folder.requests.read_bytes()
    for content, word in ((whole[: len(whole) // 2], "cut"), (b"", "empty")):
        folder.requests.write_bytes(content)
        with pytest.raises(RooftuneError, match=word) as raised:
            aggregate(folder, made_load.order("baseline", 1, 0), made_load.workload(5.0), TARGET)
        assert "\n" not in str(raised.value)


def test_a_failed_start_is_a_trial_and_has_its_row(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    measure(tmp_path, rate=5.0, slots=64)
    error = EngineError("The GPU has too little memory; lower max_model_len.", kind="oom")
    failed_trial(
        run.trial("batch-8", 1), made_load.order("batch-8", 1, 1), made_load.workload(5.0), TARGET, error=error
    )
    assert read_trial(run.trial("batch-8", 1)).failure_kind == "oom"
    import pyarrow.parquet as pq

    rows = pq.ParquetFile(write_metrics(run)).read().to_pylist()
    assert [(r["candidate"], r["status"]) for r in rows] == [("baseline", "measured"), ("batch-8", "failed")]
    assert np.isfinite(rows[0]["output_throughput"])
    assert rows[1]["output_throughput"] is None


def test_history_grows_by_one_file_per_trial_and_survives_a_cut_one(tmp_path: Path) -> None:
    trial = measure(tmp_path / "run", rate=5.0, slots=64)
    root = tmp_path / "history"
    path = history.append(root, trial)
    history.append(root, trial)
    history.append(root, trial.model_copy(update={"n": 2, "started_at": 1.8e9}))
    assert [r["n"] for r in history.read(root, "made-up")] == [1, 2]
    path.write_bytes(path.read_bytes()[:50])
    assert [r["n"] for r in history.read(root, "made-up")] == [2]
    assert history.unreadable(root) == [path]
    assert history.read(root, "unknown") == []
