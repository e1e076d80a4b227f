"""Reads our own run and trial folders for the audit."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from rooftune.errors import InputError
from rooftune.evidence.records.evidence import Evidence
from rooftune.evidence.records.parquet_files import read_requests, read_ticks
from rooftune.evidence.records.sent_load import sent_load
from rooftune.evidence.records.trial_files import read_trial
from rooftune.files import read_model
from rooftune.loadgen.summary import LoadSummary
from rooftune.runfolder import RunFolder, TrialFolder
from rooftune.workloads.spec import Workload


def read_folder(path: Path) -> list[Evidence]:
    """Every measured trial of a run folder, or the one of a trial folder.

    Raises:
        InputError: the folder has no trial.
        RooftuneError: a file of a trial is cut.
    """
    if (path / "run.json").is_file():
        run = RunFolder.open(path)
        workload = _workload(run)
        found = [read_evidence(f, workload) for f in run.trials() if f.requests.is_file() and f.trial_json.is_file()]
        if not found:
            raise InputError(f"{path} has no measured trial yet; run the load phase first.")
        return sorted(found, key=lambda e: e.trial.position if e.trial else 0)
    if (path / "requests.parquet").is_file() and (path / "trial.json").is_file():
        run_path = path.parents[2] if len(path.parents) > 2 else path
        workload = _workload(RunFolder.open(run_path)) if (run_path / "run.json").is_file() else None
        return [read_evidence(TrialFolder(path), workload)]
    raise InputError(f"{path} is neither a run (run.json) nor a trial (trial.json and requests.parquet).")


def read_evidence(folder: TrialFolder, workload: Workload | None) -> Evidence:
    """One trial as the audit sees it; ``workload`` is that of the run."""
    trial, sent = read_trial(folder), sent_load(folder)
    workload = sent.workload if sent is not None else workload
    requests = read_requests(folder.requests)
    ticks = read_ticks(folder.ticks) if folder.ticks.is_file() else {}
    load = read_model(folder.load_json, LoadSummary)
    log = folder.server_log.read_text(errors="replace") if folder.server_log.is_file() else None
    return Evidence.of_trial(requests, ticks, load, workload, trial, log)


def _workload(run: RunFolder) -> Workload | None:
    spec = run.about().get("workload_spec")
    try:
        return Workload.model_validate(spec) if spec else None
    except ValidationError:
        return None
