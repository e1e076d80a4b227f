"""The history of all trials: an append-only Parquet dataset by workload and month, one file for each trial."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rooftune.evidence.comparison.compare import Comparison, compare_arms
from rooftune.evidence.comparison.least_squares import Arm
from rooftune.evidence.records.trial import TrialResult
from rooftune.evidence.trial_table import TrialRow, row
from rooftune.files import replacing

SAME = ("candidate", "workload_hash", "gpu", "engine", "model", "flags", "time_scale")
"""What two trials of one configuration must share to be compared."""


def append(root: Path, trial: TrialResult, run: str = "") -> Path:
    """Add a trial of the named run to the dataset under ``root`` (usually ``artifacts/history``) and return its file.

    The file's name follows from the trial's content, so adding the same trial twice keeps one row.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    at = dt.datetime.fromtimestamp(trial.started_at, dt.timezone.utc)
    key = hashlib.sha256(trial.model_dump_json(exclude={"checks"}).encode()).hexdigest()[:12]
    folder = root / f"workload={trial.workload}" / f"month={at:%Y-%m}"
    path = folder / f"{at:%Y%m%dT%H%M%S}-{trial.candidate}-{trial.n}-{key}.parquet"
    with replacing(path) as temporary:
        pq.write_table(pa.Table.from_pylist([row(trial, run)]), temporary)
    return path


def read(root: Path, workload: str | None = None) -> list[TrialRow]:
    """All trials of a workload (or of all), oldest first. Files that cannot be read are left out."""
    import pyarrow as pa

    rows: list[TrialRow] = []
    for path in _files(root, workload):
        with contextlib.suppress(pa.ArrowException, OSError):
            rows += _rows(path)
    return sorted(rows, key=_started)


def unreadable(root: Path, workload: str | None = None) -> list[Path]:
    """Files of the dataset that are cut, empty or not Parquet."""
    import pyarrow as pa

    bad = []
    for path in _files(root, workload):
        try:
            _rows(path)
        except (pa.ArrowException, OSError):
            bad.append(path)
    return bad


def _files(root: Path, workload: str | None) -> list[Path]:
    pattern = f"workload={workload or '*'}/*/*.parquet"
    return [path for path in sorted(root.glob(pattern)) if not path.name.startswith(".")]


def _rows(path: Path) -> list[TrialRow]:
    import pyarrow.parquet as pq

    found: list[TrialRow] = pq.ParquetFile(path).read().to_pylist()
    return found


def _started(row_: TrialRow) -> float:
    return _number(row_, "started_at")


@dataclass(frozen=True)
class RunToRun:
    """The newest run of one configuration compared with the run before it."""

    configuration: str
    engine_version: str
    """Of the newest run."""
    engine_version_before: str
    comparison: Comparison


def run_to_run(rows: Sequence[TrialRow], metric: str = "output_throughput") -> list[RunToRun]:
    """Regressions and gains of a workload from run to run: one entry for each configuration that two runs measured.

    Only believed trials of the same workload, GPU, model and flags are compared; the engine version may have changed.
    Runs follow each other, so no order cancels a drift between them: what is found is a difference between two runs.
    The correction for many comparisons covers all configurations that are looked at.
    """
    kept: dict[tuple[str, ...], list[TrialRow]] = {}
    for row_ in sorted(rows, key=_started):
        if row_.get("believed") and _number(row_, metric) > 0:
            kept.setdefault(tuple(str(row_.get(k)) for k in SAME), []).append(row_)
    runs = [_by_run(found) for found in kept.values()]
    several = [found for found in runs if len(found) > 1]
    return [
        RunToRun(
            configuration=str(found[-1][0].get("candidate")),
            engine_version=str(found[-1][0].get("engine_version")),
            engine_version_before=str(found[-2][0].get("engine_version")),
            comparison=compare_arms(_arm(found[-1], metric), _arm(found[-2], metric), metric, candidates=len(several)),
        )
        for found in several
    ]


def _by_run(rows: Sequence[TrialRow]) -> list[list[TrialRow]]:
    """Rows of one configuration, run by run.

    Rows without the name of a run are split where the number of the trial falls: a new run starts at 1 again.
    """
    found: dict[str, list[TrialRow]] = {}
    last: TrialRow | None = None
    nameless = 0
    for r in rows:
        nameless += not r.get("run") and last is not None and _number(r, "n") <= _number(last, "n")
        found.setdefault(str(r.get("run") or f"#{nameless}"), []).append(r)
        last = r
    return list(found.values())


def _arm(rows: Sequence[TrialRow], metric: str) -> Arm:
    """One side; all trials have the same position, since the runs share no order."""
    return Arm(
        logs=np.log([_number(r, metric) for r in rows]),
        seeds=tuple(int(_number(r, "seed")) for r in rows),
        positions=np.zeros(len(rows)),
        simulated=all(bool(r.get("simulated")) for r in rows),
    )


def _number(row_: TrialRow, name: str) -> float:
    """A cell as a number; 0 where there is none."""
    value = row_.get(name)
    return float(value) if isinstance(value, (int, float)) else 0.0
