"""An engine that dies, runs out of memory, hangs, or dies under load: exit code 1, files kept, no process left."""

from __future__ import annotations

import subprocess
from pathlib import Path

import live_run
import pytest

from rooftune.files import read_json

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
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
    """All of them at once, each in a folder of its own; what each said."""
    started = {}
    for fault, (more, _, _) in FAULTS.items():
        folder = tmp_path_factory.mktemp("failing")
        words = ["optimize", live_run.write_tiny(folder), "--time-scale", "4", "--budget", "5s", *more]
        started[fault] = (folder, live_run.start(folder, prefect_api, *words, ROOFTUNE_SIM_FAULT=fault))
    return {fault: (folder, p, *p.communicate(timeout=500)) for fault, (folder, p) in started.items()}


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
