"""Trials as flat rows: the rows of metrics.parquet and of the history."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from rooftune.errors import RooftuneError
from rooftune.evidence.records.trial import TrialResult
from rooftune.evidence.records.trial_files import read_trials
from rooftune.files import replacing
from rooftune.runfolder import RunFolder

Cell = str | float | int | bool | None
TrialRow = Mapping[str, Cell]
"""Column name -> value; a trial without a metric has no entry for it."""
IDENTITY = (
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
"""Fields of a trial that become columns under their own name."""


def row(trial: TrialResult, run: str = "") -> TrialRow:
    """One flat row: the trial's identity, every metric by its name, and server metrics as ``server_<name>``."""
    flat: dict[str, Cell] = {name: getattr(trial, name) for name in IDENTITY}
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


def write_metrics(run: RunFolder) -> Path:
    """Write metrics.parquet of a run: one row for each trial with a trial.json, ordered by position.

    Raises:
        RooftuneError: the run has no trial yet.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [row(trial, run.path.name) for trial in read_trials(run)]
    if not rows:
        raise RooftuneError(f"{run.path} has no trial yet; run the load phase first.")
    names = dict.fromkeys(name for r in rows for name in r)
    table = pa.Table.from_pylist([{name: r.get(name) for name in names} for r in rows])
    with replacing(run.metrics) as temporary:
        pq.write_table(table, temporary)
    return run.metrics
