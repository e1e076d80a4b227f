"""Results of flows: small typed references to files of a run folder, never data."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from rooftune.runfolder import RunFolder, TrialFolder


class PhaseResult(BaseModel):
    """A phase that has ended."""

    model_config = ConfigDict(frozen=True)
    run: str = Field(description="run folder")
    files: list[str] = Field(default_factory=list, description="files that it wrote, relative to the run folder")
    sentence: str = ""


class TrialSummary(BaseModel):
    """One trial of a run, measured or failed."""

    model_config = ConfigDict(frozen=True)
    run: str
    candidate: str
    n: int
    status: str = Field(description="measured or failed")
    believed: bool = False
    kept: bool = Field(default=False, description="it had been measured before")
    sentence: str = ""

    @property
    def folder(self) -> TrialFolder:
        return RunFolder(Path(self.run)).trial(self.candidate, self.n)


class OptimizeResult(BaseModel):
    """The result of an optimisation."""

    model_config = ConfigDict(frozen=True)
    run: str
    workload: str
    incumbent: str = ""
    command: str = ""
    first_sentence: str = ""
    trials: int = 0
    complete: bool = True
    failed: str = Field(default="", description="why there is no decision")
