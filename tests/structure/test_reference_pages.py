"""The pages of docs/reference say what the code says, and a new option or key without an explanation is found."""

from __future__ import annotations

import re

import pytest
from source_tree import ROOT

from docpages import columns, environment, run_files
from docpages.audit_checks import step_checks, trial_checks
from docpages.command_line import commands, examples, options
from docpages.pages import FOLDER, outdated


def test_the_written_pages_are_current() -> None:
    assert outdated(ROOT / FOLDER) == [], "run: make reference"


def test_every_command_has_its_section() -> None:
    text = (ROOT / FOLDER / "command-line.md").read_text(encoding="utf-8")
    for name, command in commands().items():
        section = text.split(f"\n## rooftune {name}\n")[1].split("\n## ")[0]
        shown = set(re.findall(r"(?:`|<code>)(--?[\w-]+)", section))
        assert options(command) - {"--json", "--help", "-h"} <= shown, name
        assert examples(command), f"{name} has no example"


def test_every_check_has_a_sentence() -> None:
    assert not [name for name, text in {**trial_checks(), **step_checks()}.items() if not text]


def test_every_variable_of_the_environment_is_explained() -> None:
    assert set(environment.named()) == environment.OWN.keys() | environment.INTERNAL.keys()


def test_a_column_without_an_explanation_stops_the_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(columns.REQUESTS, "turn")
    with pytest.raises(KeyError, match="turn"):
        run_files.parquet_page()


def test_no_explanation_is_left_of_a_column_that_has_gone() -> None:
    from rooftune.loadgen.schema import REQUESTS, TICKS

    assert set(columns.REQUESTS) == set(REQUESTS.names)
    assert set(columns.TICKS) == set(TICKS.names)
    assert not set(columns.RESULT) - set(run_files.result_keys())
