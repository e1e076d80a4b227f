"""Real seconds that the trials of a run took, kept beside each trial: what the budget is spent on."""

from __future__ import annotations

from statistics import median

from rooftune.errors import RooftuneError
from rooftune.files import read_json, write_json
from rooftune.runfolder import RunFolder, TrialFolder
from rooftune.workloads.spec import Workload

FILE = "spent.json"
START_S = {"simulated": 3.0, "vllm": 120.0, "endpoint": 1.0}
"""Real seconds that a server takes to start, to estimate the first trial."""

BUDGET_S = {"simulated": 340.0, "vllm": 3600.0, "endpoint": 900.0}
"""Real seconds for all trials when no budget is named."""


def real_seconds(workload: Workload, time_scale: float) -> float:
    """The longest duration of a load in real seconds: warm-up, window and the whole drain."""
    return (workload.total_s + workload.drain_s) / time_scale


def write_trial_time(folder: TrialFolder, wall_s: float, *, switched: bool = False, answers_s: float = 0.0) -> None:
    """Record the real seconds of a trial, from the start of its server to its aggregated figures.

    Args:
        switched: it had no start, because a running server was given other limits.
        answers_s: of these seconds, those of a check of its answers, which other trials do not have.
    """
    spent = {"wall_s": round(wall_s, 3), "switched": switched, "answers_s": round(answers_s, 3)}
    write_json(folder.path / FILE, spent)


def trial_times_s(run: RunFolder, *, started: bool = False) -> list[float]:
    """Real seconds of every trial that has been recorded; with ``started``, those of start and load of the trials that
    started a server."""
    found = []
    for folder in run.trials():
        try:
            spent = read_json(folder.path / FILE)
            if not (started and spent.get("switched")):
                found.append(float(spent["wall_s"]) - (float(spent.get("answers_s", 0.0)) if started else 0.0))
        except (RooftuneError, KeyError, TypeError, ValueError, AttributeError):
            continue
    return found


def time_spent_s(run: RunFolder) -> float:
    """Real seconds of all trials together."""
    return sum(trial_times_s(run))


def expected_trial_s(run: RunFolder, before_any: float) -> float:
    """Expected real seconds of the next trial with its own server: the median of those so far, or ``before_any``."""
    costs = trial_times_s(run, started=True)
    return median(costs) if costs else before_any
