"""The gate from its first run to both verdicts: real processes on the simulated engine, with their exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import live_run
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.measurement, pytest.mark.timeout(900)]
RATE_PER_S = 20
"""More than one sequence at a time carries, and less than a batch does."""
REAL_TIME = ("--time-scale", "2")


def gate(folder: Path, api: str, *words: str) -> tuple[int, str]:
    """Exit code and standard error of ``rooftune gate tiny.yaml WORDS``."""
    process = live_run.start(folder, api, "gate", "tiny.yaml", *REAL_TIME, "--json", *words)
    out, err = process.communicate(timeout=600)
    (folder / "result.json").write_text(out)
    if process.returncode == 3 and "not trusted" in err:
        pytest.skip("other work on this machine made trials late")
    return process.returncode, err


def result(folder: Path) -> Any:
    return json.loads((folder / "result.json").read_text())


def test_a_first_run_then_no_loss_then_a_loss(tmp_path: Path, prefect_api: str) -> None:
    path = live_run.write_tiny(tmp_path)
    path.write_text(path.read_text().replace("rate_per_s: 5", f"rate_per_s: {RATE_PER_S}"))

    code, err = gate(tmp_path, prefect_api, "--history", "--trials", "4")
    if "not trusted" in err:
        pytest.skip("other work on this machine made trials late")
    assert code == 3, err
    assert result(tmp_path)["new"]["trials"] == 4
    first = result(tmp_path)["run"]
    assert "trial 4: baseline (trial 4 of at most 4)" in err

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
