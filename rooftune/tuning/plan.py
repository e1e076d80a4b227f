"""What will be tried and why: candidates with hypothesis, gates and expected effect. Content of plan.json."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from rooftune.engines.target import Target
from rooftune.vllm_rules.config import EngineConfig

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
]
"""``outdone``: better than the incumbent, but an alternative of the same group is better still and was applied.
``more trials needed``: the trials that were run can neither tell a difference nor rule one out."""


class Objective(BaseModel):
    """What is to be made better, and under which promises. Derived from the workload."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    metric: str = "output_throughput"
    direction: Literal["higher", "lower"] = "higher"
    saturated_metric: str = Field(
        default="output_throughput",
        description="compared instead when the server is overloaded, where latencies only tell how long the load ran",
    )
    slo: dict[str, float] = Field(default_factory=dict, description="limits of one request: {'ttft_ms': 500.0}")
    slo_share: float = Field(default=0.99, description="share of requests that must meet all of them")
    asked_rate_per_s: float | None = None
    seed: int = 0


class Gate(BaseModel):
    """A rule that says why a candidate cannot or need not run here."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    id: str
    verdict: Literal["open", "already on", "not supported", "no artefact", "trap"]
    reason: str


class Effect(BaseModel):
    """What a change is expected to do to the objective, as a ratio to the configuration it is applied to."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    metric: str
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    sentence: str
    source: str = Field(description="'simulator', or the literature")


class Candidate(BaseModel):
    """A configuration with a hypothesis."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    name: str
    phase: str
    change: dict[str, Any] = Field(description="flags set on top of what it is applied to; None removes a flag")
    on: Literal["incumbent", "baseline"] = "incumbent"
    hypothesis: str
    relieves: str = Field(description="the bottleneck: weights, kv, compute, overhead, queueing, none")
    gates: list[Gate] = Field(default_factory=list)
    expected: Effect | None = None
    config: EngineConfig = Field(description="as planned on the baseline; on the incumbent it is rendered anew")
    command: str
    group: str = Field(default="", description="alternatives of one group are measured side by side; one may win")
    changes_output: bool = Field(default=False, description="generated text may differ: check quality before use")
    notes: list[str] = Field(default_factory=list)

    @property
    def runnable(self) -> bool:
        """No gate is closed ('trap' only warns)."""
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
    objective: Objective = Objective()
    predicted: dict[str, dict[str, float]] = Field(
        default_factory=dict, description="candidate -> metric -> value that the simulator predicts on the baseline"
    )
    predicted_error: float | None = Field(default=None, description="relative error band of the predictions")

    def candidate(self, id: str) -> Candidate:
        """The candidate of that id. Raises KeyError."""
        for found in self.candidates:
            if found.id == id:
                return found
        raise KeyError(id)


class Interval(BaseModel):
    """Estimate of a ratio candidate / incumbent with its interval."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    estimate: float
    low: float
    high: float
    level: float = 0.95


class Verdict(BaseModel):
    """What the evidence says of one candidate."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    candidate: str
    phase: str
    verdict: VerdictName
    reason: str
    against: str | None = Field(default=None, description="the incumbent it was compared with")
    ratios: dict[str, Interval] = Field(default_factory=dict, description="metric -> candidate / incumbent")
    trials: list[int] = Field(default_factory=list)
    against_trials: list[int] = Field(default_factory=list)
    stopped_because: str = ""
    metric: str = Field(default="", description="the metric that decided")
    flags: dict[str, Any] = Field(default_factory=dict, description="flags it ran with")
    command: str = Field(default="", description="command line it ran with")


class Decision(BaseModel):
    """The outcome of a run. Content of decision.json."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    format: int = 1
    objective: str
    incumbent: str
    incumbent_flags: dict[str, Any]
    command: str
    verdicts: list[Verdict]
    incumbents: list[str] = Field(description="the incumbent after each phase's candidate, in order of the run")
    first_sentence: str
    budget_spent_s: float = 0.0
    overloaded: bool = False
    served_rate_per_s: float | None = None
    asked_rate_per_s: float | None = None
    complete: bool = True
