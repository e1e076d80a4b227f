"""The state of a search while results are replayed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from rooftune.evidence.records.trial import TrialResult
from rooftune.trial_order import TrialLoad, TrialOrder
from rooftune.tuning.answer_quality import Checks
from rooftune.tuning.capacity_figures import capacity_of, for_the_price, share_of_price
from rooftune.tuning.forecast import Forecast
from rooftune.tuning.judge import Ruling
from rooftune.tuning.plan import CapacityFigures, Plan, Verdict
from rooftune.tuning.trial_load import trial_load
from rooftune.vllm_rules.config import EngineConfig


@dataclass
class Search:
    """The state while results are replayed."""

    plan: Plan
    results: list[TrialResult]
    budget_left_s: float | None
    trial_cost_s: float
    incumbent: str = "baseline"
    config: EngineConfig = field(default_factory=lambda: EngineConfig(model=""))
    configs: dict[str, EngineConfig] = field(default_factory=dict)
    used: dict[str, int] = field(default_factory=dict)
    """How many results of each candidate the slots so far have used."""
    closing: TrialResult | None = None
    """The incumbent's last trial, if it also opens the next block."""
    offset: int = 0
    """Which of the two seeds the next block begins with."""
    verdicts: list[Verdict] = field(default_factory=list)
    incumbents: list[str] = field(default_factory=list)
    seen: dict[str, list[TrialResult]] = field(default_factory=dict)
    """Believed trials up to this point of the replay."""
    full: bool = False
    """Compute the ratios of all metrics, not only of the one that decides."""
    forecast: Forecast | None = None
    """Says at which rate a trial loads its server; None = the load of the workload file."""
    aside: Sequence[TrialResult] = ()
    """Trials of the run that no verdict rests on. New trials are numbered after them too."""
    stopped: str = ""
    """Why the search cannot go on; empty while it can."""

    @cached_property
    def checks(self) -> Checks:
        """The checks of answers."""
        return Checks.of(self.plan, self.results)

    def spoils_answers(self, candidate: str) -> str:
        """Why a candidate cannot win, as its configuration spoils the answers; empty where it can."""
        return self.checks.why_not(self.configs[candidate])

    def of(self, candidate: str) -> list[TrialResult]:
        """All results of one candidate, in order."""
        return self._by_candidate.get(candidate, [])

    @cached_property
    def _by_candidate(self) -> dict[str, list[TrialResult]]:
        found: dict[str, list[TrialResult]] = {}
        for result in sorted(self.results, key=lambda r: r.n):
            found.setdefault(result.candidate, []).append(result)
        return found

    def peek(self, candidate: str) -> TrialResult | None:
        """The candidate's next result that no slot has used; it stays unused."""
        found, place = self.of(candidate), self.used.get(candidate, 0)
        return found[place] if place < len(found) else None

    def take(self, candidate: str) -> TrialResult | None:
        """The candidate's next result that no slot has used; it is then used."""
        found = self.peek(candidate)
        if found is not None:
            self.used[candidate] = self.used.get(candidate, 0) + 1
            if found.believed:
                self.seen.setdefault(candidate, []).append(found)
        return found

    def others(self, *these: str) -> list[list[TrialResult]]:
        """Believed trials so far of all other configurations that have at least two."""
        return [trials for name, trials in self.seen.items() if name not in these and len(trials) > 1]

    @property
    def pending(self) -> bool:
        """Whether some results belong to later slots, so the decision at this point was taken before."""
        return sum(self.used.values()) < len(self.results)

    def affords(self, trials: int) -> bool:
        """Whether the budget allows this many more trials."""
        return self.budget_left_s is None or self.budget_left_s >= trials * self.trial_cost_s

    def order(self, candidate: str, seed_offset: int, why: str, against: str | None) -> TrialOrder:
        """The order for the candidate's next trial."""
        made = [*self.results, *self.aside]
        return TrialOrder(
            candidate=candidate,
            n=max((r.n for r in made if r.candidate == candidate), default=0) + 1,
            position=max((r.position for r in made), default=-1) + 1,
            config=self.configs[candidate],
            seed=self.plan.objective.seed + seed_offset,
            phase=self.plan.candidate(candidate).phase,
            against=against,
            why=why,
            load=self._load(candidate, against),
        )

    def _load(self, candidate: str, against: str | None) -> TrialLoad | None:
        if self.forecast is None or not self.plan.objective.by_capacity:
            return None
        beside = self.seen.get(against, []) if against is not None and against != candidate else []
        bar = None if against is None else self.bar(candidate, against, beside)
        return trial_load(self.forecast, candidate, self.configs, self.results, bar)

    def bar(self, candidate: str, against: str, trials: list[TrialResult]) -> CapacityFigures | None:
        """The capacity that makes the candidate as good as another configuration with these trials."""
        goal = self.plan.objective
        factor = share_of_price(goal, self.configs[candidate]) / share_of_price(goal, self.configs[against])
        return for_the_price(capacity_of(trials), factor)


@dataclass
class Block:
    """One group against the incumbent."""

    incumbent: list[TrialResult] = field(default_factory=list)
    members: dict[str, list[TrialResult]] = field(default_factory=dict)
    dropped: dict[str, Ruling] = field(default_factory=dict)
    """Members that failed or are not trusted, with the reason."""
