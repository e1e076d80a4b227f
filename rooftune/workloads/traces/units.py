"""The unit of the times of a trace and the size of its hash blocks: stated, defined by the format, or checked.

Nothing is assumed in silence. What a format defines and what is assumed becomes a note of the plan, and what cannot be
is refused with the key of the workload that settles it.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rooftune.errors import InputError
from rooftune.formatting import number
from rooftune.workloads.spec import TimeUnit
from rooftune.workloads.traces.rows import TraceRow, finite, short

Floats = npt.NDArray[np.float64]
SECONDS: dict[TimeUnit, float] = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
WORDS: dict[TimeUnit, str] = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
EPOCHS: dict[TimeUnit, float] = {"s": 1e9, "ms": 1e12, "us": 1e15, "ns": 1e18}
"""The time since 1970 in each unit, from 2001 on; it is within a factor of four until 2096."""
MOST_RATE, MOST_GAP_S = 500.0, 600.0
"""Requests per second, and seconds between them, beyond which the unit of a trace is most likely another."""
FEW = 5
"""Requests from which a rate is judged."""
BLOCK_SIZES = (16, 32, 64, 128, 256, 512, 1024, 2048)
FITTING = 0.95
"""Share of the requests whose number of blocks must fit their prompt."""


@dataclass(frozen=True)
class Meaning:
    """What the times and blocks of a file mean, as far as its format or its columns say so."""

    title: str
    """The name of the format, as in "Mooncake"."""
    unit: TimeUnit | None = None
    """None: not defined; the default is seconds."""
    block_tokens: int | None = None
    whole_times: bool = False
    """Times of this format have no fractions."""


def to_seconds(rows: Sequence[TraceRow], meaning: Meaning, stated: TimeUnit | None, path: Path) -> list[str]:
    """Turn the arrivals into seconds; return what to say about it.

    Raises:
        InputError: the times cannot be in this unit.
    """
    times = np.array([r.arrival for r in rows], dtype=np.float64)
    unit, notes = stated, []
    if unit is None and (epoch := _epoch(times)) is not None and meaning.unit is None:
        unit, notes = epoch, [f"{path.name} has times in {WORDS[epoch]} since 1970"]
    if unit is None:
        unit = meaning.unit or "s"
        if meaning.unit is None:
            notes = [f"the times of {path.name} are taken as seconds (arrivals.time_unit names another unit)"]
        if meaning.whole_times and (times != np.floor(times)).any():
            raise InputError(
                f"{path} looks like a {meaning.title} trace, whose times are whole {WORDS[unit]}, but its times have "
                "fractions; set arrivals.time_unit to s or ms."
            )
    scaled = times * SECONDS[unit]
    if stated is None:
        _plausible(scaled, unit, path)
    for row, at in zip(rows, scaled.tolist(), strict=True):
        row.arrival = at
    return notes


def _epoch(times: Floats) -> TimeUnit | None:
    """The unit in which the times are dates since 2001; None when they are not."""
    if len(times) == 0:
        return None
    low, high = float(times.min()), float(times.max())
    return next((u for u, begin in EPOCHS.items() if begin <= low and high < 4 * begin), None)


def _plausible(seconds: Floats, unit: TimeUnit, path: Path) -> None:
    """Refuse a unit in which the trace has an impossible rate."""
    span = float(np.ptp(seconds)) if len(seconds) >= FEW else 0.0
    if span <= 0:
        return
    rate = (len(seconds) - 1) / span
    if rate > MOST_RATE or rate < 1 / MOST_GAP_S:
        what = f"{number(rate)} requests per second" if rate > 1 else f"one request every {number(1 / rate)} s"
        raise InputError(
            f"{path} has {len(seconds):,} requests in {number(span)} s if its times are {WORDS[unit]}: {what}. "
            "Set arrivals.time_unit to s, ms, us or ns."
        )


def block_size(rows: Sequence[TraceRow], meaning: Meaning, stated: int | None, path: Path) -> tuple[int, list[str]]:
    """Tokens of a hash block, and what to say about it.

    Raises:
        InputError: the number of hashes does not fit the prompts.
    """
    hashed = [r for r in rows if r.blocks]
    default = stated or meaning.block_tokens or 512
    if not hashed:
        return default, []
    if stated is not None:
        _refuse_misfits(hashed, stated, path)
        return stated, []
    fitting = [b for b in BLOCK_SIZES if _share(hashed, b) >= FITTING]
    if default in fitting:
        return default, [f"{default} tokens per hash block"]
    if len(fitting) == 1:
        return fitting[0], [f"{fitting[0]} tokens per hash block, the only size that fits its prompts"]
    if fitting:
        sizes = " or ".join(map(str, fitting))
        raise InputError(f"the hash_ids of {path} fit blocks of {sizes} tokens; set arrivals.block_tokens.")
    row = next(r for r in hashed if not _fits(r, default))
    raise InputError(
        f"{path}, line {row.line}: {len(row.blocks):,} hash_ids for a prompt of {row.prompt:,} tokens do not fit a "
        f"usual block size ({default} in this format); set arrivals.block_tokens."
    )


def _fits(row: TraceRow, size: int) -> bool:
    """Whether every block of the prompt has a hash, or every full block."""
    return len(row.blocks) in (row.prompt // size, -(-row.prompt // size))


def _share(rows: Sequence[TraceRow], size: int) -> float:
    return sum(_fits(r, size) for r in rows) / len(rows)


def _refuse_misfits(rows: Sequence[TraceRow], size: int, path: Path) -> None:
    if _share(rows, size) >= FITTING:
        return
    row = next(r for r in rows if not _fits(r, size))
    raise InputError(
        f"{path}, line {row.line}: {len(row.blocks):,} hash_ids for a prompt of {row.prompt:,} tokens do not fit "
        f"arrivals.block_tokens of {size}."
    )


_SUFFIX = re.compile(r"(?:^|_)(s|sec|seconds|ms|us|ns)$")


def unit_in_name(column: str) -> TimeUnit | None:
    """The unit that a column's name ends with: ``arrival_time_ns`` has nanoseconds."""
    found = _SUFFIX.search(column)
    names: dict[str, TimeUnit] = {"s": "s", "sec": "s", "seconds": "s", "ms": "ms", "us": "us", "ns": "ns"}
    return names[found[1]] if found else None


def is_date(text: str) -> bool:
    """Whether a time is written as a date."""
    return re.match(r"\d{4}-\d{2}-\d{2}", text) is not None


def date_seconds(text: str, name: str) -> float:
    """Seconds since 1970 of a date and time as in the Azure traces (seven digits of a second).

    Raises:
        ValueError: it is not a date and time.
    """
    if not is_date(text):
        return finite(text, name)
    head, _, fraction = text.removesuffix("Z").removesuffix("+00:00").partition(".")
    digits = re.match(r"\d*", fraction)
    try:
        when = dt.datetime.fromisoformat(head).replace(tzinfo=dt.timezone.utc)
    except ValueError:
        raise ValueError(f"{name} is {short(text)}, neither a number nor a date and time") from None
    return when.timestamp() + float(f"0.{digits[0] or 0}" if digits else 0)
