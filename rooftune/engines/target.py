"""What is tuned: which engine, of which version, with which model, on which accelerator."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from rooftune.speculation.known import KnownDraft, KnownDrafts
from rooftune.vllm_rules.config import FlagValue

EngineKind = Literal["simulated", "vllm", "endpoint"]


class CalibrationFile(BaseModel):
    """The calibration of the step-time model that a run uses: which file, and what was in it."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    path: str = Field(description="absolute path of the file")
    sha256: str = Field(description="of its content, in hexadecimal digits")


class Target(BaseModel):
    """One system under test, before any candidate changes its flags."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    engine: EngineKind = "simulated"
    gpu: str | None = Field(default=None, description="catalogue name; None = the accelerator of this machine")
    model: str
    engine_version: str
    flags: dict[str, FlagValue] = Field(
        default_factory=dict,
        validation_alias=AliasChoices("flags", "base_flags"),
        description="flags of the baseline; run.json of 0.1 calls them base_flags",
    )
    url: str | None = Field(
        default=None, description="endpoint engine: the server's URL, for example http://127.0.0.1:8000"
    )
    usd_per_gpu_hour: float | None = Field(
        default=None, gt=0, description="price of one accelerator; None = the list price of the catalogue"
    )
    vllm_python: str | None = Field(default=None, description="interpreter that has vLLM")
    time_scale: float = Field(
        default=1.0, ge=1.0, le=100.0, description="simulated engine only: its clock runs this much faster"
    )

    calibration: CalibrationFile | None = Field(
        default=None, description="constants of the step-time model for predictions and simulation; None = as shipped"
    )

    answers: str | None = Field(
        default=None, description="simulated engine only: file of recorded answers that it plays"
    )
    texts: bool = Field(default=False, description="the workload sends real texts, so drafts can be judged")
    drafts: list[KnownDraft] = Field(
        default_factory=list, description="how drafts of speculative decoding fare on the workload's texts"
    )

    measured_drafts: list[KnownDraft] = Field(
        default_factory=list, description="the same from the counters of this run's trials; they replace the others"
    )

    @property
    def simulated(self) -> bool:
        return self.engine == "simulated"

    @property
    def known_drafts(self) -> KnownDrafts:
        """How drafts fare, by configuration."""
        return replace(self.foreseen_drafts, measured=tuple(self.measured_drafts))

    @property
    def foreseen_drafts(self) -> KnownDrafts:
        """What was known before any trial."""
        return KnownDrafts(tuple(self.drafts), priors=self.texts)

    def serving(self, model: str, baseline: str) -> Target:
        """The target of a configuration that serves another checkpoint than the baseline's.

        Args:
            model: of the configuration.
            baseline: model of the baseline, which ``self.model`` may call by a name of the catalogue.
        """
        return self if model == baseline else self.model_copy(update={"model": model})
