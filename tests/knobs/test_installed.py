"""Reading the flags of the installed engine from its help."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from packaging.version import Version

from rooftune.errors import InputError
from rooftune.knobs.installed import available_flags, engine_flags, unknown_flags
from rooftune.vllm_rules.flag_entries import registry

HELP = (Path(__file__).parent / "help_all_0.32.txt").read_text(encoding="utf-8")
"""``--help=all`` of vLLM 0.32.0 (CPU build) with shortened lists of choices and few descriptions."""


def test_the_help_of_0_32_lists_what_the_registry_has_for_it() -> None:
    found, engine = available_flags(HELP), Version("0.32.0")
    assert {n for n, f in registry().items() if f.releases.has(engine)} <= found
    assert not found & {n for n, f in registry().items() if f.releases.has(engine) is False}


def test_aliases_count_and_negations_and_examples_do_not() -> None:
    found = available_flags(HELP)
    assert "device_memory_utilization" in found
    assert not {n for n in found if n.startswith("no_") and n[3:] in registry()}
    assert not {n for n in found if n.startswith("json_arg")}


def test_a_text_that_is_no_help_has_no_flags() -> None:
    assert available_flags("error: see --help for all flags") == frozenset()


def test_flags_that_the_engine_lacks_are_named() -> None:
    flags = available_flags(HELP)
    assert unknown_flags({"max_num_seqs": 4, "swap_space": 1, "model": "x"}, flags) == ["swap_space"]


def test_an_interpreter_without_vllm_is_an_error() -> None:
    with pytest.raises(InputError, match="listed no flags"):
        engine_flags(sys.executable)
