"""All that a report needs, read from the files of one run folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from statistics import median
from typing import Any

from pydantic import ValidationError

from rooftune.capacity.result import CurvePoint
from rooftune.errors import RooftuneError
from rooftune.evidence.records.capacity import RateStep
from rooftune.evidence.records.quality import Floor, Quality
from rooftune.evidence.records.trial import TrialResult
from rooftune.evidence.records.trial_files import read_floor, read_trials
from rooftune.files import read_model
from rooftune.hardware.accelerator import Hardware
from rooftune.report.curves import CURVES, ReferenceCurves
from rooftune.report.levers import LEVERS, Lever, Levers
from rooftune.roofline.model import Point, Roofline, Stage
from rooftune.runfolder import RunFolder
from rooftune.tuning.answer_quality import Checks
from rooftune.tuning.judge import judge
from rooftune.tuning.other_workloads import FILE as OTHER_WORKLOADS
from rooftune.tuning.other_workloads import OtherWorkloads
from rooftune.tuning.plan import Candidate, CapacityFigures, Decision, Interval, Plan, Verdict
from rooftune.tuning.upgrade import UpgradePath
from rooftune.vllm_rules.config import EngineConfig
from rooftune.workloads.spec import Workload


@dataclass(frozen=True)
class RunData:
    """The records of one run. A phase that has not run yet leaves its part None or empty."""

    folder: RunFolder
    about: dict[str, Any]
    hardware: Hardware
    plan: Plan
    decision: Decision
    trials: list[TrialResult]
    workload: Workload | None = None
    roofline: Roofline | None = None
    upgrade: UpgradePath | None = None
    curves: dict[str, list[CurvePoint]] = field(default_factory=dict)
    """The reference's response to the rate, for the baseline and the recommended configuration."""
    other_workloads: OtherWorkloads | None = None
    levers: list[Lever] = field(default_factory=list)
    """What may change answers, with its gain at several loads."""
    floor: Floor | None = None
    """How much the baseline's answers differ from themselves; None where they were not collected."""

    @cached_property
    def _checks(self) -> Checks:
        return Checks.of(self.plan, self.trials)

    def quality(self, candidate: str) -> Quality | None:
        """The verdict on a configuration's answers; None where no check was made."""
        return self.quality_of(self.config_of(candidate)) if self._checks.by_key else None

    def quality_of(self, config: EngineConfig) -> Quality | None:
        """The verdict that holds for the answers of a configuration, measured or not; None where no check was made."""
        return self._checks.of_config(config)

    @property
    def accepts_loss(self) -> bool:
        """Whether a configuration that spoils the answers may win."""
        return self.plan.quality.accept_loss

    @property
    def by_capacity(self) -> bool:
        """Whether the requests/s within the SLO decided."""
        return self.plan.objective.by_capacity

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

    def gauge(self, candidate: str, name: str) -> float | None:
        """Median of a server gauge over the believed trials of a candidate; None where no trial recorded it."""
        values = [t.server[name] for t in self.of(candidate) if name in t.server]
        return median(values) if values else None

    def ratios(self, candidate: str, against: str) -> dict[str, Interval]:
        """Ratios of all metrics between two configurations; empty when either has fewer than two believed trials."""
        ours, theirs = self.of(candidate), self.of(against)
        if len(ours) < 2 or len(theirs) < 2:
            return {}
        return judge(ours, theirs, self.plan.objective, against, candidates=1).ratios

    def roofline_point(self, candidate: str, stage: Stage) -> Point | None:
        """The roofline's point of the candidate's last trial; None without one."""
        points = self.roofline.of(stage) if self.roofline else []
        return next((p for p in reversed(points) if p.candidate == candidate), None)

    def verdict(self, candidate: str) -> Verdict:
        """The verdict on a candidate."""
        return next(v for v in self.decision.verdicts if v.candidate == candidate)

    def capacity(self, candidate: str) -> CapacityFigures | None:
        """The capacity that all trials of a candidate show; None where it is not known."""
        return self.verdict(candidate).capacity

    def capacity_if_measured(self, candidate: str) -> CapacityFigures | None:
        """The capacity of a candidate that may have no verdict."""
        return next((v.capacity for v in self.decision.verdicts if v.candidate == candidate), None)

    def changes_answers(self, candidate: str) -> bool:
        """Whether a configuration's answers differ from the baseline's: other weights, or another type of KV cache."""
        return self.plan.candidate(candidate).changes_output or bool(self.output_changes(candidate))

    def rate_steps(self, candidate: str) -> list[RateStep]:
        """The loads of a candidate's believed trials, by rate."""
        steps = [s for t in self.of(candidate) if t.capacity is not None for s in t.capacity.steps]
        return sorted(steps, key=lambda s: s.rate_per_s)

    def output_changes(self, candidate: str) -> list[str]:
        """Candidates whose change is part of this one's configuration and may change the generated text."""
        ours, base = self.config(candidate), self.config("baseline")
        flags, start = {"model": ours.model, **ours.flags()}, {"model": base.model, **base.flags()}
        return [
            p.id
            for p in self.plan.candidates
            if p.changes_output
            and any(start.get(k) != v for k, v in p.change.items())
            and all(flags.get(k) == v for k, v in p.change.items())
        ]

    @property
    def measured(self) -> list[Candidate]:
        """Candidates with at least one believed trial, in the plan's order."""
        return [x for x in self.plan.candidates if self.of(x.id)]

    @property
    def compared(self) -> list[str]:
        """The baseline and the recommended configuration; one of them where they are the same."""
        return list(dict.fromkeys(("baseline", self.decision.incumbent)))

    @property
    def phases(self) -> list[str]:
        """Phases that have candidates, in order."""
        found = list(dict.fromkeys(x.phase for x in self.plan.candidates))
        return sorted(found, key=lambda p: self.plan.phases.index(p) if p in self.plan.phases else len(found))

    def incumbent_after(self, phase: str) -> str:
        """The best configuration once a phase was over: by the search of the whole space, else the incumbent."""
        search = self.decision.search
        best = next((p.option for p in search.phases if p.phase == phase), None) if search is not None else None
        if best is not None:
            return best
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

    def config_of(self, option: str) -> EngineConfig:
        """The configuration of a candidate, or of an option that the search only predicted."""
        known = any(v.candidate == option for v in self.decision.verdicts)
        return self.config(option) if known else self.plan.candidate(option).config

    def config(self, candidate: str) -> EngineConfig:
        """The configuration that a candidate ran with, else the one that was planned."""
        planned = self.plan.candidate(candidate).config
        flags = self.verdict(candidate).flags
        return EngineConfig(model=planned.model).with_change(flags) if flags else planned


def read_run(folder: RunFolder) -> RunData:
    """Read a run folder.

    Raises:
        RooftuneError: a file that every report needs is missing or cannot be read; the message names the file.
    """
    about = folder.about()
    trials = read_trials(folder)
    upgrade_json, curves_json = folder.path / "upgrade.json", folder.path / CURVES
    others_json, levers_json = folder.path / OTHER_WORKLOADS, folder.path / LEVERS
    return RunData(
        folder=folder,
        about=about,
        hardware=read_model(folder.hardware_json, Hardware),
        plan=read_model(folder.plan_json, Plan).with_measured(t.candidate for t in trials),
        decision=read_model(folder.decision_json, Decision),
        trials=trials,
        workload=_workload(folder, about),
        roofline=read_model(folder.roofline_json, Roofline) if folder.roofline_json.is_file() else None,
        upgrade=read_model(upgrade_json, UpgradePath) if upgrade_json.is_file() else None,
        curves=read_model(curves_json, ReferenceCurves).curves if curves_json.is_file() else {},
        other_workloads=read_model(others_json, OtherWorkloads) if others_json.is_file() else None,
        levers=read_model(levers_json, Levers).levers if levers_json.is_file() else [],
        floor=read_floor(folder),
    )


def _workload(folder: RunFolder, about: dict[str, Any]) -> Workload | None:
    spec = about.get("workload_spec")
    if spec is None:
        return None
    try:
        return Workload.model_validate(spec)
    except ValidationError as error:
        found = error.errors()[0]
        where = ".".join(str(part) for part in found["loc"])
        raise RooftuneError(f"The workload in {folder.run_json} is not valid ({where}: {found['msg']}).") from None
