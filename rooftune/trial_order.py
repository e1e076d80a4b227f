"""The order for one trial: which configuration to measure, with which seed, at which place in the run."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from rooftune.vllm_rules.config import EngineConfig


class TrialLoad(BaseModel):
    """The load of a trial that measures a capacity. Times in workload seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    rate_per_s: float = Field(description="of the arrival process; 0 = one request at a time")
    settle_s: float = Field(description="load before the judged window")
    requests: int = Field(description="requests in the judged window")
    drain_s: float
    time_scale: float | None = Field(
        default=None, description="speed of the simulated engine's clock that this machine keeps up with at this rate"
    )
    settled_below_per_s: float = Field(
        default=0.0, description="a capacity shown to be below this settles the trial without a second load"
    )


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
    shares_server: bool = Field(
        default=False,
        description="a running server may be used that differs in limits alone; False = a server with these flags",
    )
    load: TrialLoad | None = Field(default=None, description="None = the load of the workload file")
