"""One written report of a made-up capacity run for all tests of this room, and copies for those that change it."""

from __future__ import annotations

import shutil
from pathlib import Path

import made_capacity_run
import pytest

from rooftune.runfolder import RunFolder


@pytest.fixture(scope="session")
def capacity_run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """The run with its report. Tests share it, so they only read it."""
    return made_capacity_run.write_capacity_report(tmp_path_factory.mktemp("capacity"))


@pytest.fixture
def folder(capacity_run: RunFolder, tmp_path: Path) -> RunFolder:
    """A copy of the run that the test may change."""
    return RunFolder(
        shutil.copytree(capacity_run.path, tmp_path / capacity_run.path.parent.name / capacity_run.path.name)
    )
