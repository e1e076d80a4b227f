"""What a check of answers found: the verdict on a candidate, and the floor that it was compared with.

Content of quality.json in the trial folder of a candidate, and of floor.json in that of the baseline.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

QualityName = Literal["equal", "changed within the threshold", "spoilt", "not judged"]
MeasureName = Literal[
    "top-1 disagreement", "KL divergence", "ln perplexity ratio", "ln length ratio", "lost ends", "not greedy",
    "greedy difference",
]  # fmt: skip


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Measure(_Strict):
    """One difference between two servers' answers: the mean over prompts, and what exceeds the floor."""

    name: MeasureName
    value: float = Field(description="mean over prompts: candidate compared with baseline")
    floor: float = Field(description="the same of the baseline compared with itself")
    low: float = Field(description="lower end of the interval of value − floor, paired by prompt")
    high: float
    threshold: float = Field(description="excess above which the answers are spoilt")

    @property
    def excess(self) -> float:
        """What exceeds the floor."""
        return self.value - self.floor


class Evaluation(_Strict):
    """The user's own evaluation of two servers. Relative to the baseline's value; absolute where that is 0."""

    command: str
    baseline: float
    candidate: float
    low: float = Field(description="lower end of the interval of the loss, relative to the baseline's value")
    high: float
    threshold: float = Field(description="relative loss above which the answers are spoilt")
    items: int = Field(default=0, description="items that were paired; 0 = the command gives one value")
    lower_is_better: bool = False

    @property
    def loss(self) -> float:
        """Relative loss; negative where the candidate is better."""
        change = (self.candidate - self.baseline) / (abs(self.baseline) or 1.0)
        return change if self.lower_is_better else -change


class EvaluationRun(_Strict):
    """What the user's own evaluation gave for one server."""

    values: list[float] = Field(description="items, or repeated values of one number")
    paired: bool = Field(description="values are items, so that two servers can be compared item by item")
    standard_error: float | None = Field(default=None, description="as the command states it beside one number")


class Floor(_Strict):
    """The baseline's answers, and how much the baseline differs from itself. Content of floor.json."""

    format: int = 1
    reason: str = Field(default="", description="why nothing can be judged; empty where it can")
    prompts: int = 0
    tokens: int = Field(default=0, description="tokens of the answers that were scored")
    values: dict[str, float] = Field(default_factory=dict, description="measure -> baseline compared with itself")
    evaluation: EvaluationRun | None = None
    evaluation_error: str = Field(default="", description="why the user's evaluation of the baseline gave no value")
    simulated: bool = False
    seconds: float = 0.0


class Quality(_Strict):
    """The verdict on a candidate's answers. Content of quality.json."""

    format: int = 1
    verdict: QualityName
    reason: str
    key: str = Field(description="configurations with equal keys give the same answers, so they share the verdict")
    model_key: str = Field(
        default="", description="the key without speculative decoding: the model gives the same probabilities"
    )
    measures: list[Measure] = Field(default_factory=list)
    prompts: int = 0
    tokens: int = 0
    evaluation: Evaluation | None = None
    simulated: bool = Field(default=False, description="the answers are those of a toy distribution, not of a model")
    seconds: float = Field(default=0.0, description="real seconds that the check took, outside of the measured window")

    def measure(self, name: MeasureName) -> Measure | None:
        """The measure of that name."""
        return next((m for m in self.measures if m.name == name), None)

    @property
    def words(self) -> str:
        """The verdict with its reason, in one clause."""
        label = "simulated answers: " if self.simulated else ""
        return f"{label}{self.verdict}: {self.reason}"
