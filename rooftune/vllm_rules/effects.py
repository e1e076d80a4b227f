"""Which flags a prediction leaves out, so that no flag is passed over in silence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rooftune.vllm_rules.config import EngineConfig, FlagValue
from rooftune.vllm_rules.flag_entries import Flag, registry
from rooftune.vllm_rules.versions import version


@dataclass(frozen=True)
class Unmodelled:
    """A flag, or a value or key of it, that may change the engine and does not change the prediction."""

    name: str
    why: str

    def __str__(self) -> str:
        return f"{self.name} ({self.why})" if self.why else self.name


def unmodelled(config: EngineConfig, engine_version: str, *, server: bool = False) -> list[Unmodelled]:
    """The flags of a configuration that are not modelled; a flag at its default is left out.

    Args:
        server: of the simulated server, which does some things that predictions in virtual time do not.
    """
    engine, found = version(engine_version), []
    for name, value in config.flags().items():
        flag = registry().get(name)
        if flag is None:
            found.append(Unmodelled(name, "rooftune does not know it"))
        elif value != flag.default_of(engine) and not (server and flag.server):
            found += _parts(name, value, flag)
    return found


def sentence(found: Sequence[Unmodelled]) -> str:
    """The sentence that replaces the error of a prediction; empty where everything is modelled."""
    if not found:
        return ""
    return f"not modelled: {', '.join(map(str, found))}; these figures leave it out, so no error is given"


def _parts(name: str, value: FlagValue, flag: Flag) -> list[Unmodelled]:
    if flag.effect == "neutral":
        return []
    if flag.effect == "not modelled":
        return [Unmodelled(name, flag.why)]
    if flag.modelled_keys and isinstance(value, dict):
        return [Unmodelled(f"{name}.{key}", flag.why) for key in value if key not in flag.modelled_keys]
    if flag.modelled_values and str(value) not in flag.modelled_values:
        return [Unmodelled(f"{name}={value}", flag.why)]
    return []
