"""One configuration of the space, and the whole space with what was left out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rooftune.knobs.setting import Change, applied
from rooftune.vllm_rules.config import EngineConfig

KnobValue = str | int | float | bool


@dataclass(frozen=True)
class Configuration:
    """A change of the baseline that can be measured."""

    change: Change = field(hash=False)
    """Compared with the baseline; None removes a flag, ``model`` names another checkpoint."""
    labels: Mapping[str, str] = field(hash=False)
    """Knob -> knob and value in words, for every knob that is set; in the order of the knowledge base."""
    values: Mapping[str, KnobValue] = field(hash=False)
    """Knob -> value, for every knob that any configuration of this context may set; where this one leaves a knob as it
    is, the engine's own limit for numbers, else 'baseline'."""
    families: tuple[str, ...]
    """Such as ``weights=awq by marlin`` and ``kv=fp8``: configurations that share one share a part of the model's
    error."""
    changes_outputs: bool = False
    gpus: int = 1
    """Accelerators of one server."""
    predictable: bool = True
    """False where the step-time model leaves a part of the change out, or does not know the weights."""

    @property
    def family(self) -> str:
        """All families as one text: members differ in limits and switches only, and share most of a model's error."""
        return ", ".join(self.families)

    @property
    def knobs(self) -> tuple[str, ...]:
        """The knobs that are set; none for the baseline."""
        return tuple(self.labels)

    @property
    def name(self) -> str:
        """Everything that it changes, in words: 'FP8 KV cache, max_num_seqs 64'."""
        return ", ".join(self.labels.values()) or "baseline"

    def config(self, baseline: EngineConfig) -> EngineConfig:
        """The whole configuration of one server."""
        return applied(baseline, self.change)


@dataclass(frozen=True)
class Dropped:
    """Values or combinations that cannot run, or that change nothing, and why."""

    what: str
    reason: str
    count: int = 1
    knob: str = ""
    """The knob whose value it is; empty for combinations."""


@dataclass(frozen=True)
class Space:
    """All configurations that are worth a look; the first is the baseline."""

    configurations: tuple[Configuration, ...]
    dropped: tuple[Dropped, ...] = ()

    @property
    def baseline(self) -> Configuration:
        """The baseline itself."""
        return self.configurations[0]
