"""Reads the trial.json files of a run."""

from __future__ import annotations

from rooftune.errors import RooftuneError
from rooftune.evidence.records.trial import TrialResult
from rooftune.files import read_model
from rooftune.runfolder import RunFolder, TrialFolder


def read_trial(folder: TrialFolder) -> TrialResult:
    """Read trial.json.

    Raises:
        RooftuneError: the file is missing, cut, or of another version.
    """
    return read_model(folder.trial_json, TrialResult)


def read_trials(run: RunFolder) -> list[TrialResult]:
    """All trials of a run with a readable trial.json, by position; the others are treated as not measured."""
    found = []
    for folder in run.trials():
        try:
            found.append(read_trial(folder))
        except RooftuneError:
            continue
    return sorted(found, key=lambda t: t.position)
