"""Steps of a gate on its run folder: the plan of its one configuration, the trial that comes next, the verdict."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from statistics import median

from rooftune.evidence.records.trial import TrialResult
from rooftune.evidence.records.trial_files import read_trials
from rooftune.files import write_json
from rooftune.gate.judge import judge_loss
from rooftune.gate.loss import Design, Finding
from rooftune.gate.next_trial import REFERENCE, GatePlan, next_order
from rooftune.gate.reference import BASELINE, Reference
from rooftune.gate.result import GATE_JSON, GateResult
from rooftune.runfolder import RunFolder
from rooftune.trial_order import TrialOrder
from rooftune.tuning.forecast import Forecast
from rooftune.tuning.guided.standing import Standing
from rooftune.tuning.plan import Plan
from rooftune.workloads.spec import CAPACITY
from tasks.planning import forecast_of
from tasks.run_files import facts_of, hardware_of, plan_of, target_of, workload_of


async def plan_baseline(run: RunFolder) -> Plan:
    """Write a plan.json that has the asked configuration alone."""
    found = await asyncio.to_thread(_planned, run)
    write_json(run.plan_json, found.model_dump(mode="json"))
    return found


def _planned(run: RunFolder) -> Plan:
    from rooftune.tuning.playbook import Playbook, build_plan

    alone = Playbook(name="gate", phases=[BASELINE], candidates=[])
    target = target_of(run)
    return build_plan(workload_of(run), target, hardware_of(run), facts_of(target), alone, predict=False)


def forecast(run: RunFolder) -> Forecast | None:
    """What sizes the loads of the trials where the capacity decides."""
    return forecast_of(plan_of(run), workload_of(run))


@dataclass(frozen=True)
class GateState:
    """What a gate needs to choose its next trial and to judge."""

    plan: GatePlan
    reference: Reference | None
    design: Design
    max_loss: float
    forecast: Forecast | None

    def next_trial(self, run: RunFolder) -> TrialOrder | None:
        """The next trial; None when all are made, or one failed too often."""
        return next_order(self.plan, read_trials(run), self.forecast, self._rate(run))

    def standing(self, run: RunFolder, trial_s: float, budget_left_s: float | None) -> Standing:
        """The time left: for the trials that may still be made, within the budget."""
        made = sum(t.believed for t in read_trials(run))
        most_s = trial_s * max(len(self.plan.order) - made, 0)
        left_s = most_s if budget_left_s is None else min(most_s, budget_left_s)
        return Standing(best=None, value="", chance=None, confirming=False, left_s=left_s, trial_s=trial_s)

    def _rate(self, run: RunFolder) -> float | None:
        """The expected capacity: the reference's, else the one that the simulator predicts."""
        earlier = self.reference.trials if self.reference is not None else []
        known = [t.metrics[CAPACITY] for t in earlier if t.metrics.get(CAPACITY)]
        if known or self.forecast is None:
            return median(known) if known else None
        return self.forecast.capacity(plan_of(run).candidates[0].config)

    def judge(self, run: RunFolder) -> Finding | None:
        """The verdict of the trials so far; None without a reference."""
        reference = self.reference
        if reference is None:
            return None
        if self.design == "beside":
            reference = Reference((trusted(run, REFERENCE),), reference.run, reference.configuration)
        goal, most = plan_of(run).objective, self.plan.most_trials
        return judge_loss(trusted(run, BASELINE), reference, goal, self.max_loss, self.design, most_trials=most)


def trusted(run: RunFolder, candidate: str) -> list[TrialResult]:
    """Trusted trials of one configuration, in order."""
    return sorted((t for t in read_trials(run) if t.candidate == candidate and t.believed), key=lambda t: t.position)


def write_gate(run: RunFolder, result: GateResult) -> None:
    """Write gate.json."""
    write_json(run.path / GATE_JSON, result.model_dump(mode="json"))
