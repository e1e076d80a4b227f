"""How many servers a load needs, what they cost, and what happens with one fewer or one more."""

from __future__ import annotations

import math

from rooftune.capacity.curve import PredictedResponse
from rooftune.capacity.result import ReplicaRow, Replicas
from rooftune.capacity.units import Per
from rooftune.engines.price import usd_per_million

SLACK = 1e-9
MOST = 1_000_000


def needed(asked: float, each: float) -> int:
    """Servers for a rate, or for a number of users, where each carries this much."""
    return max(1, min(MOST, math.ceil(asked / each - SLACK)))


def replicas_for(
    asked: float,
    per: Per,
    capacity: float,
    low: float,
    response: PredictedResponse,
    usd_per_hour: float | None,
    output_tokens: float | None,
) -> Replicas:
    """Servers for the asked load, which is split evenly among them.

    Args:
        asked: requests/s, or users.
        capacity: of one server, and ``low`` the lower end of its interval.
        usd_per_hour: price of one server.
        output_tokens: mean output tokens of all requests that one arrival brings.
    """
    count, safe = needed(asked, capacity), needed(asked, low)
    numbers = sorted({n for n in (count - 1, count, count + 1, safe) if n >= 1})
    rows = []
    for n in numbers:
        point = response.at(asked / n)
        price = None if usd_per_hour is None else n * usd_per_hour
        tokens = n * point.rate_per_s * output_tokens if output_tokens else 0.0
        rows.append(
            ReplicaRow(
                replicas=n,
                rate_per_s=point.rate_per_s,
                users=point.users,
                attainment=point.attainment,
                overloaded=point.queue_grew,
                usd_per_hour=price,
                usd_per_million_output_tokens=None if price is None else usd_per_million(price, tokens),
            )
        )
    rate, users = (asked, None) if per == "rate" else (0.0, round(asked))
    return Replicas(asked_rate_per_s=rate, asked_users=users, at_estimate=count, at_low=safe, rows=rows)
