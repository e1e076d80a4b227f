"""The help says what a command does, with an example that works and a sentence for every option."""

from __future__ import annotations

import pytest

from docpages.command_line import commands

COMMANDS = sorted(commands())


def test_all_commands_are_there() -> None:
    wanted = {"probe", "plan", "optimize", "load", "predict", "steptime", "simulate"}
    wanted |= {"report", "compare", "history", "audit", "up", "down", "calibrate", "workloads"}
    wanted |= {"workload from-log", "workload show"}
    assert wanted <= set(COMMANDS)


def test_without_a_command_the_help_is_shown(rooftune) -> None:
    ended = rooftune()
    assert ended.code == 2
    assert "rooftune optimize chat-medium" in ended.out
    assert ended.err == ""


def test_version(rooftune) -> None:
    from rooftune import __version__

    assert rooftune("--version").out == f"rooftune {__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command(rooftune, name: str) -> None:
    ended = rooftune(*name.split(), "--help")
    assert ended.code == 0
    assert "Example" in ended.out
    assert f"rooftune {name}" in ended.out.partition("Example")[2], "an example shows the command itself"
    assert "--json" in ended.out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_explained(name: str) -> None:
    command = commands()[name]
    unexplained = [p.name for p in command.params if not getattr(p, "help", None) and p.name != "help"]
    assert unexplained == []


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_name_options_that_exist(name: str) -> None:
    """Every option in an example is one of the command's own."""
    command = commands()[name]
    known = {o for p in command.params for o in (*p.opts, *p.secondary_opts)}
    lines = [line for line in (command.help or "").splitlines() if line.strip().startswith(f"rooftune {name}")]
    used = {word for line in lines for word in line.split() if word.startswith("--")}
    assert used <= known


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_shows_every_word(rooftune, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Text in square brackets would be taken for markup and dropped."""
    monkeypatch.setenv("COLUMNS", "400")
    shown = " ".join(rooftune(*name.split(), "--help").out.split())
    command = commands()[name]
    for parameter in command.params:
        if parameter.name != "help":
            assert " ".join(parameter.help.split()) in shown, parameter.name
