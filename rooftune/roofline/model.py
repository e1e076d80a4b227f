"""The roofline as typed values. Content of roofline.json."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Stage = Literal["decode", "prefill"]
Bound = Literal["weight bandwidth", "KV bandwidth", "compute", "kernel", "overhead", "unknown"]


class Roof(BaseModel):
    """One ceiling: a bandwidth (slanted line) or a rate of arithmetic (flat line), of all accelerators together."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: Literal["bandwidth", "compute"]
    name: str = Field(description="'memory bandwidth', or the data type: 'fp16' ...")
    value: float = Field(description="bytes/s or FLOP/s")
    measured: bool = Field(description="measured on this machine; else from the catalogue")
    how: str


class Ridge(BaseModel):
    """Where a bandwidth and a rate meet: below this intensity bandwidth limits, above it arithmetic."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    compute: str
    measured: bool
    flop_per_byte: float


class Point(BaseModel):
    """One stage of one believed trial. Rates are of all accelerators used together."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    candidate: str
    n: int
    stage: Stage
    simulated: bool
    intensity_flop_per_byte: float
    achieved_flops_per_s: float
    attainable_flops_per_s: float = Field(description="the lower of the two ceilings at this intensity")
    share: float = Field(description="achieved / attainable")
    tokens_per_s: float
    batch: float = Field(description="sequences in a decode step; prompts in a prefill")
    context: float = Field(description="mean tokens that a decode step reads per sequence; tokens of a prompt")
    step_ms: float | None = None
    compute: str = Field(description="data type whose ceiling applies")
    bound: Bound
    sentence: str
    how: str


class Roofline(BaseModel):
    """Ceilings, ridge points and points of one run."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    format: int = 1
    accelerator: str
    count: int
    model: str
    simulated: bool
    roofs: list[Roof]
    ridges: list[Ridge]
    points: list[Point]
    notes: list[str] = Field(default_factory=list)

    def of(self, stage: Stage) -> list[Point]:
        """Points of one stage, in the order of the trials."""
        return [p for p in self.points if p.stage == stage]
