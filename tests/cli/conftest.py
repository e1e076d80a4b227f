"""Run a command in this process in an empty folder, and read what a user reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as JSON."""
        return json.loads(self.out)

    @property
    def notes(self) -> list[str]:
        """The lines of standard error, without those that say on a slow machine that the command goes on."""
        return [line for line in self.err.splitlines() if line.strip() and not line.endswith(" so far ...")]

    def sentence(self) -> str:
        """The one line that a failed command says; fails when there is more or less of it, or a traceback."""
        lines = self.notes
        assert len(lines) == 1, self.err
        assert "Traceback" not in self.err + self.out
        assert "unforeseen" not in self.err
        assert lines[0].startswith("rooftune: ")
        return lines[0].removeprefix("rooftune: ")


Command = Callable[..., Ended]


@pytest.fixture
def rooftune(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """Call it with the words of a command line."""
    from flows.cli.app import run

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROOFTUNE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")

    def command(*words: str) -> Ended:
        capfd.readouterr()
        code = run([str(w) for w in words])
        out, err = capfd.readouterr()
        return Ended(code, out, err)

    return command
