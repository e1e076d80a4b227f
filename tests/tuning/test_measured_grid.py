"""The command that measures a grid of configurations, on the simulated engine, and its fit on made windows."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from benchmarks.tuning import measure_grid
from benchmarks.tuning.grid_fit import Surface, Window
from benchmarks.tuning.measure_grid import Measurement, Space, read_windows
from benchmarks.tuning.vllm_grid import GRID, Cell, grid

SPACE = Space(dtypes=("bfloat16",), caching=(True,), sequences=(1, 16), tokens=(256,))


@pytest.mark.slow
def test_a_small_grid_of_the_simulated_engine_is_measured_and_continued(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(tmp_path), "--gpu", "L4", "--dtypes", "bfloat16", "--sequences", "1,16", "--tokens", "256"]
    words += ["--quiet", "2", "--shortened", "0.5"]
    first = tmp_path / "windows.jsonl"
    first.write_text(
        "".join(
            json.dumps(asdict(Window(Cell("bfloat16", caching, 1, 256), 10.0, 0.0))) + "\n" for caching in (True, False)
        ),
        encoding="utf-8",
    )
    assert measure_grid.main(words) == 0
    assert "table: " in capsys.readouterr().out
    windows = read_windows(first)
    assert len(windows) == 4, "the first two were kept"
    found = grid(tmp_path / "grid.csv")
    assert set(found) == set(Space(("bfloat16",), sequences=(1, 16), tokens=(256,)).cells)
    assert all(w.tokens_per_s > 3 * 10.0 for w in windows[2:]), "16 sequences of an L4"
    assert (tmp_path / "grid.csv").read_text().startswith("# Output tokens per second, measured by")


def test_cells_are_open_until_they_have_quiet_windows() -> None:
    asked = Measurement(SPACE, windows=2, quiet=0.08)
    one, many = SPACE.cells
    assert set(asked.open([])) == {one, many}
    noisy = [Window(one, 50.0, 0.5), Window(one, 60.0, 0.01)]
    assert set(asked.open(noisy)) == {one, many}
    assert asked.open([*noisy, Window(one, 61.0, 0.02), Window(many, 200.0, 0.0), Window(many, 200.0, 0.0)]) == []


def test_the_surface_recovers_what_made_the_windows_and_states_its_error() -> None:
    """Throughput that doubles with every doubling of the sequences, with 5 % of noise."""
    cells, random = Space().cells, np.random.default_rng(3)
    windows = [
        Window(c, 40 * c.max_num_seqs * math.exp(0.05 * random.standard_normal()), 0.0) for c in cells for _ in range(2)
    ]
    found = Surface.through(windows, cells)
    assert found.scatter == pytest.approx(0.05, rel=0.25)
    truth = np.log([40 * c.max_num_seqs for c in cells])
    assert np.abs(found.logs - truth).max() < 0.08
    assert found.errors.min() == 0, "the best compared with itself"
    assert 0.005 < found.errors.max() < 0.08


def test_the_shipped_table_comes_from_this_space() -> None:
    assert set(grid()) == set(Space().cells)
    head = next(line for line in GRID.read_text(encoding="utf-8").splitlines() if not line.startswith("#"))
    assert head.split(",") == list(
        Surface.through([Window(Space().cells[0], 1.0, 0.0)], Space().cells[:1]).table([]).splitlines()[0].split(",")
    )


def test_without_a_quiet_window_the_command_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def busy(*_: object) -> list[Window]:
        return [Window(SPACE.cells[0], 50.0, 0.9)]

    monkeypatch.setattr(measure_grid, "measure", busy)
    assert measure_grid.main([str(tmp_path), "--gpu", "L4"]) == 1
    assert "others used more than 8% of the processors in every window; free the machine." in capsys.readouterr().err
