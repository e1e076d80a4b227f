"""A value in the JSON that an evaluation prints: a number with its standard error, or a list of items."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass

from rooftune.formatting import quantity

MOST_NAMED = 8
"""Keys that an error lists."""


@dataclass(frozen=True)
class FoundValue:
    """What is at a path: one number, or items."""

    number: float
    """The number, or the mean of the items."""
    items: tuple[float, ...] = ()
    standard_error: float | None = None
    """Of the number, from the key that lm-evaluation-harness writes beside it (``acc_stderr,none``)."""


def value_in(text: str, path: str) -> FoundValue:
    """The value at a path such as ``results.gsm8k.exact_match,strict-match`` or ``samples.*.score``.

    Keys may contain dots. ``*`` takes all entries of a list.

    Raises:
        ValueError: there is no JSON, no such path, or something other than numbers; the message says which.
    """
    holder = _json(text)
    parts = path.split(".")
    found, parent, key = _at(holder, parts, path)
    if isinstance(found, list):
        items = tuple(_number(item, path) for item in found)
        if len(items) < 2:
            raise ValueError(f"{path} has {quantity(len(items), 'item')}, and a comparison needs two")
        return FoundValue(math.fsum(items) / len(items), items)
    return FoundValue(_number(found, path), (), _standard_error(parent, key))


def _json(text: str) -> object:
    """The text as JSON, else its last line that is a JSON object."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    for line in reversed(text.splitlines()):
        if line.lstrip()[:1] in ("{", "["):
            try:
                return json.loads(line)
            except (ValueError, RecursionError):
                continue
    raise ValueError("it prints no JSON" if text.strip() else "it prints nothing")


def _at(value: object, parts: list[str], path: str) -> tuple[object, object, str]:
    """The value at the end of the path, what holds it, and its key there."""
    parent: object = None
    key = ""
    while parts:
        if parts[0] == "*":
            if not isinstance(value, list):
                raise ValueError(f"{path} takes entries of a list where there is none")
            return [_at(entry, parts[1:], path)[0] if parts[1:] else entry for entry in value], None, ""
        taken = next(_steps(value, parts), None)
        if taken is None:
            names = [str(k) for k in value] if isinstance(value, dict) else []
            known = f"; there is {', '.join(names[:MOST_NAMED])}" if names else ""
            raise ValueError(f"{path} is missing at {parts[0]!r}{known}")
        parent, key = value, ".".join(parts[:taken])
        value = _entry(value, key)
        parts = parts[taken:]
    return value, parent, key


def _steps(value: object, parts: list[str]) -> Iterator[int]:
    """Numbers of parts that together are a key of the value, the longest first."""
    for count in range(len(parts), 0, -1):
        try:
            _entry(value, ".".join(parts[:count]))
        except (KeyError, IndexError, ValueError, TypeError):
            continue
        yield count


def _entry(value: object, key: str) -> object:
    if isinstance(value, dict):
        return value[key]
    if isinstance(value, list):
        return value[int(key)]
    raise TypeError(key)


def _number(value: object, path: str) -> float:
    if isinstance(value, bool):
        return float(value)
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{path} is {json.dumps(value, default=str)[:40]}, not a number")
    return float(value)


def _standard_error(parent: object, key: str) -> float | None:
    if not isinstance(parent, dict):
        return None
    name, comma, rest = key.partition(",")
    found = parent.get(f"{name}_stderr{comma}{rest}")
    if not isinstance(found, (int, float)) or isinstance(found, bool) or not math.isfinite(found) or found < 0:
        return None
    return float(found)
