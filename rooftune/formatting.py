"""How numbers are written for people: significant digits, thousands separators, units; never an exponent."""

from __future__ import annotations

import math
from decimal import Decimal

MINUS = "−"
NONE = "–"
"""What is shown where there is no number."""


def number(value: float | None, digits: int = 3) -> str:
    """A number with at least ``digits`` significant digits: ``0.0123``, ``39.8``, ``12,345``.

    Digits before the decimal point are never rounded away, and no digit is added that the value does not have.

    >>> number(1234.5), number(5.0), number(0.25), number(0.000123456), number(127.3, 2)
    ('1,234', '5', '0.25', '0.000123', '127')
    """
    if value is None or math.isnan(value):
        return NONE
    if math.isinf(value):
        return "∞" if value > 0 else MINUS + "∞"
    value = float(f"{value:.12g}")  # 100 * 0.07 is meant to be 7
    return _signed(f"{value:,.{_decimals(value, digits)}f}")


def _decimals(value: float, digits: int) -> int:
    """Decimals that show this many significant digits of the rounded value, or fewer where the value has fewer."""
    if value == round(value):
        return 0
    exponent = int(f"{value:.{digits - 1}e}".partition("e")[2])
    return max(min(digits - 1 - exponent, -int(Decimal(repr(value)).as_tuple().exponent)), 0)


def _signed(text: str) -> str:
    return text.replace("-", MINUS)


def percent(share: float, digits: int = 2) -> str:
    """A share as a percentage: 0.253 -> '25 %', 0.0042 -> '0.42 %'."""
    return f"{number(100 * share, digits)} %"


def change(ratio: float | None) -> str:
    """A ratio as a signed change in per cent, with one decimal below 10 %: 0.55 -> '−45 %', 1.021 -> '+2.1 %'."""
    if ratio is None:
        return NONE
    value = 100 * (ratio - 1)
    text = f"{value:+,.1f}" if abs(value) < 9.95 else f"{value:+,.0f}"
    return f"{'0.0' if text in ('+0.0', '-0.0') else _signed(text)} %"


def change_range(estimate: float, low: float, high: float) -> str:
    """A ratio with its interval as a change: '−45 % (−47 to −43 %)'."""
    return f"{change(estimate)} ({change(low).removesuffix(' %')} to {change(high)})"


def multiple(ratio: float) -> str:
    """How many times as much: '6.7 times'."""
    return f"{number(ratio, 2)} times"


def quantity(value: float, noun: str, digits: int = 3) -> str:
    """A number with its noun: '1 trial', '2 trials', '7.5 trials'."""
    text = number(value, digits)
    return f"{text} {noun}" + ("" if text in ("1", f"{MINUS}1") else "s")


def rate(per_second: float, noun: str, digits: int = 2) -> str:
    """A rate with its noun: '1 request/s', '5.1 requests/s', '127 requests/s'."""
    return f"{quantity(per_second, noun, digits)}/s"


def milliseconds(seconds: float, digits: int = 3) -> str:
    """A time in milliseconds: 0.0413 -> '41.3 ms'."""
    return f"{number(1000 * seconds, digits)} ms"


def gigabytes(size: float, digits: int = 3) -> str:
    """A size in units of 1e9 bytes: '13.2 GB'."""
    return f"{number(size / 1e9, digits)} GB"


def gibibytes(size: float, digits: int = 3) -> str:
    """A size of memory in units of 2**30 bytes: '14.6 GiB'."""
    return f"{number(size / 2**30, digits)} GiB"


def gigabytes_per_s(bandwidth: float, digits: int = 3) -> str:
    """A bandwidth: '320 GB/s'."""
    return f"{gigabytes(bandwidth, digits)}/s"


def flops_per_s(value: float) -> str:
    """A rate of arithmetic with the prefix that fits: '65 TFLOP/s'."""
    for scale, prefix in ((1e15, "P"), (1e12, "T"), (1e9, "G")):
        if value >= scale:
            return f"{number(value / scale)} {prefix}FLOP/s"
    return f"{number(value)} FLOP/s"


def shortened(text: str, most: int) -> str:
    """A text of at most this many characters; an ellipsis stands for what is cut."""
    return text if len(text) <= most else text[: most - 1] + "…"
