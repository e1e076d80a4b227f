"""From a target to the configuration of its baseline, and from configurations to changes and command lines."""

from __future__ import annotations

import shlex
from pathlib import Path

from rooftune.engines.target import Target
from rooftune.models.facts import ModelFacts
from rooftune.vllm_rules.config import EngineConfig, FlagValue


def command_model(target: Target, facts: ModelFacts | None, quantization: str | None) -> str:
    """The value of ``--model``: the path or hub id as given, else the catalogue's hub id for the quantisation."""
    if facts is None or "/" in target.model or Path(target.model).exists():
        return target.model
    family = (quantization or facts.quantization or "none").split("_")[0]
    return facts.hub_ids.get(family) or facts.hub_ids.get("none") or target.model


def base_config(target: Target, facts: ModelFacts | None) -> EngineConfig:
    """The configuration of the baseline."""
    quantization = target.flags.get("quantization")
    named = str(quantization) if quantization is not None else None
    return EngineConfig(model=command_model(target, facts, named)).with_change(target.flags)


def difference(config: EngineConfig, other: EngineConfig) -> dict[str, FlagValue | None]:
    """The change that turns ``other`` into ``config``, another checkpoint included; None removes a flag."""
    ours, theirs = {"model": config.model, **config.flags()}, {"model": other.model, **other.flags()}
    return {k: ours.get(k) for k in {**theirs, **ours} if ours.get(k) != theirs.get(k)}


def describe(change: dict[str, FlagValue | None]) -> str:
    """A change as command-line words: ``--max-num-seqs 8, without --enforce-eager``."""
    import json

    words = []
    for name, value in change.items():
        flag = "--" + name.replace("_", "-")
        if value is None:
            words.append(f"without {flag}")
        elif value is True:
            words.append(flag)
        elif value is False:
            words.append("--no-" + name.replace("_", "-"))
        elif isinstance(value, dict):
            words.append(f"{flag} '{json.dumps(value)}'")
        else:
            words.append(f"{flag} {value}")
    return ", ".join(words) or "no change"


def described_difference(config: EngineConfig, other: EngineConfig) -> str:
    """What ``config`` changes from ``other``, as command-line words; empty where nothing."""
    found = difference(config, other)
    return describe(found) if found else ""


def command_text(config: EngineConfig) -> str:
    """The exact command line, quoted for a shell, on one line."""
    from rooftune.engines.command_line import command_line

    return shlex.join(command_line(config))
