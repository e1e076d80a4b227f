"""Seeded mutations of real inputs, for tests that a parser never raises an unforeseen exception."""

from __future__ import annotations

import random
from collections.abc import Iterator

NASTY = [
    *(b"", b"\x00", b"\xff\xfe", b"\r", b"\n\n", b"\r\n\r\n", b"'", b'"', b"\\", b"{", b"}", b"(", b")", b"[", b"]"),
    *(b"9" * 5000, b"-1", b"1e400", b"nan", b"inf", b"1.2.3", b"0x10", b"\xc2\xb2", b"\xb2", b"null", b"true", b"None"),
    *(b"[" * 3000, b"{'a':" * 300, b'{"a":' * 300, b'"\\ud800"', b"{1: {2}, (3,): b'4', ...: 5j}", b"data: ", b": "),
    *(b"ffffffffffffffffffffffff", b"\xe2\x80\xa8", b"x" * 5000),
]
"""Fragments that parsers trip over: huge and odd numbers, deep nesting, broken encodings, stray delimiters."""


def mutations(original: bytes, count: int, seed: int) -> Iterator[bytes]:
    """Yield variants of an input, each with one to four changes. The same seed yields the same variants."""
    chance = random.Random(seed)
    for _ in range(count):
        data = original
        for _ in range(chance.randint(1, 4)):
            data = _mutated(data, chance)
        yield data


def _mutated(data: bytes, chance: random.Random) -> bytes:
    a, b = sorted(chance.randint(0, len(data)) for _ in range(2))
    b = min(b, a + chance.choice((1, 4, 40, 400)))
    kind = chance.randrange(6)
    if kind == 0:
        return data[:a] + data[b:]
    if kind == 1:
        return data[:b] + data[a:]
    if kind == 2:
        return data[:a] + chance.choice(NASTY) + data[b:]
    if kind == 3:
        return data[:a]
    if kind == 4:
        return data[:a] + bytes(chance.randrange(256) for _ in range(b - a)) + data[b:]
    return _number_replaced(data, chance)


def _number_replaced(data: bytes, chance: random.Random) -> bytes:
    """Replace one run of digits, where parsers convert."""
    places = [i for i in range(len(data)) if data[i : i + 1].isdigit() and not data[i - 1 : i].isdigit()]
    if not places:
        return data
    a = b = chance.choice(places)
    while data[b : b + 1].isdigit():
        b += 1
    return data[:a] + chance.choice(NASTY) + data[b:]
