"""Flags as a user names them: reading ``--set`` pairs, and whether a version has a flag and takes its value."""

from __future__ import annotations

import json

from rooftune.errors import InputError, nearest
from rooftune.vllm_rules.config import FlagValue
from rooftune.vllm_rules.flag_entries import Flag, registry
from rooftune.vllm_rules.versions import Releases, parse_version

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
    flag = _known(name)
    releases, note = flag.releases, f" ({flag.note})" if flag.note else ""
    has = releases.has(parse_version(engine_version))
    if has is False:
        raise InputError(f"vLLM {engine_version} has no flag {name}: {_history(releases)}{note}; leave it out.")
    if has is None:
        return f"vLLM {engine_version} may lack {name}: {_history(releases)}"
    return None


def check_value(name: str, value: FlagValue, engine_version: str) -> None:
    """Whether a version takes this value of a flag.

    Raises:
        InputError: it does not; the message names the values that it takes.
    """
    flag, known = _known(name), choices(name, engine_version)
    if known and str(value) not in known:
        other = next((v for v in flag.more_values if str(value) in v.names), None)
        why = f" in vLLM {engine_version} ({_history(other.releases)})" if other else nearest(str(value), known)
        raise InputError(f"{name}={value!r} is not a value of this flag{why}; it takes {', '.join(known)}.")
    if flag.broken and value != flag.default:
        raise InputError(f"{name}={value}: {flag.broken}; leave it out.")


def default(name: str, engine_version: str) -> FlagValue | None:
    """The server's default of a flag in that version; None = none, unknown, or it depends on the device."""
    flag = registry().get(name)
    return flag.default_of(parse_version(engine_version)) if flag else None


def choices(name: str, engine_version: str) -> list[str]:
    """The values that a flag takes in that version, or may take where the version was not read; empty = any."""
    flag, found = registry()[name], parse_version(engine_version)
    more = [v.names for v in flag.more_values if v.releases.has(found) is not False]
    return [*flag.values, *(name for names in more for name in names)]


def _known(name: str) -> Flag:
    flag = registry().get(name)
    if flag is None:
        where = f"it is set by {ELSEWHERE[name]}" if name in ELSEWHERE else "use vLLM's names with underscores"
        raise InputError(f"unknown engine flag {name!r}{nearest(name, list(registry()))}; {where}.")
    return flag


def _history(releases: Releases) -> str:
    """When something came and went, in a clause."""
    words = []
    if releases.since:
        before = releases.missing_before
        words.append(f"{releases.since} has it, {before} does not" if before else f"it came with {releases.since}")
    if releases.until:
        after = releases.missing_after
        words.append(f"{releases.until} has it, {after} does not" if after else f"{releases.until} had it last")
    return "; ".join(words)


def _pair(text: str, engine_version: str) -> tuple[str, FlagValue]:
    name, eq, value = text.partition("=")
    name = name.strip().lstrip("-").replace("-", "_")
    if name.startswith("no_") and name[3:] in registry() and not eq:
        name, eq, value = name[3:], "=", "false"
    check_flag(name, engine_version)
    kind = registry()[name].type
    if not eq and kind != "bool":
        raise InputError(f"{name} needs a value: write {name}=VALUE; it takes {_TAKES.get(kind, 'a word')}.")
    read = _value(name, value if eq else "true", kind)
    check_value(name, read, engine_version)
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


def _integer(text: str) -> int:
    """A whole number, also as vLLM writes large ones: 16k = 16,000, 16K = 16,384."""
    scale = {"k": 10**3, "m": 10**6, "g": 10**9, "K": 2**10, "M": 2**20, "G": 2**30}.get(text[-1:], 1)
    number = float(text[:-1]) * scale if scale > 1 else int(text)
    if number != int(number):
        raise ValueError(text)
    return int(number)
