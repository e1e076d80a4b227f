"""One request of a trace, and the values that make it up."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rooftune.workloads.strict import MOST_TOKENS

MOST_ID = 2**31 - 1
"""Largest number of a conversation or a prefix."""
MOST_HASH = 2**64
"""Hashes of blocks are below this."""


@dataclass(slots=True)
class TraceRow:
    """One request of a trace."""

    arrival: float
    """In the time unit of the file; in seconds once the unit is known."""
    prompt: int
    output: int
    line: int = 0
    """Where the file has it, from 1."""
    prefix: int = -1
    prefix_tokens: int = 0
    conversation: int = -1
    turn: int = 0
    think_s: float = 0.0
    blocks: tuple[int, ...] = ()
    text: str = ""
    adapter: str = ""


def finite(value: object, name: str) -> float:
    """A number that is neither infinite nor NaN.

    Raises:
        ValueError: it is something else.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(f"{name} is {short(value)}, not a number")
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise ValueError(f"{name} is {short(value)}, not a number") from None
    if not math.isfinite(number):
        raise ValueError(f"{name} is {short(value)}, not a finite number")
    return number


def whole(value: object, name: str, least: int, most: int) -> int:
    """A whole number from least to most; a fraction is cut off. An int stays exact beyond 2**53.

    Raises:
        ValueError: it is something else.
    """
    number = value if isinstance(value, int) and not isinstance(value, bool) else int(finite(value, name))
    if not least <= number <= most:
        raise ValueError(f"{name} is {short(value)}, and it must be between {least:,} and {most:,}")
    return number


def count(value: object, name: str) -> int:
    """Tokens: at least one, since a request without a prompt or an answer cannot be sent.

    Raises:
        ValueError: it is not a number of tokens.
    """
    return max(1, whole(value, name, 0, MOST_TOKENS))


def short(value: object) -> str:
    """A value as an error quotes it."""
    text = "missing" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
