"""An engine that dies, runs out of memory, hangs, or dies under load: exit code 1, files kept, no process left."""

from __future__ import annotations

import subprocess
from pathlib import Path

import live_run
import pytest

from rooftune.files import read_json

pytestmark = [pytest.mark.slow]
FAULTS = {
    "die_at_start": ([], "exit code 1", "died"),
    "oom_at_start": ([], "ran out of memory when it allocated another 172.00 MiB", "oom"),
    "hang_at_start": (["--ready-timeout", "2"], "not ready in time", "hang"),
    "die_after_requests:6": ([], "under load", "died"),
}


@pytest.fixture(scope="module")
def runs(
    tmp_path_factory: pytest.TempPathFactory, prefect_api: str
) -> dict[str, tuple[Path, subprocess.Popen[str], str, str]]:
    """All of them at once, each in its own folder; returns what each printed."""
    started = {}
    for fault, (more, _, _) in FAULTS.items():
        folder = tmp_path_factory.mktemp("failing")
        words = ["optimize", live_run.write_tiny(folder), "--time-scale", "4", "--budget", "5s", *more]
        started[fault] = (folder, live_run.start(folder, prefect_api, *words, ROOFTUNE_SIM_FAULT=fault))
    return {fault: (folder, p, *p.communicate(timeout=1500)) for fault, (folder, p) in started.items()}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_failing_engine_ends_with_one_sentence(runs, fault: str) -> None:
    folder, process, out, err = runs[fault]
    _, words, kind = FAULTS[fault]
    assert process.returncode == 1, err
    assert out == ""
    sentence = err.splitlines()[-1]
    assert sentence.startswith("rooftune: ")
    assert words in sentence
    (run,) = folder.glob("artifacts/tiny/*")
    assert str(run.relative_to(folder)) in sentence
    trials = [read_json(p) for p in run.glob("trials/baseline/*/trial.json")]
    assert {t["status"] for t in trials} == {"failed"}
    assert {t["failure_kind"] for t in trials} == {kind}
    assert (run / "report.md").is_file()
    assert list(run.glob("trials/baseline/*/server.log"))
    assert live_run.left(folder) == []


def test_a_baseline_that_cannot_start_ends_before_a_server_is_started(tmp_path: Path, prefect_api: str) -> None:
    server = ["--gpu", "A10G", "--model", "llama-3.1-8b", "--engine-version", "0.29.0", "--set", "quantization=fp8"]
    process = live_run.start(tmp_path, prefect_api, "optimize", live_run.write_tiny(tmp_path), *server)
    out, err = process.communicate(timeout=1500)
    assert process.returncode == 1, err
    assert out == ""
    sentence = err.splitlines()[-1]
    assert sentence.startswith("rooftune: the baseline would not start: Selected CutlassFP8ScaledMMLinearKernel")
    assert sentence.endswith("It would start with linear_backend=marlin.")
    (run,) = tmp_path.glob("artifacts/tiny/*")
    assert (run / "plan.json").is_file()
    assert not list(run.glob("trials/*/*"))
    assert live_run.left(tmp_path) == []
