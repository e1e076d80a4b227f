"""What is known about the drafts of each speculative configuration, before and after it is measured."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from rooftune.speculation.acceptance import ASSUMED, Acceptance, AcceptanceLike, StepDrafts, constant
from rooftune.vllm_rules.config import EngineConfig, FlagValue
from rooftune.vllm_rules.speculation import SCHEDULE, Speculation, speculation

LENGTH = "num_speculative_tokens"


@dataclass(frozen=True)
class Prior:
    """What other people's measurements say about a method that asks a model: the chance that a token is accepted if
    those before it are."""

    low: float
    high: float
    source: str

    @property
    def middle(self) -> float:
        """Where a prediction starts."""
        return (self.low + self.high) / 2


PRIORS = {
    "draft_model": Prior(0.53, 0.75, "T5-small for T5-XXL, Leviathan et al. 2023, table 3 (arXiv 2211.17192)"),
    "eagle": Prior(0.5, 0.65, "mean acceptance lengths in vLLM pull request 16035"),
    "eagle3": Prior(0.55, 0.7, "acceptance by position in vLLM pull requests 24243 and 42764"),
    "mtp": Prior(
        0.69,
        0.9,
        "first token: DeepSeek-V3 report, section 5.4.3 (arXiv 2412.19437); seven tokens: model card of "
        "nebius/MTP-DeepSeek-V3-0324",
    ),
}
"""By method. The texts of users decide: trials correct these predictions as they do all others."""


class KnownDraft(BaseModel):
    """How the drafts of one speculative configuration fare on the workload's texts."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    speculation: dict[str, Any] = Field(description="the value of speculative_config")
    accepted: list[float] = Field(description="share of the decode steps that accept the first, first two, ... tokens")
    drafted: float = Field(description="mean drafted tokens per decode step")
    source: str = Field(description="where the numbers are from")

    @property
    def per_step(self) -> StepDrafts:
        """The numbers as the simulator takes them."""
        return StepDrafts(tuple(self.accepted), self.drafted)

    @classmethod
    def of(cls, asked: Mapping[str, object], found: Acceptance, source: str) -> KnownDraft:
        """From a replay, or from a trial's counters."""
        step, length = found.per_step, asked.get(LENGTH)
        accepted = step.accepted[:length] if isinstance(length, int) else step.accepted
        return cls(speculation=dict(asked), accepted=list(accepted), drafted=step.drafted, source=source)

    def of_length(self, tokens: int) -> StepDrafts:
        """The same proposer with drafts of this length.

        Shorter drafts lose their last positions. Of longer ones, each further token is accepted as often after those
        before it as the last known one.
        """
        known = len(self.accepted)
        if tokens <= known or not known:
            return self.per_step.up_to(tokens)
        before = self.accepted[-2] if known > 1 else self.drafted / known
        ratio = self.accepted[-1] / before if before > 0 else 0.0
        more = [self.accepted[-1] * min(ratio, 1.0) ** i for i in range(1, tokens - known + 1)]
        return StepDrafts((*self.accepted, *more), self.drafted * tokens / known)


@dataclass(frozen=True)
class KnownDrafts:
    """Everything that is known, by configuration: what trials showed, what a replay says, and priors."""

    entries: tuple[KnownDraft, ...] = ()
    """From a replay of recorded answers."""
    priors: bool = False
    """Methods that ask a model have their prior."""
    measured: tuple[KnownDraft, ...] = ()
    """From the counters of trials. They also hold for other lengths of the same proposer, unless those are replayed."""

    def of(self, flags: Mapping[str, FlagValue]) -> AcceptanceLike | None:
        """The acceptance for a configuration's flags; None without speculation, or where nothing says anything.

        A schedule of lengths has the acceptance of its longest drafts, of which shorter ones are a part.
        """
        spec = speculation(EngineConfig(model="").with_change(flags))
        if spec is None:
            return None
        asked = flags.get("speculative_config")
        if isinstance(asked, Mapping):
            key, proposer = _key(asked), proposer_key(asked)
            for entry in (*self.measured, *self.entries):
                if _key(entry.speculation) == key:
                    return entry.per_step
            same = [entry for entry in self.measured if proposer_key(entry.speculation) == proposer]
            if same:
                return max(same, key=lambda entry: len(entry.accepted)).of_length(spec.tokens)
        return prior_of(spec) if self.priors else None

    def acceptance(self, flags: Mapping[str, FlagValue]) -> AcceptanceLike:
        """The same for a prediction, which assumes something where nothing is known."""
        found = self.of(flags)
        return ASSUMED if found is None else found


NOTHING_KNOWN = KnownDrafts()


def prior_of(spec: Speculation) -> StepDrafts | None:
    """The middle of the prior of a method; None where there is none."""
    prior = PRIORS.get(spec.kind)
    return constant(prior.middle, spec.tokens) if prior is not None else None


def proposer_key(asked: Mapping[str, object]) -> str:
    """The same for all lengths of one proposer: method, model and lookup."""
    return _key({k: v for k, v in asked.items() if k != LENGTH})


def _key(asked: Mapping[str, object]) -> str:
    return json.dumps({k: v for k, v in asked.items() if k != SCHEDULE}, sort_keys=True, default=str)
