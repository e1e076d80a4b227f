"""Everything a report is made of, read from the files of one run folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import Any

from rooftune.evidence.records.trial import TrialResult
from rooftune.evidence.records.trial_files import read_trials
from rooftune.files import read_json, read_model
from rooftune.hardware.accelerator import Hardware
from rooftune.runfolder import RunFolder
from rooftune.tuning.plan import Candidate, Decision, Plan, Verdict
from rooftune.tuning.upgrade import UpgradePath
from rooftune.vllm_rules.config import EngineConfig


@dataclass(frozen=True)
class Contents:
    """A run as its files tell it. Parts that the run did not get to are None or empty."""

    run: RunFolder
    about: dict[str, Any]
    hardware: Hardware
    plan: Plan
    decision: Decision
    trials: list[TrialResult]
    workload: dict[str, Any] = field(default_factory=dict)
    roofline: dict[str, Any] | None = None
    upgrade: UpgradePath | None = None

    @property
    def simulated(self) -> bool:
        """Whether the figures come from the emulated engine."""
        return self.plan.target.simulated or any(t.simulated for t in self.trials)

    def of(self, candidate: str) -> list[TrialResult]:
        """Believed trials of a candidate, in order."""
        return sorted((t for t in self.trials if t.candidate == candidate and t.believed), key=lambda t: t.n)

    def value(self, candidate: str, metric: str) -> float | None:
        """Median of a metric over the believed trials of a candidate; None where it is withheld or missing."""
        values = [t.metrics[metric] for t in self.of(candidate) if metric in t.metrics]
        return median(values) if values else None

    def withheld(self, candidate: str, metric: str) -> str | None:
        """Why a metric of a candidate is not shown."""
        return next((t.withheld[metric] for t in self.of(candidate) if metric in t.withheld), None)

    def gauge(self, candidate: str, *names: str) -> float | None:
        """Median over the trials of the first of the server figures that is there."""
        for name in names:
            values = [t.server[name] for t in self.of(candidate) if name in t.server]
            if values:
                return median(values)
        return None

    def verdict(self, candidate: str) -> Verdict:
        """The verdict on a candidate."""
        return next(v for v in self.decision.verdicts if v.candidate == candidate)

    @property
    def measured(self) -> list[Candidate]:
        """Candidates with at least one believed trial, in the plan's order."""
        return [c for c in self.plan.candidates if self.of(c.id)]

    @property
    def phases(self) -> list[str]:
        """Phases that have candidates, in order."""
        found = list(dict.fromkeys(c.phase for c in self.plan.candidates))
        return sorted(found, key=lambda p: self.plan.phases.index(p) if p in self.plan.phases else len(found))

    def incumbent_after(self, phase: str) -> str:
        """The incumbent once a phase was over."""
        found = "baseline"
        for name in self.phases:
            for v in self.decision.verdicts:
                if v.phase == name and v.verdict == "applied":
                    found = v.candidate
            if name == phase:
                break
        return found

    def incumbent_before(self, phase: str) -> str:
        """The incumbent when a phase began."""
        place = self.phases.index(phase)
        return "baseline" if place == 0 else self.incumbent_after(self.phases[place - 1])

    def config(self, candidate: str) -> EngineConfig:
        """The configuration that a candidate ran with, else the one that was planned."""
        planned = self.plan.candidate(candidate).config
        flags = self.verdict(candidate).flags
        return EngineConfig(model=planned.model).with_change(flags) if flags else planned


def read(run: RunFolder) -> Contents:
    """Read a run folder.

    Raises:
        RooftuneError: a file that a report cannot do without is missing or not readable; the message says which phase.
    """
    about = run.about()
    spec = about.get("workload_spec") or about.get("spec") or {}
    return Contents(
        run=run,
        about=about,
        hardware=read_model(run.hardware_json, Hardware),
        plan=read_model(run.plan_json, Plan),
        decision=read_model(run.decision_json, Decision),
        trials=read_trials(run),
        workload=spec if isinstance(spec, dict) else {},
        roofline=read_json(run.roofline_json) if run.roofline_json.is_file() else None,
        upgrade=read_model(run.path / "upgrade.json", UpgradePath) if (run.path / "upgrade.json").is_file() else None,
    )
