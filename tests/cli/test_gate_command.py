"""rooftune gate on runs on disk: exit codes, files, and what is refused before anything starts."""

from __future__ import annotations

import shutil
from pathlib import Path
from xml.etree import ElementTree as Xml

import pytest
import synthetic_run as made

from rooftune.evidence.history import append
from rooftune.files import read_json, write_json
from rooftune.runfolder import RunFolder


def run_of(root: Path, name: str, factor: float = 1.0, seed: int = 0) -> RunFolder:
    """A finished run whose server is this much as fast as usual."""
    load = made.workload()
    rates = {name: factor * rate for name, rate in made.RATES.items()}
    world = made.World(made.plan_of(load), rates=rates, seed=seed, noise=0.003)
    results = world.search(400.0)
    kept = root / load.name / name
    shutil.move(made.write_run(root, world, results, load).path, kept)
    run = RunFolder(kept)
    about = {**read_json(run.run_json), "target": world.plan.target.model_dump(mode="json"), "settings": {}}
    write_json(run.run_json, about)
    for trial in results:
        append(root / "history", trial, name)
    return run


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("artifacts")
    run_of(root, "20260101-000000-aaaa")
    run_of(root, "20260102-000000-bbbb", seed=1)
    run_of(root, "20260103-000000-cccc", factor=0.8, seed=2)
    return root


def words(artifacts: Path, against: str, run: str) -> list[str]:
    names = {letter: f"chat-medium/2026010{n}-000000-{4 * letter}" for n, letter in enumerate("abc", 1)}
    return ["gate", "chat-medium", "--against", names[against], "--run", names[run], "--artifacts", str(artifacts)]


def test_no_loss_ends_with_0(rooftune, artifacts: Path) -> None:
    ended = rooftune(*words(artifacts, "a", "b"), "--max-loss", "10%")
    assert ended.code == 0
    assert ended.notes == []
    assert "No loss beyond 10 %" in ended.out


def test_a_loss_ends_with_1_and_writes_the_files(rooftune, artifacts: Path, tmp_path: Path) -> None:
    ended = rooftune(
        *words(artifacts, "a", "c"), "--junit", tmp_path / "x" / "gate.xml", "--markdown", tmp_path / "g.md", "--json"
    )
    assert ended.code == 1
    found = ended.json
    assert found["verdict"] == "loss"
    assert found["finding"]["ratio"]["high"] < 0.97
    assert Xml.parse(tmp_path / "x" / "gate.xml").find("testsuite/testcase/failure") is not None
    assert "A loss beyond 3 %" in (tmp_path / "g.md").read_text()


def test_too_little_evidence_ends_with_3(rooftune, artifacts: Path) -> None:
    ended = rooftune(*words(artifacts, "a", "b"), "--max-loss", "0.1%")
    assert ended.code == 3
    assert "Not enough evidence" in ended.out


def test_the_history_is_the_reference(rooftune, artifacts: Path) -> None:
    slow = "chat-medium/20260103-000000-cccc"
    ended = rooftune("gate", "chat-medium", "--history", "--run", slow, "--artifacts", artifacts, "--json")
    assert ended.code == 1
    assert ended.json["reference"]["runs"] == 2


def test_an_empty_history_ends_with_3(rooftune, artifacts: Path, tmp_path: Path) -> None:
    shutil.copytree(artifacts / "chat-medium", tmp_path / "copy" / "chat-medium")
    ended = rooftune(
        "gate", "chat-medium", "--history", "--run", "chat-medium/latest", "--artifacts", tmp_path / "copy"
    )
    assert ended.code == 3
    assert "no earlier run" in ended.out


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([], "either --against RUN or --history"),
        (["--history", "--against", "latest"], "either --against RUN or --history"),
        (["--history", "--beside"], "--beside needs a run"),
        (["--against", "latest", "--run", "latest", "--beside"], "leave one of them out"),
        (["--against", "latest", "--run", "latest"], "compared with itself"),
        (["--against", "nowhere"], "there is no run 'nowhere'"),
        (["--against", "latest", "--max-loss", "3"], "--max-loss takes a share"),
        (["--against", "latest"], "the workload differs"),
        (["--against", "latest", "--run", "latest", "--configuration", "x"], "no trusted trial of 'x'"),
    ],
)
def test_bad_input_is_refused_before_anything_starts(rooftune, artifacts: Path, more: list[str], said: str) -> None:
    ended = rooftune("gate", "chat-medium", *more, "--artifacts", artifacts)
    assert ended.code == 2
    assert said in ended.sentence()


def test_runs_of_another_gpu_are_refused(rooftune, artifacts: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(artifacts, copy)
    for path in (copy / "chat-medium" / "20260102-000000-bbbb").glob("trials/*/*/trial.json"):
        write_json(path, {**read_json(path), "gpu": "L4"})
    ended = rooftune(*words(copy, "a", "b"))
    assert ended.code == 2
    assert "the GPU differs (T4 and L4)" in ended.sentence()
