"""The registry of vLLM's flags: which exist in which version, of which type, and which contradict each other."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from packaging.version import InvalidVersion, Version
from ruamel.yaml import YAML

from rooftune.engines.config import EngineConfig, FlagValue
from rooftune.errors import InputError, nearest

TRUE, FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def parse_set(pairs: list[str], engine_version: str) -> dict[str, FlagValue]:
    """Read ``--set name=value`` pairs. A bare name of a boolean flag means true.

    Raises:
        InputError: unknown flag (with the nearest), wrong type, or a flag that this version does not have.
    """
    return dict(_pair(text, engine_version) for text in pairs)


def check_flag(name: str, engine_version: str) -> None:
    """Raise InputError when the flag is unknown, or unknown to this engine version."""
    entry = registry().get(name)
    if entry is None:
        raise InputError(
            f"unknown engine flag {name!r}{nearest(name, list(registry()))}; use vLLM's names with underscores."
        )
    version = parse_version(engine_version)
    note = f" ({entry['note']})" if "note" in entry else ""
    if "since" in entry and version < Version(entry["since"]):
        raise InputError(
            f"vLLM {engine_version} has no flag {name}: it came with {entry['since']}{note}; leave it out."
        )
    if "until" in entry and version >= Version(entry["until"]):
        raise InputError(
            f"vLLM {engine_version} has no flag {name}: it was removed in {entry['until']}{note}; leave it out."
        )


def validate(config: EngineConfig, engine_version: str) -> None:
    """Check every flag against the version, and the flags against each other.

    Raises:
        InputError: one sentence about the first thing that is wrong.
    """
    for name in config.flags():
        check_flag(name, engine_version)
    budget, seqs, length = config.max_num_batched_tokens, config.max_num_seqs, config.max_model_len
    if budget is not None and seqs is not None and budget < seqs:
        raise InputError(
            f"max_num_batched_tokens ({budget}) is below max_num_seqs ({seqs}): every sequence needs a token a step; raise the first."
        )
    if config.enable_chunked_prefill is False and budget is not None and length is not None and budget < length:
        raise InputError(
            f"without chunked prefill a prompt must fit one step, but max_num_batched_tokens ({budget}) is below max_model_len "
            f"({length}); raise it or leave chunked prefill on."
        )
    mode = str((config.compilation_config or {}).get("cudagraph_mode", "NONE")).upper()
    if config.enforce_eager and mode != "NONE":
        raise InputError(
            f"enforce_eager switches CUDA graphs off, but compilation_config asks for {mode}; drop one of them."
        )
    utilization = config.gpu_memory_utilization
    if utilization is not None and not 0 < utilization <= 1:
        raise InputError(f"gpu_memory_utilization is {utilization}, but it is a share between 0 and 1.")
    for name in ("max_num_seqs", "max_num_batched_tokens", "max_model_len", "tensor_parallel_size", "block_size"):
        value = getattr(config, name)
        if value is not None and value < 1:
            raise InputError(f"{name} is {value}, but it must be at least 1.")


def parse_version(text: str) -> Version:
    """Parse an engine version. Raises InputError when it is none."""
    try:
        return Version(text)
    except InvalidVersion:
        raise InputError(f"{text!r} is no version of vLLM; give one like 0.15.1 or 0.32.0.") from None


@cache
def registry() -> dict[str, dict[str, Any]]:
    """Flag name -> its entry in ``data/flags.yaml``."""
    text = files("rooftune.engines").joinpath("data/flags.yaml").read_text(encoding="utf-8")
    rows: dict[str, dict[str, Any]] = YAML(typ="safe").load(text)
    return rows


def _pair(text: str, engine_version: str) -> tuple[str, FlagValue]:
    name, eq, value = text.partition("=")
    name = name.strip().lstrip("-").replace("-", "_")
    if name.startswith("no_") and name[3:] in registry() and not eq:
        name, eq, value = name[3:], "=", "false"
    check_flag(name, engine_version)
    return name, _value(name, value if eq else "true", registry()[name])


def _value(name: str, text: str, entry: dict[str, Any]) -> FlagValue:
    kind, text = entry["type"], text.strip()
    try:
        if kind == "bool":
            if text.lower() not in TRUE + FALSE:
                raise ValueError
            return text.lower() in TRUE
        if kind == "int":
            return _integer(text)
        if kind == "float":
            return float(text)
        if kind == "json":
            value: dict[str, Any] = json.loads(text)
            if not isinstance(value, dict):
                raise ValueError
            return value
    except ValueError:
        what = {"bool": "true or false", "int": "a whole number", "float": "a number", "json": "a JSON object"}[kind]
        raise InputError(f"{name}={text!r}: this flag takes {what}.") from None
    choices = [str(c) for c in entry.get("values", [])]
    if choices and text not in choices:
        raise InputError(
            f"{name}={text!r} is no value of this flag{nearest(text, choices)}; it takes {', '.join(choices)}."
        )
    return text


def _integer(text: str) -> int:
    scale = {"k": 1000, "m": 1000_000}.get(text[-1:].lower(), 1)
    return int(float(text[:-1]) * scale) if scale > 1 else int(text)
