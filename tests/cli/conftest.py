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
        """The lines of standard error."""
        return [line for line in self.err.splitlines() if line.strip()]

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
    """Call it with the words of a command line. It prints no line only because the machine is slow."""
    from flows.cli import terminal
    from flows.cli.app import run
    from tasks.run_lines import Interval

    monkeypatch.setattr(terminal, "BUSY_AFTER_S", 1e6)
    monkeypatch.setattr(Interval, "due", lambda self: False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROOFTUNE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")

    def command(*words: str) -> Ended:
        capfd.readouterr()
        code = run([str(w) for w in words])
        out, err = capfd.readouterr()
        return Ended(code, out, err)

    return command
