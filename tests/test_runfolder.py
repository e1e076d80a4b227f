"""A run folder is found again, and one of another version is refused with a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from rooftune.errors import InputError
from rooftune.files import read_json, write_json
from rooftune.runfolder import RunFolder


def test_a_run_folder_is_created_and_opened_again(tmp_path: Path) -> None:
    made = RunFolder.create(tmp_path, "chat-medium", {"engine": "simulated"})
    assert made.path.parent == tmp_path / "chat-medium"
    assert RunFolder.open(made.path).about()["engine"] == "simulated"


def test_two_runs_in_the_same_second_have_two_folders(tmp_path: Path) -> None:
    assert len({RunFolder.create(tmp_path, "w", {}).path for _ in range(20)}) == 20


def test_another_version_is_refused(tmp_path: Path) -> None:
    made = RunFolder.create(tmp_path, "w", {})
    write_json(made.run_json, {**read_json(made.run_json), "format": 99})
    with pytest.raises(InputError, match="format 99"):
        RunFolder.open(made.path)
    with pytest.raises(InputError, match="not a run folder"):
        RunFolder.open(tmp_path)


def test_trials_are_listed_in_order(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "w", {})
    for candidate, n in (("b", 2), ("a", 10), ("a", 9)):
        run.trial(candidate, n).path.mkdir(parents=True)
    (run.path / "trials" / "a" / "notes").mkdir()
    assert [(t.candidate, t.n) for t in run.trials()] == [("a", 9), ("a", 10), ("b", 2)]
