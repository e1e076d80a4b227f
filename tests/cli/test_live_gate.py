"""The gate from its first run to both verdicts: real processes on the simulated engine, with their exit codes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import live_run
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]
SHORT = """\
name: short
arrivals: {process: poisson, rate_per_s: 5}
prompt_tokens: {distribution: fixed, value: 16}
output_tokens: {distribution: fixed, value: 16}
duration_s: 30
warmup_s: 6
drain_s: 12
"""
"""Four times what one sequence at a time carries, and little for a batch, so that its throughput hardly varies."""
CLOCKS = (4, 2, 1)
"""How much faster than real time the engine and the client run. Where other work makes trials late, a slower clock
leaves them more time for the same requests."""
FIRST_TRIALS = 3
"""Trials of the first run, which has nothing to be compared with."""


class TooFast(Exception):
    """Trials came late at this clock."""


@dataclass(frozen=True)
class Gate:
    """Runs ``rooftune gate short.yaml`` in a folder."""

    folder: Path
    api: str
    clock: int

    def __call__(self, expected: int, *words: str) -> str:
        """Standard error of a gate that ends with this exit code.

        Raises:
            TooFast: it ends otherwise, and trials were not trusted.
        """
        clock = ("--time-scale", str(self.clock), "--budget", "40m")
        process = live_run.start(self.folder, self.api, "gate", "short.yaml", *clock, "--json", *words)
        out, err = process.communicate()
        (self.folder / "result.json").write_text(out)
        assert out, err
        whole = self.result["new"]["trials"] >= (FIRST_TRIALS if expected == 3 else 2)
        if not (whole and process.returncode == expected) and "not trusted" in err:
            raise TooFast(err)
        assert process.returncode == expected, (out, err)
        return err

    @property
    def result(self) -> Any:
        """What the last call printed."""
        return json.loads((self.folder / "result.json").read_text())


def test_a_first_run_then_no_loss_then_a_loss(tmp_path: Path, prefect_api: str) -> None:
    for clock in CLOCKS:
        folder = tmp_path / f"clock-{clock}"
        folder.mkdir()
        (folder / "short.yaml").write_text(SHORT)
        try:
            first_run_then_no_loss_then_a_loss(Gate(folder, prefect_api, clock))
        except TooFast:
            if clock == CLOCKS[-1]:
                raise
        else:
            return


def first_run_then_no_loss_then_a_loss(gate: Gate) -> None:
    err = gate(3, "--history", "--trials", str(FIRST_TRIALS))
    assert gate.result["new"]["trials"] == FIRST_TRIALS
    first = gate.result["run"]
    assert "baseline (trial 3 of at most 3)" in err

    err = gate(0, "--history", "--max-loss", "10%", "--markdown", "gate.md")
    assert "comparison: No loss beyond 10 %" in err
    assert "reference: " in err
    assert (gate.folder / "gate.md").read_text().startswith("### ✅")

    words = ("--against", first, "--beside", "--set", "max_num_seqs=1", "--max-loss", "10%", "--junit", "gate.xml")
    err = gate(1, *words)
    assert "comparison: A loss beyond 10 %" in err
    assert Xml.parse(gate.folder / "gate.xml").find("testsuite/testcase/failure") is not None
    assert live_run.left(gate.folder) == []
