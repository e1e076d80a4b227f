"""When something was logged: dates in the forms that logs have, as seconds since 1970."""

from __future__ import annotations

import datetime as dt
import re

from rooftune.workloads.traces.rows import finite, short

_ISO = re.compile(
    r"(\d{4})[-/](\d\d)[-/](\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d+))?)?)?\s*(Z|UTC|[+-]\d\d:?\d\d)?"
)
_WEB = re.compile(r"(\d\d)/([A-Z][a-z]{2})/(\d{4}):(\d\d):(\d\d):(\d\d) ?([+-]\d{4})?")
_SHORT = re.compile(r"(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)(?:[.,](\d+))?")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
ANY_YEAR = 2023
"""The year of dates that have none: one of 365 days, as most are. 29 February is the day after its 28 February."""


def iso_seconds(text: str) -> float | None:
    """A date and time at the beginning of a text, as ISO 8601 or Python's logging writes it; None where there is none.

    Without a time zone it is taken as UTC: only differences matter.
    """
    found = _ISO.match(text)
    if found is None:
        return None
    year, month, day, hour, minute, second, fraction, zone = found.groups()
    return _seconds([year, month, day, hour or "0", minute or "0", second or "0"], fraction, zone)


def short_seconds(text: str) -> float | None:
    """``02-13 11:33:33``, as vLLM writes it without a year, in the year ``ANY_YEAR``."""
    found = _SHORT.match(text)
    if found is None:
        return None
    month, day, *clock, fraction = found.groups()
    leap = (month, day) == ("02", "29")
    seconds = _seconds([str(ANY_YEAR), month, "28" if leap else day, *clock], fraction, None)
    return seconds + 86400 if leap and seconds is not None else seconds


def _web_seconds(text: str) -> float | None:
    """``13/Feb/2026:11:33:33 +0000``, as web servers write it."""
    found = _WEB.match(text)
    if found is None or found[2] not in _MONTHS:
        return None
    day, month, year, hour, minute, second, zone = found.groups()
    return _seconds([year, str(_MONTHS.index(month) + 1), day, hour, minute, second], None, zone)


def _seconds(parts: list[str], fraction: str | None, zone: str | None) -> float | None:
    try:
        year, month, day, hour, minute, second = map(int, parts)
        when = dt.datetime(year, month, day, hour, minute, min(second, 59), tzinfo=dt.timezone.utc)
    except ValueError:
        return None
    offset = 0
    if zone and zone[0] in "+-":
        digits = zone[1:].replace(":", "")
        offset = (1 if zone[0] == "+" else -1) * (int(digits[:2]) * 3600 + int(digits[2:]) * 60)
    return when.timestamp() - offset + (float(f"0.{fraction}") if fraction else 0.0)


def seconds_of(value: object, name: str) -> float:
    """The time in a field: a number in its own unit, or a date.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(value, str):
        if (found := _date_seconds(value)) is not None:
            return found
        try:
            return finite(value.strip().lstrip("["), name)
        except ValueError:
            raise ValueError(f"{name} is {short(value)}, neither a number nor a date and time") from None
    return finite(value, name)


def is_written_date(value: object) -> bool:
    """Whether a time is written as a date, so that its unit is known."""
    return isinstance(value, str) and _date_seconds(value) is not None


def _date_seconds(written: str) -> float | None:
    """A date in any of the forms; None where it is in none."""
    text = written.strip().lstrip("[")
    found = (read(text) for read in (iso_seconds, _web_seconds, short_seconds))
    return next((seconds for seconds in found if seconds is not None), None)
