"""What a gate compares with: the trials of one configuration in an earlier run, or in the median of recent runs."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rooftune.errors import InputError, nearest
from rooftune.evidence.history import read
from rooftune.evidence.records.trial import TrialResult
from rooftune.evidence.records.trial_files import read_trials
from rooftune.evidence.trial_table import Cell, TrialRow
from rooftune.files import read_json
from rooftune.formatting import quantity
from rooftune.runfolder import RunFolder
from rooftune.vllm_rules.config import FlagValue

RECENT_RUNS = 10
BASELINE = "baseline"
Flags = Mapping[str, FlagValue]


@dataclass(frozen=True)
class Case:
    """What both sides of a gate must share."""

    workload: str
    workload_hash: str
    engine: str
    model: str
    gpu: str | None
    """None = not known before the hardware was probed."""

    def differences(self, trial: TrialResult) -> list[str]:
        """What a trial does not share, in words."""
        found = []
        if trial.workload_hash != self.workload_hash:
            hashes = f"{trial.workload} {trial.workload_hash[:8]} and {self.workload} {self.workload_hash[:8]}"
            found.append(f"the workload differs ({hashes})")
        pairs = {"engine": (trial.engine, self.engine), "model": (trial.model, self.model)}
        if self.gpu is not None:
            pairs["GPU"] = (trial.gpu, self.gpu)
        return found + [f"the {what} differs ({x} and {y})" for what, (x, y) in pairs.items() if x != y]


@dataclass(frozen=True)
class Reference:
    """The trusted trials that the new ones are compared with."""

    by_run: tuple[list[TrialResult], ...]
    """One run, or the recent runs of a history, the oldest first. Their median level is the reference."""
    run: str
    """The run, or the newest one."""
    configuration: str

    @property
    def trials(self) -> list[TrialResult]:
        """All trials of all runs."""
        return [trial for trials in self.by_run for trial in trials]

    @property
    def newest(self) -> TrialResult:
        """A trial of the newest run."""
        return self.by_run[-1][-1]

    @property
    def runs(self) -> int:
        return len(self.by_run)

    @property
    def sentence(self) -> str:
        """Which trials these are."""
        trials = quantity(len(self.trials), "trial")
        where = f"{self.configuration} of {self.run}"
        return f"{where}, {trials}" if self.runs == 1 else f"the median of {self.runs} runs up to {where}, {trials}"


def check_comparable(case: Case, trial: TrialResult, run: str) -> None:
    """Refuse a reference that does not share workload, engine, model and GPU.

    Raises:
        InputError: what differs.
    """
    found = case.differences(trial)
    if found:
        raise InputError(
            f"{run} cannot be compared with this measurement: {', '.join(found)}; name a run of the same workload, "
            "engine, model and GPU, or change the options."
        )


def from_run(run: RunFolder, flags: Flags | None, configuration: str | None = None) -> Reference:
    """The trials of one configuration of a run.

    Args:
        flags: of the new configuration. The reference is the configuration with the same flags, if the run measured
            one, else the one that the run recommends.
        configuration: its name, which decides instead.

    Raises:
        InputError: there is no such configuration, or it has no trusted trial.
    """
    trials = [t for t in read_trials(run) if t.believed]
    name = configuration or _same_flags(trials, flags) or recommended(run)
    chosen = [t for t in trials if t.candidate == name]
    if not chosen:
        known = sorted({t.candidate for t in trials})
        if not known:
            raise InputError(f"{run.path} has no trusted trial; name another run.")
        raise InputError(
            f"{run.path} has no trusted trial of {name!r}{nearest(name, known)}; it has: {', '.join(known)}."
        )
    return Reference(by_run=(chosen,), run=f"{run.path.parent.name}/{run.path.name}", configuration=name)


def _same_flags(trials: Sequence[TrialResult], flags: Flags | None) -> str | None:
    """The configuration with these flags that has the most trials."""
    counted = Counter(t.candidate for t in trials if flags is not None and t.flags == flags)
    return counted.most_common(1)[0][0] if counted else None


def recommended(run: RunFolder) -> str:
    """The configuration that the run recommends; the baseline of a run without a decision."""
    found = read_json(run.decision_json) if run.decision_json.is_file() else {}
    name = found.get("incumbent") if isinstance(found, dict) else None
    return name if isinstance(name, str) else BASELINE


def from_history(root: Path, case: Case, flags: Flags, metric: str, *, without: str = "") -> Reference | None:
    """The recent runs of the same case; None without an earlier run.

    Runs of the configuration with the same flags are compared. Where no run measured these flags, the baseline of the
    newest run is the reference, and earlier runs with its flags.

    Args:
        root: folder of the history, usually ``artifacts/history``.
        metric: what the trials must have.
        without: name of a run to leave out.
    """
    rows = [row for row in read(root, case.workload) if row.get("believed") and row.get("run") != without]
    runs = [(str(row.get("run") or ""), trial_of(row)) for row in rows]
    runs = [(run, t) for run, t in runs if run and not case.differences(t) and t.metrics.get(metric, 0.0) > 0]
    same = [(run, t) for run, t in runs if t.flags == flags]
    if not same:
        baselines = [(run, t) for run, t in runs if t.candidate == BASELINE]
        same = [(run, t) for run, t in baselines if t.flags == baselines[-1][1].flags]
    by_run: dict[str, list[TrialResult]] = {}
    for run, trial in same:
        by_run.setdefault(run, []).append(trial)
    recent = list(by_run.items())[-RECENT_RUNS:]
    if not recent:
        return None
    newest, trials = recent[-1]
    return Reference(tuple(found for _, found in recent), f"{case.workload}/{newest}", trials[-1].candidate)


_TEXTS = ("workload", "workload_hash", "candidate", "engine", "engine_version", "gpu", "model")
_NOT_METRICS = ("window_", "census_", "server_", "within_")
_NUMBERS = ("n", "position", "seed", "time_scale", "started_at", "asked_rate_per_s", "served_rate_per_s")


def trial_of(row: TrialRow) -> TrialResult:
    """What a row of the history keeps of a trial: its identity and its metrics."""
    texts = {name: str(row.get(name) or "") for name in _TEXTS}
    counts = {name: int(_number(row.get(name)) or 0) for name in ("n", "position", "seed")}
    metrics = {
        name: number
        for name, value in row.items()
        if name not in _NUMBERS and not name.startswith(_NOT_METRICS) and (number := _number(value)) is not None
    }
    return TrialResult.model_validate(
        {
            **texts,
            **counts,
            "status": "measured" if row.get("status") == "measured" else "failed",
            "simulated": bool(row.get("simulated")),
            "started_at": _number(row.get("started_at")) or 0.0,
            "flags": json.loads(str(row.get("flags") or "{}")),
            "overloaded": bool(row.get("overloaded")),
            "metrics": metrics,
        }
    )


def _number(value: Cell) -> float | None:
    """A cell as a finite number; None where there is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)
