"""The gate from its first run to both verdicts: real processes on the simulated engine, with their exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import live_run
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
SHORT = """\
name: short
arrivals: {process: poisson, rate_per_s: 5}
prompt_tokens: {distribution: fixed, value: 16}
output_tokens: {distribution: fixed, value: 16}
duration_s: 40
warmup_s: 10
drain_s: 20
"""
"""Four times what one sequence at a time carries, and little for a batch, so that its throughput hardly varies."""
FASTER = ("--time-scale", "4")


def gate(folder: Path, api: str, *words: str) -> tuple[int, str]:
    """Exit code and standard error of ``rooftune gate short.yaml WORDS``."""
    process = live_run.start(folder, api, "gate", "short.yaml", *FASTER, "--json", *words)
    out, err = process.communicate(timeout=600)
    (folder / "result.json").write_text(out)
    if process.returncode == 3 and result(folder)["new"]["trials"] < 4 and "not trusted" in err:
        pytest.skip("other work on this machine made trials late")
    return process.returncode, err


def result(folder: Path) -> Any:
    return json.loads((folder / "result.json").read_text())


def test_a_first_run_then_no_loss_then_a_loss(tmp_path: Path, prefect_api: str) -> None:
    (tmp_path / "short.yaml").write_text(SHORT)

    code, err = gate(tmp_path, prefect_api, "--history", "--trials", "4")
    assert code == 3, err
    assert result(tmp_path)["new"]["trials"] == 4
    first = result(tmp_path)["run"]
    assert "baseline (trial 4 of at most 4)" in err

    code, err = gate(tmp_path, prefect_api, "--history", "--max-loss", "10%", "--markdown", "gate.md")
    assert code == 0, (result(tmp_path)["sentence"], result(tmp_path)["notes"], err)
    assert "comparison: No loss beyond 10 %" in err
    assert "reference: " in err
    assert (tmp_path / "gate.md").read_text().startswith("### ✅")

    words = ("--against", first, "--beside", "--set", "max_num_seqs=1", "--max-loss", "10%", "--junit", "gate.xml")
    code, err = gate(tmp_path, prefect_api, *words)
    assert code == 1, (result(tmp_path)["sentence"], result(tmp_path)["notes"], err)
    assert "comparison: A loss beyond 10 %" in err
    assert Xml.parse(tmp_path / "gate.xml").find("testsuite/testcase/failure") is not None
    assert live_run.left(tmp_path) == []
