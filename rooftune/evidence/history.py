"""The history of all trials: an append-only Parquet dataset, partitioned by workload and month, one file a trial."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from pathlib import Path
from typing import Any

from rooftune.evidence.trial import TrialResult
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


def row(trial: TrialResult) -> dict[str, Any]:
    """One flat row of a trial: what it is of, every metric by its name, the server's figures as ``server_<name>``."""
    flat: dict[str, Any] = {name: getattr(trial, name) for name in ABOUT}
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


def append(root: Path, trial: TrialResult) -> Path:
    """Add a trial to the dataset under ``root`` (usually ``artifacts/history``) and return its file.

    The file's name follows from the trial's content, so adding the same trial twice keeps one row.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    at = dt.datetime.fromtimestamp(trial.started_at, dt.timezone.utc)
    key = hashlib.sha256(trial.model_dump_json(exclude={"checks"}).encode()).hexdigest()[:12]
    folder = root / f"workload={trial.workload}" / f"month={at:%Y-%m}"
    path = folder / f"{at:%Y%m%dT%H%M%S}-{trial.candidate}-{trial.n}-{key}.parquet"
    with replacing(path) as temporary:
        pq.write_table(pa.Table.from_pylist([row(trial)]), temporary)
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
