"""Damages files as disks, editors and other tools do: in their text, or in one value of their structure."""

from __future__ import annotations

import copy
import json
import random
import re

ODD_TEXT = ("Infinity", "-Infinity", "NaN", "1e400", "-1", "0", "99999999999999999999999", "0.5", "null", "true", '"x"',
            "[]", "{}", "", "1e308", "9223372036854775808", "2147483648", ".inf", "2026-13-45", "'", "*a", "!!python/none x")  # fmt: skip
"""What a number in a text may be replaced by."""
ODD_VALUES: tuple[object, ...] = (None, True, -1, 0, 0.5, 10**30, 2**63, float("inf"), float("nan"), 1e308, "", "x", "1e400",
                                  [], {}, [None], ["x"], {"x": 1}, [[1]], [1e400], -(10**30))  # fmt: skip
"""What a value of a JSON file may be replaced by."""
ODD_CHARACTERS = "\x00\x01\x07\x1b\x85\ufeff\ufffe\u2028\ud7ff\t\r\n{}[]:,\"'#%&*!|>-?@`"
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")


def damaged_text(text: str, rng: random.Random) -> bytes:
    """The text with one to three errors, as bytes."""
    for _ in range(rng.randint(1, 3)):
        text = rng.choice(_TEXT)(text, rng)
    found = text.encode("utf-8", errors="surrogatepass")
    if found and rng.random() < 0.1:
        place = rng.randrange(len(found))
        found = found[:place] + bytes([rng.randrange(256)]) + found[place + 1 :]
    return found


def damaged_json(value: object, rng: random.Random) -> bytes:
    """The value with one to three nodes replaced or removed, as JSON that Python's own reader takes (NaN, Infinity)."""
    value = copy.deepcopy(value)
    for _ in range(rng.randint(1, 3)):
        value = _replaced(value, rng)
    return json.dumps(value).encode()


def _replaced(value: object, rng: random.Random) -> object:
    """Walk down at random and replace or remove what is there."""
    if isinstance(value, (dict, list)) and value and rng.random() < 0.9:
        key = rng.choice(list(value)) if isinstance(value, dict) else rng.randrange(len(value))
        if rng.random() < 0.15:
            del value[key]  # type: ignore[arg-type]
        else:
            value[key] = _replaced(value[key], rng)  # type: ignore[index, call-overload]
        return value
    return copy.deepcopy(rng.choice(ODD_VALUES))


def _insert(text: str, rng: random.Random) -> str:
    place = rng.randrange(len(text) + 1)
    return text[:place] + rng.choice(ODD_CHARACTERS) + text[place:]


def _cut(text: str, rng: random.Random) -> str:
    begin = rng.randrange(len(text) + 1)
    return text[:begin] + text[begin + rng.choice((1, 2, 10, 100, len(text))) :]


def _number(text: str, rng: random.Random) -> str:
    places = list(_NUMBER.finditer(text))
    if not places:
        return text
    at = rng.choice(places)
    return text[: at.start()] + rng.choice(ODD_TEXT) + text[at.end() :]


def _line(text: str, rng: random.Random) -> str:
    lines = text.split("\n")
    place = rng.randrange(len(lines))
    kind = rng.randrange(4)
    if kind == 0:
        del lines[place]
    elif kind == 1:
        lines.insert(place, rng.choice(lines))
    elif kind == 2:
        lines[place] = "  " + lines[place]
    else:
        lines[place] = lines[place][: len(lines[place]) // 2]
    return "\n".join(lines)


_TEXT = (_insert, _cut, _number, _number, _line)
