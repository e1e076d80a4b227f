"""A value of a knob: a label, and the flags that it sets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rooftune.vllm_rules.config import EngineConfig, FlagValue

Change = Mapping[str, FlagValue | None]


@dataclass(frozen=True)
class Setting:
    """One value of a knob. ``None`` in the change removes a flag."""

    value: FlagValue | None
    """As a user names it in a playbook; for one flag its value."""
    change: Change = field(hash=False)
    label: str = ""
    """As a report names it; empty = the knob and the value."""
    alone: bool = False
    """Never crossed with the values of other knobs, because it rarely wins."""

    def words(self, knob: str) -> str:
        """The label, or the knob and its value."""
        plain = str(self.value).lower() if isinstance(self.value, bool) else str(self.value)
        plain = f"{self.value:.12g}" if isinstance(self.value, float) else plain
        return self.label or f"{knob} {'default' if self.value is None else plain}"


def of_flag(flag: str, *values: FlagValue | None) -> list[Setting]:
    """One setting per value of a flag."""
    return [Setting(value, {flag: value}) for value in values]


def applied(baseline: EngineConfig, change: Change) -> EngineConfig:
    """The configuration after a change whose names and types were checked before; faster than ``with_change``."""
    fields = {k: v for k, v in change.items() if k in EngineConfig.model_fields and k != "other_flags"}
    others = {**baseline.other_flags, **{k: v for k, v in change.items() if k not in fields}}
    kept = {k: v for k, v in others.items() if v is not None}
    return baseline.model_copy(update={**fields, "other_flags": kept})


def effective_change(baseline: EngineConfig, change: Change) -> dict[str, FlagValue | None]:
    """The part of a change that changes something."""
    now = {"model": baseline.model, **baseline.flags()}
    return {k: v for k, v in change.items() if now.get(k) != v}
