"""The second opinion: tables are read where they are, and an error in ours would show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.fidelity import silicon
from rooftune.hardware.named import accelerator
from rooftune.simulator.steptime.constants import constants_for, table
from rooftune.simulator.steptime.linear import matrix_seconds


def _table(root: Path, factor: float) -> None:
    card = accelerator("L40S")
    constants = constants_for(card, table())
    m = np.array([1, 8, 64, 256, 1024, 4096])
    seconds = matrix_seconds(card, constants.linear["gemm_16bit"], "bfloat16", m, 2.0 * 4096 * 6144, 2.0 * 4096 * 6144)
    seconds = factor * (seconds + constants.host["kernel_us"] * 1e-6)
    rows = {"gemm_dtype": ["bfloat16"] * 6, "m": m, "n": [6144] * 6, "k": [4096] * 6, "latency": 1000 * seconds}
    place = root / "l40s" / "gemm" / "vllm" / "0.24.0"
    place.mkdir(parents=True)
    pq.write_table(pa.table(rows), place / "gemm_perf.parquet")


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_ours_against_theirs(tmp_path: Path, factor: float) -> None:
    _table(tmp_path, factor)
    found = silicon.opinions("L40S", tmp_path)
    assert sum(o.products for o in found) == 6
    assert all(o.median_error == pytest.approx(1 / factor - 1, abs=1e-9) for o in found)


def test_a_gpu_that_they_do_not_have(tmp_path: Path) -> None:
    assert silicon.opinions("H200", tmp_path) == []


def test_without_the_extra_there_is_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silicon, "PACKAGE", "no_such_package_at_all")
    assert silicon.folder() is None
