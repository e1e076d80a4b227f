"""report, compare, history and audit on runs on disk: whole, cut short, of another version, with broken files."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import synthetic_run as made

from rooftune.evidence.history import append
from rooftune.evidence.records.trial_files import read_trials
from rooftune.files import read_json, write_json
from rooftune.runfolder import RunFolder
from rooftune.workloads.spec import Workload


def finished_run(root: Path, seed: int = 0, budget: float | None = 200.0) -> RunFolder:
    """A run folder as `optimize` leaves it, without a server."""
    load: Workload = made.workload()
    world = made.World(made.plan_of(load), seed=seed)
    results = world.search(budget)
    run = made.write_run(root, world, results, load)
    about = read_json(run.run_json)
    write_json(run.run_json, {**about, "target": world.plan.target.model_dump(mode="json"), "settings": {}})
    for trial in results:
        append(root / "history", trial)
    return run


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return finished_run(tmp_path_factory.mktemp("artifacts"))


def words_for(run: RunFolder) -> list[str]:
    return ["--artifacts", str(run.path.parent.parent)]


def test_report_writes_and_shows(rooftune, whole: RunFolder) -> None:
    ended = rooftune("report", whole.path)
    assert ended.code == 0
    assert all(" so far ..." in line for line in ended.err.splitlines()), "a busy machine says that it goes on"
    assert ended.out.startswith("chat-medium on a T4 (simulated)\n")
    assert "What to deploy" in ended.out
    assert f"Report: {whole.report}" in ended.out
    assert (whole.path / "start_vllm.sh").is_file()
    assert list(whole.figures.glob("*.png"))


def test_report_in_full_is_its_markdown(rooftune, whole: RunFolder) -> None:
    ended = rooftune("report", whole.path, "--full")
    assert ended.out == whole.report.read_text(encoding="utf-8")


def test_report_as_json_by_name(rooftune, whole: RunFolder) -> None:
    found = rooftune("report", f"{whole.path.parent.name}/latest", "--json", "--no-write", *words_for(whole)).json
    assert found["run"] == str(whole.path)
    assert found["incumbent"]
    assert found["verdicts"]


def test_compare_a_run_with_itself_finds_no_difference(rooftune, whole: RunFolder) -> None:
    ended = rooftune("compare", whole.path, whole.path)
    assert ended.code == 0
    assert ended.notes == []
    assert "There is no measurable difference" in ended.out
    assert rooftune("compare", whole.path, whole.path, "--json").json


def test_a_comparison_is_saved(rooftune, whole: RunFolder, tmp_path: Path) -> None:
    ended = rooftune("compare", whole.path, whole.path, "--save", tmp_path / "new")
    assert ended.code == 0
    assert f"Comparison: {tmp_path / 'new' / 'comparison.md'}" in ended.out
    assert (tmp_path / "new" / "comparison.html").is_file()


def test_history_shows_the_newest(rooftune, whole: RunFolder) -> None:
    name = whole.path.parent.name
    assert "baseline" in rooftune("history", name, *words_for(whole)).out
    found = rooftune("history", name, "--last", "3", "--json", *words_for(whole)).json
    assert len(found["trials"]) == 3
    assert found["unreadable"] == []


def test_history_draws_its_trend(rooftune, whole: RunFolder, tmp_path: Path) -> None:
    words = ["history", whole.path.parent.name, "--figure", tmp_path / "trend.png"]
    ended = rooftune(*words, *words_for(whole))
    assert ended.code == 0
    assert "trend.png is not drawn: no configuration has trusted trials in two runs yet" in ended.err
    again = finished_run(tmp_path / "artifacts", budget=80.0)
    for trial in read_trials(again):
        append(
            tmp_path / "artifacts" / "history", trial.model_copy(update={"started_at": 86_400.0}), run="the next night"
        )
    ended = rooftune(*words, *words_for(again))
    assert f"Figure: {tmp_path / 'trend.png'}" in ended.err
    assert (tmp_path / "trend.svg").read_text(encoding="utf-8").startswith("<svg")


def test_compare_draws_the_changes(rooftune, whole: RunFolder, tmp_path: Path) -> None:
    ended = rooftune("compare", whole.path, whole.path, "--figure", tmp_path / "change.png")
    assert ended.code == 0
    assert (tmp_path / "change.png").is_file()
    assert (tmp_path / "change.svg").is_file()


def test_a_cut_history_file_is_named_and_left_out(rooftune, tmp_path: Path) -> None:
    run = finished_run(tmp_path / "artifacts", budget=80.0)
    files = sorted((tmp_path / "artifacts" / "history").rglob("*.parquet"))
    files[0].write_bytes(files[0].read_bytes()[:50])
    files[1].write_bytes(b"")
    ended = rooftune("history", run.path.parent.name, "--json", *words_for(run))
    assert ended.code == 0
    assert sorted(ended.json["unreadable"]) == sorted(map(str, files[:2]))
    assert str(files[0]) in ended.err
    assert len(ended.json["trials"]) == len(files) - 2


@pytest.mark.parametrize("content", [b"", b"PAR1 and then nothing"], ids=["empty", "cut"])
def test_audit_of_a_broken_parquet(rooftune, tmp_path: Path, content: bytes) -> None:
    run = finished_run(tmp_path / "artifacts", budget=80.0)
    trial = next(folder for folder in run.trials() if folder.requests.is_file())
    trial.requests.write_bytes(content)
    ended = rooftune("audit", trial.path)
    assert ended.code == 1
    assert "requests.parquet" in ended.sentence()


@pytest.mark.parametrize("command", ["report", "audit"])
def test_a_run_of_another_version(rooftune, tmp_path: Path, command: str) -> None:
    run = finished_run(tmp_path / "artifacts", budget=40.0)
    write_json(run.run_json, {**read_json(run.run_json), "format": 99})
    ended = rooftune(command, run.path)
    assert ended.code == 2
    assert "format 99" in ended.sentence()


def test_report_of_a_run_with_a_cut_trial_and_no_plan(rooftune, tmp_path: Path) -> None:
    run = finished_run(tmp_path / "artifacts", budget=80.0)
    trial, *_ = run.trials()
    trial.trial_json.write_text('{"candidate": "base')
    assert rooftune("report", run.path, "--json").code == 0
    run.plan_json.unlink()
    ended = rooftune("report", run.path)
    assert ended.code == 1
    assert "plan.json is missing" in ended.sentence()


def test_a_full_disk(rooftune, full_disk: Path, whole: RunFolder) -> None:
    (full_disk / "w").mkdir()
    target = full_disk / "w" / "r"
    target.mkdir()
    for name in ("run.json", "hardware.json", "plan.json"):
        shutil.copy(whole.path / name, target)
    kept = {p: p.read_bytes() for p in target.iterdir()}
    fill(full_disk)
    ended = rooftune("report", target)
    assert ended.code == 1
    assert "disk is full" in ended.sentence()
    assert {p: p.read_bytes() for p in target.iterdir()} == kept


def fill(disk: Path) -> None:
    """Write until nothing more fits."""
    with (disk / "filler").open("wb", buffering=0) as file:
        while True:
            try:
                file.write(b"x" * 4096)
            except OSError:
                return
