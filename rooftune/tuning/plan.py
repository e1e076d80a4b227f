"""What will be tried and why: candidates with hypothesis, gates and expected effect. Content of plan.json."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from rooftune.capacity.result import Replicas
from rooftune.engines.target import Target
from rooftune.formatting import change, change_range
from rooftune.tuning.configuration import command_text
from rooftune.tuning.guided.search_plan import PlannedOption, SearchPlan
from rooftune.vllm_rules.budget import MemoryBudget
from rooftune.vllm_rules.config import EngineConfig, FlagValue
from rooftune.vllm_rules.start.context import FittedContext
from rooftune.vllm_rules.start.startup import Refusal
from rooftune.workloads.spec import CAPACITY, Constraint

VerdictName = Literal[
    "applied",
    "no gain",
    "no measurable difference",
    "already on",
    "not supported",
    "failed",
    "not trusted",
    "not run",
    "outdone",
    "more trials needed",
    "spoilt",
]
"""``outdone``: better than the incumbent, but another alternative of the same group was applied.
``more trials needed``: the trials neither show a difference nor rule one out.
``spoilt``: a check found that it spoils the answers."""


class Goal(BaseModel):
    """What the search optimises and which limits it keeps. Derived from the workload."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    metric: str = "output_throughput"
    direction: Literal["higher", "lower"] = "higher"
    saturated_metric: str = Field(
        default="output_throughput",
        description="compared when the server is overloaded, because latencies then depend on how long the load ran",
    )
    slo: dict[str, float] = Field(default_factory=dict, description="limits of one request: {'ttft_ms': 500.0}")
    slo_share: float = Field(default=0.99, description="share of requests that must meet all of them")
    asked_rate_per_s: float | None = None
    constraints: list[Constraint] = Field(
        default_factory=list, description="bounds on metrics; a configuration outside of one cannot win"
    )
    seed: int = 0
    at_capacity: bool = Field(
        default=False, description="trials measure the capacity, and the metric is that of a server at its capacity"
    )

    @property
    def by_capacity(self) -> bool:
        """Whether the requests/s within the SLO decide, or the cost of a token, which follows from them."""
        return self.metric == CAPACITY or self.at_capacity


class Gate(BaseModel):
    """A rule that explains why a candidate cannot or need not run here."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    id: str
    verdict: Literal["open", "already on", "not supported", "no artefact", "trap"]
    reason: str


class ExpectedEffect(BaseModel):
    """The expected effect of a change, as a ratio to the configuration that it is applied to."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    metric: str
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    sentence: str
    source: str = Field(description="'simulator', or a publication")


class QualityRules(BaseModel):
    """How the answers of candidates are checked."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    accept_loss: bool = Field(default=False, description="a configuration that spoils the answers may win")
    command: str | None = Field(default=None, description="the user's own evaluation of a server, run in a shell")
    value: str | None = Field(default=None, description="where its JSON has the value")


class Candidate(BaseModel):
    """A configuration with a hypothesis."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    id: str = Field(pattern=r"^[a-z0-9][a-z0-9._+-]*$")
    name: str
    phase: str
    change: dict[str, FlagValue | None] = Field(description="what it changes; None removes a flag")
    on: Literal["incumbent", "baseline"] = "incumbent"
    hypothesis: str
    relieves: str = Field(description="the bottleneck: weights, kv, compute, overhead, queueing, none")
    gates: list[Gate] = Field(default_factory=list)
    expected: ExpectedEffect | None = None
    config: EngineConfig = Field(description="applied to the baseline; the search applies the change to the incumbent")
    command: str
    group: str = Field(
        default="", description="alternatives of a group are measured side by side; at most one is applied"
    )
    changes_output: bool = Field(
        default=False, description="the generated text may differ, so its quality needs a check"
    )
    notes: list[str] = Field(default_factory=list)

    @property
    def runnable(self) -> bool:
        """No gate is closed (a trap only warns)."""
        return all(g.verdict in ("open", "trap") for g in self.gates)


class Plan(BaseModel):
    """All candidates of a run, in order; the first is the baseline."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    format: int = 1
    workload: str
    target: Target
    playbook: str
    candidates: list[Candidate]
    phases: list[str] = Field(default_factory=list)
    objective: Goal = Goal()
    predicted: dict[str, dict[str, float]] = Field(
        default_factory=dict, description="candidate -> metric -> value that the simulator predicts on the baseline"
    )
    predicted_error: float | None = Field(
        default=None, description="relative error of the predictions: 0.1 = within 10 %"
    )
    unmodelled: list[str] = Field(
        default_factory=list, description="flags of the baseline that the predictions leave out, with the reason"
    )

    context: FittedContext | None = Field(
        default=None, description="the context of the baseline, where rooftune set it because the model's does not fit"
    )
    memory: MemoryBudget | None = Field(default=None, description="memory of one GPU with the baseline")
    refusal: Refusal | None = Field(default=None, description="why the baseline would not start")
    search: SearchPlan | None = Field(
        default=None, description="what the search may measure; None = the ladder of the candidates"
    )
    quality: QualityRules = QualityRules()
    splits_prompts: bool = Field(
        default=False, description="the workload's prompts have a part that only a confirmation sends"
    )

    @property
    def blocked(self) -> bool:
        """Whether the baseline is sure not to start, so that nothing can be measured."""
        return self.refusal is not None and (self.target.simulated or not self.refusal.estimated)

    def candidate(self, id: str) -> Candidate:
        """The candidate with this id, or the option of the search.

        Raises:
            KeyError: there is neither.
        """
        for found in self.candidates:
            if found.id == id:
                return found
        option = self.search.option(id) if self.search is not None else None
        if option is None:
            raise KeyError(id)
        return self._as_candidate(option)

    def with_measured(self, ids: Iterable[str]) -> Plan:
        """The plan with the options of the search that were measured among its candidates."""
        known = {c.id for c in self.candidates}
        more = [i for i in dict.fromkeys(ids) if i not in known and self.search is not None and self.search.option(i)]
        return self.model_copy(update={"candidates": [*self.candidates, *map(self.candidate, more)]})

    def _as_candidate(self, option: PlannedOption) -> Candidate:
        config = self.candidates[0].config.with_change(option.change)
        return Candidate(
            id=option.id,
            name=option.name[:1].upper() + option.name[1:],
            phase=option.phase,
            change=option.change,
            on="baseline",
            hypothesis="By the predictions it is among the best configurations of the space.",
            relieves="none",
            expected=self._expected(option),
            config=config,
            command=command_text(config),
            changes_output=option.changes_outputs,
        )

    def _expected(self, option: PlannedOption) -> ExpectedEffect | None:
        base = self.search.options[0].predicted if self.search is not None else None
        if not base or not option.predicted:
            return None
        ratio, metric = option.predicted / base, self.objective.metric
        sentence = f"{metric.replace('_', ' ')} {change(ratio)} compared with the baseline"
        return ExpectedEffect(metric=metric, ratio=ratio, sentence=sentence, source="simulator")


class Interval(BaseModel):
    """The ratio candidate / incumbent with its interval."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    estimate: float
    low: float
    high: float
    level: float = 0.95

    @property
    def as_change(self) -> str:
        """As a change in per cent: '−45 % (−47 to −43 %)'."""
        return change_range(self.estimate, self.low, self.high)


class AtRate(BaseModel):
    """The SLO at one rate, measured."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    rate_per_s: float
    attainment: float = Field(description="share of the requests within every limit")
    requests: int


class CapacityFigures(BaseModel):
    """Requests/s of one server within the SLO, from all believed trials of a configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    estimate: float = Field(description="0 = even one request at a time breaks the SLO")
    low: float
    high: float
    level: float = 0.95
    limited_by: str = Field(default="", description="a limit of the SLO (such as ttft_ms), queue, or errors")
    attainment: list[AtRate] = Field(default_factory=list, description="every load of its trials, by rate")
    output_tokens: float | None = Field(default=None, description="mean output tokens that one arrival brings")
    sentence: str = Field(default="", description="where it is 0: the limit that breaks, and by how much")


class Verdict(BaseModel):
    """What the trials show about one candidate."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    candidate: str
    phase: str
    verdict: VerdictName
    reason: str
    against: str | None = Field(default=None, description="the configuration that it was compared with")
    ratios: dict[str, Interval] = Field(default_factory=dict, description="metric -> candidate / incumbent")
    trials: list[int] = Field(default_factory=list)
    against_trials: list[int] = Field(default_factory=list)
    stopped_because: str = ""
    metric: str = Field(default="", description="the metric that decided")
    capacity: CapacityFigures | None = Field(default=None, description="where the objective is the capacity")
    lacks_artifact: bool = Field(default=False, description="not supported because an artefact is missing")
    flags: dict[str, FlagValue] = Field(default_factory=dict, description="the flags that it ran with")
    command: str = Field(default="", description="the command line that it ran with")
    predicted: Interval | None = Field(
        default=None, description="its objective relative to the baseline, where it was not measured"
    )


class KnobEffect(BaseModel):
    """What one knob of the recommended configuration is worth."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    knob: str
    value: str
    undone: str = Field(description="the baseline's value, to which it is set back")
    option: str | None = Field(default=None, description="the configuration with the knob set back")
    ratio: Interval | None = None
    source: Literal["measured", "predicted"] = "predicted"
    sentence: str


class PhaseBest(BaseModel):
    """The best configuration that uses the knobs of a phase and of those before."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    phase: str
    option: str
    ratio: Interval = Field(description="its objective relative to the baseline")
    measured: bool


class FrontRow(BaseModel):
    """A configuration that no other beats in both its capacity and its TPOT there."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    option: str
    capacity: float = Field(description="requests/s by the model and the trials together")
    tpot_ms: float = Field(description="predicted median TPOT at that rate")
    measured: bool
    changes_outputs: bool


class SearchSummary(BaseModel):
    """How a search over the whole space went."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    method: str
    space: int = Field(description="configurations that can start and differ")
    predicted: int = Field(description="of them, those that the simulator judged")
    measured: int
    reason: str = Field(description="why it ended, or where it is")
    chance_of_better: float | None = Field(
        default=None, description="chance that something unmeasured is better by the smallest effect that matters"
    )
    winner: str = Field(default="", description="of the search, before the confirmation")
    confirmation: str = Field(default="", description="what the fresh trials say, or still need")
    same_answers: str = Field(default="", description="the best configuration that leaves the answers unchanged")
    same_answers_ratio: Interval | None = Field(default=None, description="relative to the baseline")
    same_answers_measured: bool = False
    left_out: str = Field(default="", description="changes of the best option that the winner does not make, and why")
    knobs: list[KnobEffect] = Field(default_factory=list)
    phases: list[PhaseBest] = Field(default_factory=list, description="the ladder of the phases, by the model")
    front: list[FrontRow] = Field(default_factory=list, description="capacity against TPOT, the lowest TPOT first")


class Decision(BaseModel):
    """The outcome of a run. Content of decision.json."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    format: int = 1
    objective: str
    incumbent: str
    incumbent_flags: dict[str, FlagValue]
    command: str
    verdicts: list[Verdict]
    incumbents: list[str] = Field(description="the incumbent after each phase's candidate, in order of the run")
    first_sentence: str
    budget_spent_s: float = 0.0
    overloaded: bool = False
    served_rate_per_s: float | None = None
    asked_rate_per_s: float | None = None
    capacity: CapacityFigures | None = Field(default=None, description="of the incumbent, if the capacity decides")
    replicas: Replicas | None = Field(
        default=None, description="servers with the incumbent for the asked rate; rows once the run has ended"
    )
    usd_per_hour: float | None = Field(default=None, description="price of one server")
    price_source: str = ""
    usd_per_million_output_tokens: float | None = Field(default=None, description="of one server at its capacity")
    complete: bool = True
    search: SearchSummary | None = Field(default=None, description="where the whole space was searched")
