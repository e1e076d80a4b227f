"""The CI files that docs/ci.md shows are valid YAML of their kind, and their commands are ones that rooftune has."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer
from ruamel.yaml import YAML

PAGE = Path(__file__).parents[2] / "docs" / "ci.md"
TEXT = PAGE.read_text(encoding="utf-8")


def example(title: str) -> dict[str, Any]:
    block = re.search(rf"## {re.escape(title)}\n.*?```yaml\n(.*?)```", TEXT, re.S)
    assert block is not None
    loaded: dict[str, Any] = YAML(typ="safe", pure=True).load(block[1])
    return loaded


def commands() -> list[str]:
    """Every `rooftune gate` of the page, on one line."""
    joined = re.sub(r"\\\n\s*", " ", TEXT)
    joined = re.sub(r"(?<=%|m|n)\n {6}(?=--)", " ", joined)
    joined = re.sub(r"(?<=python)\n {6}(?=--)", " ", joined)
    return [
        found.split("#")[0].split("||")[0].strip() for found in re.findall(r"^.*?rooftune (gate .*)$", joined, re.M)
    ]


def test_github_actions() -> None:
    found = example("GitHub Actions")
    assert found.get("on", found.get(True)), "YAML 1.1 reads `on` as a truth value"
    job = found["jobs"]["gate"]
    assert job["runs-on"]
    for step in job["steps"]:
        assert ("uses" in step) != ("run" in step)
        if "uses" in step:
            assert re.fullmatch(r"[\w-]+/[\w-]+@v\d+", step["uses"])
    assert found["permissions"]["pull-requests"] == "write", "the comment needs it"


def test_the_shell_of_github_actions_turns_3_into_a_warning(tmp_path: Path) -> None:
    (script,) = [s["run"] for s in example("GitHub Actions")["jobs"]["gate"]["steps"] if "rooftune" in s.get("run", "")]
    fake = tmp_path / "rooftune"
    for code, wanted in ((0, 0), (1, 1), (2, 2), (3, 0)):
        fake.write_text(f"#!/bin/sh\nexit {code}\n")
        fake.chmod(0o755)
        text = script.replace("/opt/rooftune/.venv/bin/rooftune", str(fake))
        ended = subprocess.run(["bash", "-e", "-c", text], capture_output=True, text=True, check=False)
        assert ended.returncode == wanted
        assert ("::warning::" in ended.stdout) == (code == 3)


def test_gitlab_ci() -> None:
    found = example("GitLab CI")
    job = found["vllm-gate"]
    assert job["stage"] in found["stages"]
    assert job["allow_failure"] == {"exit_codes": [3]}
    assert job["artifacts"]["reports"]["junit"] in job["artifacts"]["paths"]
    (line,) = job["script"]
    assert "\n" not in line
    assert line.endswith("--junit gate.xml --markdown gate.md")


@pytest.mark.parametrize("command", commands(), ids=lambda c: c[:60])
def test_every_option_exists(command: str) -> None:
    from flows.cli.app import command_line

    gate = typer.main.get_command(command_line(["gate"]))
    found = gate.commands["gate"] if hasattr(gate, "commands") else gate
    known = {name for parameter in found.params for name in parameter.opts}
    used = {word for word in shlex.split(command) if word.startswith("--")}
    assert used
    assert used <= known, used - known
