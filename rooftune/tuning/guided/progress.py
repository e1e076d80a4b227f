"""Where a guided search is: the trials as outcomes, the problem with the budget at hand, and the next trial."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from rooftune.engines.switching import lowered, supported
from rooftune.evidence.records.trial import TrialResult
from rooftune.formatting import percent
from rooftune.search.confirm import is_fresh
from rooftune.search.gain import Outlook, chance_left, outlook
from rooftune.search.next_step import Measure, Step, confirmation_s, confirms, next_step, of_search
from rooftune.search.options import Outcome, Problem, Purpose
from rooftune.trial_order import TrialLoad, TrialOrder
from rooftune.tuning.answer_quality import Checks, without_spoilt
from rooftune.tuning.capacity_figures import capacity_of, for_the_price, share_of_price
from rooftune.tuning.configuration import difference
from rooftune.tuning.forecast import Forecast
from rooftune.tuning.goal import THROUGHPUTS, constraint_broken, slo_broken
from rooftune.tuning.guided.first_on_server import with_highest_limits
from rooftune.tuning.guided.log_facts import recommended, without_repeats
from rooftune.tuning.guided.search_plan import SearchPlan
from rooftune.tuning.plan import CapacityFigures, Goal, Plan
from rooftune.tuning.replay import try_again
from rooftune.tuning.trial_load import trial_load
from rooftune.tuning.verdicts import audit_reason
from rooftune.vllm_rules.config import EngineConfig, FlagValue

TWO_SIDED = 1.96
LEAST_ERROR = 0.005
ERROR = 0.02
"""Standard error of ln(objective) of a trial that does not state one."""


@dataclass(frozen=True)
class Progress:
    """A guided search after some trials. Everything follows from the fields."""

    plan: Plan
    search: SearchPlan
    results: tuple[TrialResult, ...]
    """In the order in which they ran."""
    budget_left_s: float | None = None
    trial_s: float | None = None
    """Real seconds that the next trial is expected to take."""
    known: Outlook | None = None
    """The outlook after these trials, where it was worked out before. It does not depend on the budget."""

    @classmethod
    def of(
        cls,
        plan: Plan,
        results: Sequence[TrialResult],
        budget_left_s: float | None = None,
        trial_s: float | None = None,
    ) -> Progress:
        """The search of a plan that has one."""
        assert plan.search is not None
        ordered = tuple(sorted(results, key=lambda r: r.position))
        search = without_spoilt(without_repeats(plan.search, ordered), plan, ordered)
        return cls(plan, search, ordered, budget_left_s, trial_s)

    @cached_property
    def checks(self) -> Checks:
        """The checks of answers so far."""
        return Checks.of(self.plan, self.results)

    @cached_property
    def outcomes(self) -> list[Outcome]:
        """The trials as the search takes them. A trial that is not trusted and may run again is no outcome."""
        known = {option.id for option in self.search.usable}
        tries: Counter[tuple[str, int]] = Counter()
        found = []
        for result in self.results:
            if result.candidate not in known:
                continue
            if result.status == "measured" and not result.believed:
                tries[result.candidate, result.seed] += 1
                if try_again(result, tries[result.candidate, result.seed]):
                    continue
            found.append(self._outcome(result))
        return found

    @cached_property
    def problem(self) -> Problem:
        """The problem, with what is left of the budget."""
        goal, trial_s, left = self.plan.objective, self.trial_s, self.budget_left_s
        budget = None if left is None or trial_s is None else left + trial_s * len(self.outcomes)
        return self.search.problem(
            goal.metric,
            goal.seed,
            lower_is_better=goal.direction == "lower",
            simulated=self.plan.target.simulated,
            budget_s=budget,
            trial_s=trial_s,
            measured=[o.log_value for o in self.outcomes if o.log_value is not None and o.purpose == "search"],
            on_running=self.on_running_server,
        )

    @cached_property
    def on_running_server(self) -> frozenset[str]:
        """Options that the server of the last trial can be switched to. Their trials cost no start."""
        last = self.results[-1] if self.results else None
        if last is None or last.status != "measured" or last.switchable is None:
            return frozenset()
        starter = last.switched.server_of.rpartition("/")[0] if last.switched is not None else last.candidate
        if starter not in {option.id for option in self.search.options}:
            return frozenset()
        base, started, length = self.plan.candidates[0].config, self.config(starter), last.effective.max_model_len
        found = [
            option.id
            for option in self.search.usable
            if lowered(last.switchable, length, started, base.with_change(option.change)) is not None
        ]
        return frozenset(found)

    @cached_property
    def step(self) -> Step:
        """The search's own answer, with the trials that it owes before the confirmation.

        Those are the user's own candidates, and the best configuration with unchanged answers where the winner changes
        them. The search leaves room for them in the budget.
        """
        if self.confirming:
            return next_step(self.problem, self.outcomes, self.look)
        owed = self._owed()
        found = self._with_room_for(len(owed) + self.same_answers_open)
        if found.found is None:
            return self._on_one_server(found)
        if self._changes_answers(found) and self.same_answers_open:
            why = "the best configuration that leaves the answers unchanged, to compare with the winner"
            owed.append(Measure(self.same_answers, "search", self.plan.objective.seed, why))
        if owed and self._affords(owed[0]):
            return Step(owed[0], None, None, found.incumbent, owed[0].why, found.outlook)
        return next_step(self.problem, self.outcomes, self.look)

    def _on_one_server(self, step: Step) -> Step:
        """The step, or one whose server can serve the option of this step as well."""
        chosen, target = step.next, self.plan.target
        if chosen is None or step.incumbent is None or chosen.option in self.on_running_server:
            return step
        if target.engine != "vllm" or not supported(self.config(chosen.option), target.engine_version):
            return step
        length = next((r.effective.max_model_len for r in self.results if r.status == "measured"), None)
        first = with_highest_limits(chosen, step.outlook, self.config, length)
        return step if first == chosen else replace(step, next=first, reason=first.why)

    def _with_room_for(self, trials: int) -> Step:
        """The step of a search whose budget is smaller by some trials."""
        problem = self.problem
        if problem.rules.budget_s is not None and self.trial_s is not None:
            less = problem.rules.budget_s - self.trial_s * trials
            problem = replace(problem, rules=replace(problem.rules, budget_s=less))
        return next_step(problem, self.outcomes, self.look)

    def _affords(self, owed: Measure) -> bool:
        """Whether the budget allows one more trial, and the confirmation after it where it allows one at all.

        It keeps one trial to spare, because trials may take longer than expected or have to run again.
        """
        if self.budget_left_s is None or self.trial_s is None:
            return True
        kept = confirmation_s(self.problem) if confirms(self.problem) else 0.0
        spare = self.problem.option(self.problem.baseline).seconds if kept else 0.0
        return self.budget_left_s >= self.problem.option(owed.option).seconds + kept + spare

    def _changes_answers(self, step: Step) -> bool:
        return step.found is not None and self.problem.option(step.found.winner).changes_outputs

    def _owed(self) -> list[Measure]:
        """A trial of each candidate of the user, and of what the engine's log recommends, that has none.

        Alone or in a combination: the best option with it.
        """
        tried = {o.option for o in self.outcomes}
        mean = self.look.posterior.mean
        wanted = [(f"your candidate {name}", name, self.change_of(name)) for name in self.search.own]
        advice = recommended(self.search, self.results)
        wanted += [(f"the engine's log recommends {flag}={value}", "", {flag: value}) for flag, value in advice.items()]
        found = []
        for why, name, change in wanted:
            ids = [o.id for o in self.search.with_flags(change)]
            if not ids or tried & set(ids):
                continue
            best = max(ids, key=lambda id: mean[self.problem.at(id)])
            words = why if best == name else f"{why}, with what is best beside it: {best}"
            found.append(Measure(best, "search", self.plan.objective.seed, words))
        return found

    def change_of(self, name: str) -> dict[str, FlagValue | None]:
        """What a candidate changes from the baseline."""
        return difference(self.config(name), self.config(self.problem.baseline))

    @property
    def confirming(self) -> bool:
        """Whether the confirmation has begun."""
        return any(o.purpose == "confirm" for o in self.outcomes)

    @property
    def same_answers_open(self) -> bool:
        """Whether the best configuration that leaves the answers unchanged has no trial, although others have."""
        place = self.problem.at(self.same_answers)
        return bool(self.look.measured.any() and self.look.open[place])

    @cached_property
    def same_answers(self) -> str:
        """The best option that leaves the answers as the baseline gives them; a measured one where it is as good."""
        look, options = self.look, self.problem.options
        mean = look.posterior.mean
        same = [i for i, o in enumerate(options) if not o.changes_outputs and (look.starts[i] > 0.5 or i == 0)]
        best = max(same, key=lambda i: (mean[i], -i))
        close = [i for i in same if look.measured[i] and mean[i] >= mean[best] - self.problem.rules.equal]
        return options[max(close, key=lambda i: mean[i]) if close else best].id

    def without_budget(self) -> Progress:
        """The same trials as if the budget had no end, with the same outlook."""
        return replace(self, budget_left_s=None, trial_s=None, known=self.look)

    @cached_property
    def look(self) -> Outlook:
        """What predictions and the trials of the search say together."""
        if self.known is not None:
            return replace(self.known, problem=self.problem)
        return outlook(self.problem, of_search(self.outcomes))

    @property
    def chance(self) -> float:
        """Chance that something unmeasured is better than the incumbent by the smallest effect that matters."""
        return chance_left(self.look)

    def order(self, forecast: Forecast | None) -> TrialOrder | None:
        """The next trial; None when everything is done."""
        following = self.step.next
        if following is None:
            return None
        name = following.option
        config = self.config(name)
        against = self.step.incumbent if following.purpose == "search" else self.problem.baseline
        return TrialOrder(
            candidate=name,
            n=max((r.n for r in self.results if r.candidate == name), default=0) + 1,
            position=max((r.position for r in self.results), default=-1) + 1,
            config=config,
            seed=following.seed,
            phase=self.plan.candidate(name).phase,
            against=None if against == name else against,
            why=following.why,
            shares_server=following.purpose == "search" and self.plan.target.engine == "vllm",
            load=self._load(following, forecast),
        )

    def config(self, name: str) -> EngineConfig:
        """The whole configuration of an option."""
        return self.plan.candidate(name).config

    def of_purpose(self, name: str, purpose: Purpose) -> list[TrialResult]:
        """Believed trials of an option with this purpose."""
        goal = self.plan.objective
        return [r for r in self.results if r.candidate == name and r.believed and purpose_of(goal, r.seed) == purpose]

    def _outcome(self, result: TrialResult) -> Outcome:
        goal = self.plan.objective
        purpose = purpose_of(goal, result.seed)
        seconds = self.trial_s or self.search.start_s + self.search.load_s
        value, failure, error = None, "", ERROR
        if result.status == "failed":
            failure = result.failure or "the server did not start"
        elif not result.believed:
            failure = audit_reason(result)
        else:
            failure = constraint_broken(goal, [result]) or self.checks.why_not(self.config(result.candidate))
        if not failure and goal.by_capacity:
            figures = capacity_of([result])
            if figures is None:
                failure = "its trial does not show its capacity"
            elif figures.estimate <= 0:
                failure = f"its capacity is 0: {figures.sentence}"
            else:
                carried = result.metrics.get(goal.metric, 0.0) if goal.at_capacity else figures.estimate
                failure = "" if carried > 0 else f"its trial has no value of {goal.metric}"
                value, error = math.log(carried) if carried > 0 else None, _error(figures)
        elif not failure:
            measured = result.metrics.get(goal.metric, 0.0)
            value = math.log(measured) if measured > 0 else None
            failure = "" if measured > 0 else f"its trial has no value of {goal.metric}"
        if value is not None and goal.direction == "lower":
            value = -value
        bound = value is not None and _load_bound(goal, result)
        return Outcome(result.candidate, value, error, seconds, failure, purpose, result.seed, bound)

    def _load(self, following: Measure, forecast: Forecast | None) -> TrialLoad | None:
        if forecast is None or not self.plan.objective.by_capacity:
            return None
        measured = {r.candidate for r in self.results} & {option.id for option in self.search.usable}
        configs = {name: self.config(name) for name in {*measured, following.option}}
        beside = None
        if following.purpose == "search" and self.step.incumbent not in (None, following.option):
            beside = self._bar(following.option, self.step.incumbent)
        return trial_load(forecast, following.option, configs, self.results, beside)

    def _bar(self, option: str, against: str) -> CapacityFigures | None:
        """The capacity that makes an option as good as another one."""
        goal = self.plan.objective
        factor = share_of_price(goal, self.config(option)) / share_of_price(goal, self.config(against))
        return for_the_price(capacity_of([r for r in self.results if r.candidate == against]), factor)


def first_trials(plan: Plan) -> list[Measure]:
    """The trials that come first: the baseline, and the next one if the baseline is as predicted."""
    progress = Progress.of(plan, [])
    baseline = progress.step.next
    predicted = progress.search.options[0].predicted
    if baseline is None or not predicted:
        return [baseline] if baseline is not None else []
    log = progress.problem.option(baseline.option).predicted_log
    following = next_step(progress.problem, [Outcome(baseline.option, log, ERROR)]).next
    return [baseline, *([following] if following is not None else [])]


def ending(progress: Progress) -> str:
    """Where a search is or why it ended, in a sentence without a full stop."""
    step = progress.step
    words = [step.found.reason if step.found is not None else step.reason]
    if step.incumbent is not None:
        words.append(f"best of the search {step.found.winner if step.found is not None else step.incumbent}")
        words.append(f"chance that something clearly better is left {percent(progress.chance)}")
    if step.found is not None and step.found.simpler is not None:
        words.append(step.found.simpler.words)
    if step.confirmation is not None:
        words.append(f"confirmation: {step.confirmation.reason}; recommended {step.confirmation.recommended}")
    return "; ".join(words)


def purpose_of(goal: Goal, seed: int) -> Purpose:
    """What a trial is for: those of the confirmation have seeds that the search never uses."""
    return "confirm" if is_fresh(seed, goal.seed) else "search"


def _load_bound(goal: Goal, result: TrialResult) -> bool:
    """Whether the trial served its whole load, so that no configuration can have more throughput under it."""
    if result.overloaded:
        return False
    kept = goal.metric == "request_goodput" and not slo_broken(goal, [result])
    return goal.metric in THROUGHPUTS or kept


def _error(figures: CapacityFigures) -> float:
    """Standard error of ln(capacity) that a trial states."""
    if figures.low <= 0 or figures.high <= figures.low:
        return ERROR
    return max(math.log(figures.high / figures.low) / (2 * TWO_SIDED), LEAST_ERROR)
