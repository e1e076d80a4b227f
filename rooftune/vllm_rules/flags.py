"""The registry of vLLM's flags: which exist in which version, of which type, and which contradict each other."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from packaging.version import InvalidVersion, Version
from ruamel.yaml import YAML

from rooftune.errors import InputError, nearest
from rooftune.vllm_rules.config import EngineConfig, FlagValue

OLD, NEW = Version("0.15.1"), Version("0.32.0")
"""The two releases that the registry was read from."""
TRUE, FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
ELSEWHERE = {
    "model": "--model",
    "host": "HOST in the start script; rooftune itself serves on 127.0.0.1",
    "port": "PORT in the start script; rooftune itself takes a free port",
}
_TAKES = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "json": "a JSON object",
    "list": "a list with commas",
}


def parse_set(pairs: list[str], engine_version: str) -> dict[str, FlagValue]:
    """Read ``--set name=value`` pairs; names may have dashes and ``--``. A bare name of a boolean flag means true.

    Raises:
        InputError: unknown flag (with the nearest), wrong type or value, or a flag that this version does not have.
    """
    return dict(_pair(text, engine_version) for text in pairs)


def check_flag(name: str, engine_version: str) -> str | None:
    """What is uncertain about a flag in this engine version, or None.

    Raises:
        InputError: the flag is unknown, or this engine version does not have it; with the rule and the way out.
    """
    entry = registry().get(name)
    if entry is None:
        where = f"it is set by {ELSEWHERE[name]}" if name in ELSEWHERE else "use vLLM's names with underscores"
        raise InputError(f"unknown engine flag {name!r}{nearest(name, list(registry()))}; {where}.")
    version = parse_version(engine_version)
    note = f" ({entry['note']})" if "note" in entry else ""
    missing = f"vLLM {engine_version} has no flag {name}"
    if "since" in entry and version < Version(entry["since"]):
        raise InputError(f"{missing}: it came with {entry['since']}{note}; leave it out.")
    if "only" not in entry:
        return None
    old = Version(entry["only"]) == OLD
    if old and version >= NEW:
        raise InputError(f"{missing}: 0.15.1 had it, 0.32 does not{note}; leave it out.")
    if not old and version <= OLD:
        raise InputError(f"{missing}: 0.32 has it, 0.15.1 does not{note}; leave it out.")
    if OLD < version < NEW:
        return f"vLLM {engine_version} may lack {name}: of 0.15.1 and 0.32 only {entry['only']} has it"
    return None


def validate(config: EngineConfig, engine_version: str) -> list[str]:
    """Check every flag against the version, and the flags against each other; return what a user should know of them.

    Raises:
        InputError: one sentence about the first thing that is wrong.
    """
    from rooftune.vllm_rules.contradictions import find

    found = [check_flag(name, engine_version) for name in config.flags()]
    for name, value in config.flags().items():
        _check_value(name, value, engine_version)
    return [note for note in found if note] + find(config, engine_version)


def default(name: str, engine_version: str) -> FlagValue | None:
    """The server's default of a flag in that version; None = none, unknown, or it depends on the GPU."""
    value = registry().get(name, {}).get("default")
    if isinstance(value, dict):
        value = value["0.15.1" if parse_version(engine_version) <= OLD else "0.32.0"]
    return None if value == "by GPU" else value


def choices(name: str, engine_version: str) -> list[str]:
    """The values that a flag takes in that version; empty = any. Between the known releases: those of both."""
    entry, version = registry()[name], parse_version(engine_version)
    found = list(entry.get("values", []))
    found += entry.get("values_0_15", []) if version < NEW else []
    found += entry.get("values_0_32", []) if version > OLD else []
    return [str(v) for v in found]


def parse_version(text: str) -> Version:
    """Parse an engine version. Raises InputError when it is none."""
    try:
        return Version(text)
    except InvalidVersion:
        raise InputError(f"{text!r} is no version of vLLM; give one like 0.15.1 or 0.32.0.") from None


@cache
def registry() -> dict[str, dict[str, Any]]:
    """Flag name -> its entry in ``data/flags.yaml``."""
    text = files("rooftune.vllm_rules").joinpath("data/flags.yaml").read_text(encoding="utf-8")
    rows: dict[str, dict[str, Any]] = YAML(typ="safe").load(text)
    return rows


def _pair(text: str, engine_version: str) -> tuple[str, FlagValue]:
    name, eq, value = text.partition("=")
    name = name.strip().lstrip("-").replace("-", "_")
    if name.startswith("no_") and name[3:] in registry() and not eq:
        name, eq, value = name[3:], "=", "false"
    check_flag(name, engine_version)
    entry = registry()[name]
    if not eq and entry["type"] != "bool":
        raise InputError(f"{name} needs a value: write {name}=VALUE; it takes {_TAKES.get(entry['type'], 'a word')}.")
    read = _value(name, value if eq else "true", entry["type"])
    _check_value(name, read, engine_version)
    return name, read


def _value(name: str, text: str, kind: str) -> FlagValue:
    text = text.strip()
    try:
        if kind == "bool" and text.lower() in TRUE + FALSE:
            return text.lower() in TRUE
        if kind == "int":
            return _integer(text)
        if kind == "float":
            return float(text)
        if kind == "json":
            value = json.loads(text)
            if isinstance(value, dict):
                return dict(value)
        if kind in ("str", "list") and text:
            return text
    except ValueError:
        pass
    raise InputError(f"{name}={text!r}: this flag takes {_TAKES.get(kind, 'a word')}.")


def _check_value(name: str, value: FlagValue, engine_version: str) -> None:
    entry = registry()[name]
    known = choices(name, engine_version)
    if known and str(value) not in known:
        elsewhere = {str(v) for key in ("values_0_15", "values_0_32") for v in entry.get(key, [])}
        other = "0.32" if parse_version(engine_version) <= OLD else "0.15.1"
        why = (
            f" (vLLM {other} has it, {engine_version} does not)"
            if str(value) in elsewhere
            else nearest(str(value), known)
        )
        raise InputError(f"{name}={value!r} is no value of this flag{why}; it takes {', '.join(known)}.")
    if "broken" in entry and value != entry["default"]:
        raise InputError(f"{name}={value}: {entry['broken']}; leave it out.")


def _integer(text: str) -> int:
    """A whole number, also as vLLM writes large ones: 16k = 16,000, 16K = 16,384."""
    scale = {"k": 10**3, "m": 10**6, "g": 10**9, "K": 2**10, "M": 2**20, "G": 2**30}.get(text[-1:], 1)
    number = float(text[:-1]) * scale if scale > 1 else int(text)
    if number != int(number):
        raise ValueError(text)
    return int(number)
