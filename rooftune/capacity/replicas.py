"""How many servers a rate needs, what they cost, and what happens with one fewer or one more."""

from __future__ import annotations

import math

from rooftune.capacity.curve import PredictedResponse
from rooftune.capacity.result import ReplicaRow, Replicas

SLACK = 1e-9
MOST = 1_000_000


def needed(asked_per_s: float, each_per_s: float) -> int:
    """Servers for a rate."""
    return max(1, min(MOST, math.ceil(asked_per_s / each_per_s - SLACK)))


def usd_per_million(usd_per_hour: float, output_tokens_per_s: float) -> float | None:
    """Price of a million output tokens."""
    return usd_per_hour * 1e6 / (3600 * output_tokens_per_s) if output_tokens_per_s > 0 else None


def replicas_for(
    asked_per_s: float,
    rate_per_s: float,
    low_per_s: float,
    response: PredictedResponse,
    usd_per_hour: float | None,
    output_tokens: float | None,
) -> Replicas:
    """Servers for the asked rate, which is split evenly among them.

    Args:
        rate_per_s: capacity of one, and ``low_per_s`` the lower end of its interval.
        usd_per_hour: price of one server.
        output_tokens: mean output tokens of all requests that one arrival brings.
    """
    count, safe = needed(asked_per_s, rate_per_s), needed(asked_per_s, low_per_s)
    numbers = sorted({n for n in (count - 1, count, count + 1, safe) if n >= 1})
    tokens = asked_per_s * output_tokens if output_tokens else 0.0
    rows = []
    for n in numbers:
        point = response.at(asked_per_s / n)
        price = None if usd_per_hour is None else n * usd_per_hour
        rows.append(
            ReplicaRow(
                replicas=n,
                rate_per_s=asked_per_s / n,
                attainment=point.attainment,
                overloaded=point.queue_grew,
                usd_per_hour=price,
                usd_per_million_output_tokens=None if price is None else usd_per_million(price, tokens),
            )
        )
    return Replicas(asked_rate_per_s=asked_per_s, at_estimate=count, at_low=safe, rows=rows)
