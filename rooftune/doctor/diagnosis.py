"""What the doctor reports: findings, each with its evidence, the knob to try, and the command that measures it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from rooftune.engines.server import EffectiveConfig

Severity = Literal["problem", "advice", "fine", "not known"]


class DoctorFinding(BaseModel):
    """One thing that the doctor looked at."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    id: str
    severity: Severity
    sentence: str
    evidence: str = Field(description="the figures or the line of the log behind it")
    knob: str | None = Field(default=None, description="what to try: a knob of `rooftune explain`")
    flags: list[str] = Field(default_factory=list, description="the change, as flags of vLLM")
    command: str | None = Field(default=None, description="measures whether the change helps")


class Diagnosis(BaseModel):
    """Everything that one look at a server gave."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    url: str
    seconds: float
    busy: bool = Field(description="the server worked while it was watched")
    simulated: bool
    effective: EffectiveConfig
    findings: list[DoctorFinding]

    @property
    def problems(self) -> int:
        return sum(f.severity == "problem" for f in self.findings)
