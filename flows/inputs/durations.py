"""Lengths of time as people write them."""

from __future__ import annotations

import re

from rooftune.errors import InputError

_NUMBER = r"(\d+(?:\.\d+)?)"
_PARTS = re.compile(rf"(?:{_NUMBER}h)?(?:{_NUMBER}m(?:in)?)?(?:{_NUMBER}s)?")


def seconds(text: str) -> float:
    """Seconds of a length of time such as ``10m``, ``90s``, ``1h30m`` or ``240``.

    Raises:
        InputError: it is not a length of time.
    """
    compact = text.strip().lower().replace(" ", "")
    if re.fullmatch(_NUMBER, compact):
        return float(compact)
    match = _PARTS.fullmatch(compact)
    if not compact or match is None:
        raise InputError(f"{text!r} is not a length of time; write 10m, 90s or 1h30m.")
    hours, minutes, rest = (float(part or 0) for part in match.groups())
    return 3600 * hours + 60 * minutes + rest
