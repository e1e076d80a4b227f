"""The examples of docs/how-to/results.md load a small run into pandas, polars and DuckDB, and show what it has."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from doc_blocks import ROOT, Block, blocks

from rooftune.evidence.history import append
from rooftune.evidence.trial_table import write_metrics
from rooftune.loadgen.schema import TICKS
from rooftune.runfolder import RunFolder
from tests import synthetic_run

PYTHON = [b for b in blocks(ROOT / "docs" / "how-to" / "results.md") if b.language == "python"]
CAPACITIES = {"baseline": 2.0, "batch-8": 1.2}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with artifacts/: a run of two configurations with two trials each, and its history."""
    root = tmp_path_factory.mktemp("results")
    load = synthetic_run.workload()
    world = synthetic_run.World(synthetic_run.plan_of(load))
    trials = [
        t.model_copy(update={"metrics": {**t.metrics, "capacity": CAPACITIES[t.candidate]}, "started_at": 1.7e9})
        for t in world.search(budget=300)
        if t.candidate in CAPACITIES and t.n <= 2
    ]
    run = synthetic_run.write_run(root / "artifacts", world, trials, load)
    tick: dict[str, Any] = dict.fromkeys(TICKS.names)
    tick |= {"t_s": 1.0, "up": True, "running": 3.0, "client_in_flight": 3, "client_connections": 3}
    pq.write_table(pa.Table.from_pylist([tick], schema=TICKS), run.trial("baseline", 1).ticks)
    write_metrics(run)
    for trial in trials:
        append(root / "artifacts" / "history", trial, run.path.name)
    return root


def values(block: Block) -> list[Any]:
    """Run an example; return the value of each of its expressions, as a notebook would show them."""
    names: dict[str, Any] = {}
    found = []
    for node in ast.parse(block.body).body:
        if isinstance(node, ast.Expr):
            found.append(eval(compile(ast.Expression(node.value), block.place, "eval"), names))
        else:
            exec(compile(ast.Module([node], []), block.place, "exec"), names)
    return found


def example(word: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    monkeypatch.chdir(place)
    (block,) = [b for b in PYTHON if b.body.startswith(f"import {word}\n") or b.body.startswith(f"import {word} as ")]
    return values(block)


def test_open_run(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    incumbent, command, verdicts, capacity, ttft = example("rooftune", place, monkeypatch)
    assert incumbent in CAPACITIES
    assert "vllm" in command
    assert set(verdicts) > set(CAPACITIES)
    assert capacity.to_dict() == CAPACITIES
    assert ttft["count"] > 0


def test_pandas(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pivot, ticks = example("pandas", place, monkeypatch)
    assert pivot[("median", "capacity")].to_dict() == CAPACITIES
    assert isinstance(ticks, pd.DataFrame)
    assert ticks["running"].tolist() == [3.0]


def test_polars(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (quantiles,) = example("polars", place, monkeypatch)
    (row,) = quantiles.to_dicts()
    assert 0 < row["p50"] <= row["p99"]


def test_duckdb(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    capacity, statuses = example("duckdb", place, monkeypatch)
    assert [(name, value) for name, _, value in capacity] == [("baseline", 2.0), ("batch-8", 1.2)]
    (run,) = (place / "artifacts" / "chat-medium").iterdir()
    rows = sum(pq.ParquetFile(trial.requests).metadata.num_rows for trial in RunFolder(run).trials())
    assert sum(count for _, count in statuses) == rows
