"""How many real seconds the trials of a run took: the budget's account, kept beside each trial."""

from __future__ import annotations

from statistics import median

from rooftune.errors import RooftuneError
from rooftune.files import read_json, write_json
from rooftune.runfolder import RunFolder, TrialFolder

FILE = "spent.json"


def write_trial_time(folder: TrialFolder, wall_s: float) -> None:
    """Note what a trial took from the start of its server to its aggregated figures, in real seconds."""
    write_json(folder.path / FILE, {"wall_s": round(wall_s, 3)})


def trial_times_s(run: RunFolder) -> list[float]:
    """Real seconds of every trial that is noted."""
    found = []
    for folder in run.trials():
        try:
            found.append(float(read_json(folder.path / FILE)["wall_s"]))
        except (RooftuneError, KeyError, TypeError, ValueError):
            continue
    return found


def time_spent_s(run: RunFolder) -> float:
    """Real seconds of all trials together."""
    return sum(trial_times_s(run))


def expected_trial_s(run: RunFolder, before_any: float) -> float:
    """What the next trial will take: the median of those so far that were no quick failures, else ``before_any``."""
    costs = trial_times_s(run)
    return median(costs) if costs else before_any
