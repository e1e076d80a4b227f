"""Reads the trial.json files of a run."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from rooftune.errors import RooftuneError
from rooftune.evidence.records.quality import Floor, Quality
from rooftune.evidence.records.trial import TrialResult
from rooftune.files import Model, read_model
from rooftune.runfolder import RunFolder, TrialFolder


class KeptFloor(NamedTuple):
    """What checks compare with, and the trial of the baseline whose server gave it."""

    folder: TrialFolder
    floor: Floor


def read_trial(folder: TrialFolder) -> TrialResult:
    """Read trial.json, with the verdict on its answers where quality.json has one that can be read.

    Raises:
        RooftuneError: the file is missing, cut, or of another version.
    """
    found = read_model(folder.trial_json, TrialResult)
    return found.model_copy(update={"quality": read_quality(folder)})


def read_quality(folder: TrialFolder) -> Quality | None:
    """The verdict on the answers of a trial; None where it has none that can be read."""
    return _readable(folder.quality_json, Quality)


def read_floor(run: RunFolder, baseline: str = "baseline") -> Floor | None:
    """The floor that the checks of a run compare with; None where the baseline has none yet."""
    kept = kept_floor(run, baseline)
    return kept.floor if kept is not None else None


def floor_folder(run: RunFolder, baseline: str = "baseline") -> TrialFolder | None:
    """The trial of the baseline whose server gave the floor; None before there is one without an error."""
    kept = kept_floor(run, baseline)
    return kept.folder if kept is not None else None


def kept_floor(run: RunFolder, baseline: str = "baseline") -> KeptFloor | None:
    """The floor with its folder; None before there is one without an error."""
    for folder in run.trials():
        found = _readable(folder.floor_json, Floor) if folder.candidate == baseline else None
        if found is not None and not found.evaluation_error:
            return KeptFloor(folder, found)
    return None


def _readable(path: Path, model: type[Model]) -> Model | None:
    """The content of a file of a check; None where it is missing or damaged, and then the check is due again."""
    try:
        return read_model(path, model)
    except RooftuneError:
        return None


def read_trials(run: RunFolder) -> list[TrialResult]:
    """All trials of a run with a readable trial.json, by position; the others are treated as not measured."""
    found = []
    for folder in run.trials():
        try:
            found.append(read_trial(folder))
        except RooftuneError:
            continue
    return sorted(found, key=lambda t: t.position)
