"""A run whose real measurements were all skipped is not green."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PREAMBLE = "import pytest\n"
SKIPPED = "@pytest.mark.measurement\ndef test_a{0}():\n    pytest.skip('busy')\n"
MADE = "@pytest.mark.measurement\ndef test_b():\n    pass\n"
BROKEN = "@pytest.mark.measurement\ndef test_c():\n    assert False\n"
OTHER = "def test_d():\n    pass\n"
IN_A_FIXTURE = (
    "@pytest.fixture\ndef load():\n    pytest.skip('busy')\n@pytest.mark.measurement\ndef test_e(load):\n    pass\n"
)


@pytest.mark.parametrize(
    ("tests", "code"),
    [
        ([SKIPPED.format(1), SKIPPED.format(2), OTHER], 1),
        ([IN_A_FIXTURE, OTHER], 1),
        ([SKIPPED.format(1), MADE], 0),
        ([SKIPPED.format(1), BROKEN], 1),
        ([OTHER], 0),
    ],
    ids=["all skipped", "skipped by a fixture", "one made", "one failed", "none selected"],
)
def test_a_run_without_a_measurement_fails(tmp_path: Path, tests: list[str], code: int) -> None:
    file = tmp_path / "test_of_this.py"
    file.write_text(PREAMBLE + "".join(tests))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.measurements", "-p", "no:cacheprovider", "-c", "/dev/null", file],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert ("every real measurement was skipped" in done.stdout) is (
        code == 1 and "skip" in file.read_text() and BROKEN not in tests
    )
