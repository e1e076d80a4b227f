"""The order for one trial: which configuration to measure, with which seed, at which place in the run."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from rooftune.vllm_rules.config import EngineConfig


class TrialOrder(BaseModel):
    """One trial before it runs. Search, flows, load and aggregation pass it on whole; written as order.json."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    candidate: str
    n: int = Field(description="number of the trial among those of its candidate, from 1")
    position: int = Field(description="place in the order of all trials of the run, from 0")
    config: EngineConfig
    seed: int = Field(description="seed to draw the workload with; both sides of a pair have the same")
    phase: str
    against: str | None = Field(default=None, description="the incumbent of the block")
    why: str = Field(default="", description="one line for the progress display")
