"""What a capacity counts: requests/s of an open loop, or users of a closed one; both in words."""

from __future__ import annotations

import math
from typing import Literal

from rooftune.formatting import number, quantity, rate
from rooftune.workloads.spec import Closed, Workload

Per = Literal["rate", "users"]
UNITS: dict[Per, str] = {"rate": "requests/s", "users": "users"}


def per_of(workload: Workload) -> Per:
    """What the capacity of a workload counts."""
    return "users" if isinstance(workload.arrivals, Closed) else "rate"


def users_of(workload: Workload) -> int | None:
    """Users of a closed loop; None = an open loop."""
    return workload.arrivals.concurrency if isinstance(workload.arrivals, Closed) else None


def load_of(workload: Workload) -> float:
    """The load of a workload: its rate in requests/s, or its users. 0 where it has no single rate."""
    users = users_of(workload)
    return float(users) if users is not None else float(getattr(workload.arrivals, "rate_per_s", None) or 0.0)


def whole_users(users: float) -> int:
    """The whole number of users that a fraction means: all of them are served."""
    return math.floor(users + 1e-9)


def bare(load: float, per: Per) -> str:
    """A load without its unit: '2.75', '48'."""
    return number(whole_users(load)) if per == "users" else number(load)


def amount(load: float, per: Per) -> str:
    """A load with its unit: '2.75 requests/s', '48 users'."""
    return quantity(whole_users(load), "user") if per == "users" else rate(load, "request", 3)
