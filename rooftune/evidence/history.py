"""The history of all trials: an append-only Parquet dataset, partitioned by workload and month, one file a trial."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rooftune.evidence.comparison.compare import Arm, Comparison, compare_arms
from rooftune.evidence.records.trial import TrialResult
from rooftune.files import replacing

ABOUT = (
    "workload",
    "workload_hash",
    "candidate",
    "n",
    "position",
    "seed",
    "status",
    "failure",
    "failure_kind",
    "simulated",
    "time_scale",
    "started_at",
    "engine",
    "engine_version",
    "gpu",
    "model",
    "overloaded",
    "asked_rate_per_s",
    "served_rate_per_s",
)


SAME = ("candidate", "workload_hash", "gpu", "engine", "model", "flags", "time_scale")
"""What two trials of a configuration share when they are held against each other."""
Row = Mapping[str, Any]


def row(trial: TrialResult, run: str = "") -> dict[str, Any]:
    """One flat row of a trial: what it is of, every metric by its name, the server's figures as ``server_<name>``."""
    flat: dict[str, Any] = {name: getattr(trial, name) for name in ABOUT}
    flat["run"] = run
    flat["believed"] = trial.believed
    flat["flags"] = json.dumps(trial.flags, sort_keys=True)
    flat["failed_checks"] = ", ".join(c.id for c in trial.checks if c.status == "fail")
    if trial.window:
        flat |= {"window_start_s": trial.window.start_s, "window_end_s": trial.window.end_s}
    if trial.census:
        flat |= {f"census_{k}": v for k, v in trial.census.model_dump().items()}
    flat |= trial.metrics
    flat |= {f"server_{k}": v for k, v in trial.server.items()}
    flat |= {f"within_{k}": v for k, v in trial.within.items()}
    return flat


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


def read(root: Path, workload: str | None = None) -> list[dict[str, Any]]:
    """All trials of a workload (or of all), oldest first. Files that are cut, empty or foreign are left out."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pattern = f"workload={workload}/*/*.parquet" if workload else "workload=*/*/*.parquet"
    rows: list[dict[str, Any]] = []
    for path in sorted(root.glob(pattern)):
        if path.name.startswith("."):
            continue
        try:
            rows += pq.ParquetFile(path).read().to_pylist()
        except (pa.ArrowException, OSError):
            continue
    return sorted(rows, key=lambda r: float(r.get("started_at") or 0.0))


def unreadable(root: Path, workload: str | None = None) -> list[Path]:
    """Files of the dataset that cannot be read, for the user to look at."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pattern = f"workload={workload}/*/*.parquet" if workload else "workload=*/*/*.parquet"
    bad = []
    for path in sorted(root.glob(pattern)):
        try:
            pq.ParquetFile(path)
        except (pa.ArrowException, OSError):
            bad.append(path)
    return bad


@dataclass(frozen=True)
class Change:
    """The newest run of one configuration against the run of it before, by the one comparison that all use."""

    configuration: str
    engine_versions: tuple[str, str]
    """Newest, and the one before."""
    comparison: Comparison


def changes(rows: Sequence[Row], metric: str = "output_throughput") -> list[Change]:
    """Regressions and gains of a workload from run to run, one a configuration that two runs measured.

    Only believed trials of the same workload, GPU, model and flags are held against each other; the engine version may
    be what changed. Runs follow each other, so no order cancels a drift between them: what is found is a difference
    between two runs, and the correction is for all configurations looked at.
    """
    kept: dict[tuple[str, ...], list[Row]] = {}
    for r in sorted(rows, key=lambda r: float(r.get("started_at") or 0.0)):
        value = r.get(metric)
        if r.get("believed") and isinstance(value, (int, float)) and value > 0:
            kept.setdefault(tuple(str(r.get(k)) for k in SAME), []).append(r)
    pairs = [(runs[-1], runs[-2]) for runs in map(_runs, kept.values()) if len(runs) > 1]
    return [
        Change(
            str(new[0].get("candidate")),
            (str(new[0].get("engine_version")), str(old[0].get("engine_version"))),
            compare_arms(_arm(new, metric), _arm(old, metric), metric, candidates=len(pairs)),
        )
        for new, old in pairs
    ]


def _runs(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows of one configuration, run by run; without the name of a run, a trial's number that falls begins another."""
    found: dict[str, list[Row]] = {}
    last: Row | None = None
    nameless = 0
    for r in rows:
        nameless += not r.get("run") and last is not None and r["n"] <= last["n"]
        found.setdefault(str(r.get("run") or f"#{nameless}"), []).append(r)
        last = r
    return list(found.values())


def _arm(rows: Sequence[Row], metric: str) -> Arm:
    """One side; all at one place, since the runs share no order."""
    return Arm(
        logs=np.log([float(r[metric]) for r in rows]),
        seeds=tuple(int(r["seed"]) for r in rows),
        positions=np.zeros(len(rows)),
        simulated=all(bool(r.get("simulated")) for r in rows),
    )
