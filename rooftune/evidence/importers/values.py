"""Reads single values of files that other tools wrote. What is not of the expected kind is missing, never guessed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from rooftune.errors import RooftuneError
from rooftune.evidence.records.columns import Floats

Json = Mapping[str, object]
"""A JSON object."""
MOST = 1e15
"""Largest time or count that is believed: seconds since the epoch are 1.7e9."""


def finite(value: object) -> float | None:
    """A number of a believable size; None for everything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if -MOST <= value <= MOST else None


def number(value: object) -> float:
    """Like :func:`finite`, with NaN for None."""
    found = finite(value)
    return math.nan if found is None else found


def parsed(value: object) -> float | None:
    """A number, or a text that is one, with or without thousands separators; ``inf`` stays infinite."""
    if isinstance(value, str):
        try:
            value = float(value.replace(",", ""))
        except ValueError:
            return None
    return math.inf if value == math.inf else finite(value)


def inner(value: Json, *keys: str) -> Json:
    """The object under these keys, one inside the other; empty where there is none."""
    for key in keys:
        found = value.get(key)
        value = found if isinstance(found, dict) else {}
    return value


def objects(value: object) -> list[Json]:
    """The objects of a list; everything else in it is left out."""
    return [v for v in value if isinstance(v, dict)] if isinstance(value, list) else []


def column(value: object, name: str, label: str, size: int | None = None) -> Floats:
    """A list of numbers in which null is missing.

    Raises:
        RooftuneError: it is not a list of numbers, or not of this size.
    """
    if not isinstance(value, Sequence) or not all(v is None or isinstance(v, (int, float)) for v in value):
        raise RooftuneError(f"{name} in {label} is not a list of numbers.")
    if size is not None and len(value) != size:
        raise RooftuneError(f"{name} in {label} has {len(value):,} entries, and {size:,} requests were sent.")
    return np.array([number(v) for v in value], dtype=np.float64)
