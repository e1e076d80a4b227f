"""The result of a gate: content of gate.json, the answer in a sentence, the exit code."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from rooftune.formatting import change, number, percent
from rooftune.gate.loss import Finding, GateVerdict
from rooftune.tuning.metrics import metric_name, unit_of

GATE_JSON = "gate.json"
EXIT_CODES: dict[GateVerdict, int] = {"no loss": 0, "loss": 1, "not enough evidence": 3}


class GateSide(BaseModel):
    """One of the two sides."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    run: str = Field(description="<workload>/<run_id>")
    configuration: str
    engine_version: str
    flags: dict[str, object]
    value: float | None = Field(default=None, description="geometric mean of the metric over the trusted trials")
    trials: int = 0
    runs: int = Field(default=1, description="of a history: earlier runs, whose median this is")


class GateResult(BaseModel):
    """The verdict with everything that a reader needs to check it."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    format: int = 1
    verdict: GateVerdict
    exit_code: int
    sentence: str
    finding: Finding | None = Field(default=None, description="None = there is no earlier run")
    metric: str = Field(description="the metric that decides")
    new: GateSide
    reference: GateSide | None = None
    workload: str
    workload_hash: str
    engine: str
    model: str
    gpu: str
    simulated: bool
    design: str = Field(description="beside, apart or given: how the trials of both sides were made")
    notes: list[str] = Field(default_factory=list, description="what limits the verdict")
    seconds: float = Field(default=0.0, description="real seconds of all trials")
    run: str = Field(description="run folder of the new trials")

    @property
    def title(self) -> str:
        """The gate's name in lists of checks."""
        return f"{self.workload} on {self.gpu or self.engine}"


def sentence_of(finding: Finding) -> str:
    """The verdict in one sentence."""
    name, bound = metric_name(finding.metric), percent(finding.max_loss)
    if finding.ratio is None:
        return f"{_HEADS[finding.verdict].format(bound=bound)}: {finding.reason}."
    interval = f"{change(finding.ratio.low).removesuffix(' %')} to {change(finding.ratio.high)}"
    level = percent(finding.ratio.level, 3)
    measured = f"{name} {change(finding.ratio.estimate)} ({level} interval {interval})"
    return f"{_HEADS[finding.verdict].format(bound=bound)}: {measured}, {finding.reason}."


_HEADS: dict[GateVerdict, str] = {
    "no loss": "No loss beyond {bound}",
    "loss": "A loss beyond {bound}",
    "not enough evidence": "Not enough evidence about a loss of {bound}",
}


def value_words(side: GateSide, metric: str) -> str:
    """The side's level of the metric with its unit."""
    return "" if side.value is None else f"{number(side.value)} {unit_of(metric)}"
