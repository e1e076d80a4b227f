"""One measured run of one candidate, and what may be believed of it. Content of trial.json."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from rooftune.engines.server import EffectiveConfig, Limits, Switched
from rooftune.engines.target import CalibrationFile
from rooftune.evidence.records.capacity import TrialCapacity
from rooftune.evidence.records.quality import Quality
from rooftune.metrics.window import Window

MOST_S = 1e9
"""Longest load that is believed: some 30 years."""
CheckStatus = Literal["pass", "warn", "fail", "no data"]


class Check(BaseModel):
    """One check of the audit."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    id: str
    status: CheckStatus
    sentence: str
    figures: dict[str, Any] = Field(default_factory=dict)
    remedy: str = ""


class Census(BaseModel):
    """What became of every scheduled request of the whole load; the five add up to ``scheduled``."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    scheduled: int
    completed: int = 0
    failed: int = 0
    refused: int = 0
    cut: int = 0
    never_begun: int = 0


class TrialResult(BaseModel):
    """One trial. ``metrics`` has vLLM's names; a figure without meaning here is absent, ``withheld`` says why."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    format: int = 1
    candidate: str
    n: int
    status: Literal["measured", "failed"]
    failure: str | None = None
    failure_kind: str | None = None
    simulated: bool = False
    time_scale: float = 1.0
    workload: str
    workload_hash: str
    seed: int
    position: int = Field(description="place in the order of all trials of the run, from 0")
    started_at: float = 0.0
    engine: str = ""
    engine_version: str = ""
    gpu: str = ""
    model: str = ""
    calibration: CalibrationFile | None = Field(
        default=None, description="simulated engine: what its step times were calibrated with; None = as shipped"
    )
    flags: dict[str, Any] = Field(default_factory=dict)
    usd_per_hour: float | None = Field(default=None, description="price of the server; None = not known")
    effective: EffectiveConfig = Field(default_factory=EffectiveConfig)
    switchable: Limits | None = Field(
        default=None, description="limits that its server started with, if they can be lowered while it runs"
    )
    switched: Switched | None = Field(
        default=None, description="how a running server was given these flags; None = it was started with them"
    )
    window: Window | None = None
    census: Census | None = None
    overloaded: bool = False
    asked_rate_per_s: float | None = None
    served_rate_per_s: float | None = Field(
        default=None, description="requests/s the server can serve of this workload"
    )
    metrics: dict[str, float] = Field(default_factory=dict)
    withheld: dict[str, str] = Field(default_factory=dict)
    adapters: dict[str, dict[str, float]] = Field(
        default_factory=dict, description="metrics of the requests of each LoRA adapter, and of the base model"
    )
    server: dict[str, float] = Field(
        default_factory=dict, description="window means and deltas of the server's gauges and counters"
    )
    within: dict[str, float] = Field(
        default_factory=dict,
        description="standard error of ln(metric) from blocks of the window, which sees no difference between trials",
    )
    jackknife: dict[str, list[float]] = Field(
        default_factory=dict, description="ln(metric) with one block of the window left out, for each block in turn"
    )
    capacity: TrialCapacity | None = Field(default=None, description="where the objective is the capacity")
    checks: list[Check] = Field(default_factory=list)
    quality: Quality | None = Field(
        default=None, exclude=True, description="verdict on its answers, as quality.json in the same folder has it"
    )

    @field_validator("window")
    @classmethod
    def _bounded(cls, window: Window | None) -> Window | None:
        if window is not None and not (window.start_s >= -MOST_S and window.end_s <= MOST_S):
            raise ValueError(f"the window from {window.start_s:g} to {window.end_s:g} s is not one of a measured load")
        return window

    @property
    def believed(self) -> bool:
        """Measured, and no check of its audit failed."""
        return self.status == "measured" and all(c.status != "fail" for c in self.checks)
