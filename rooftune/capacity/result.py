"""The answer of a capacity measurement. Content of capacity.json."""

from __future__ import annotations

import math

from pydantic import BaseModel, ConfigDict, Field

from rooftune.capacity.measured_step import StepRecord
from rooftune.capacity.reference_server import ReferenceServer
from rooftune.capacity.units import Per, users_of
from rooftune.evidence.records.trial import Check
from rooftune.workloads.spec import Workload

LEVEL = 0.95


class Strict(BaseModel):
    """An unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class CurvePoint(Strict):
    """What happens at one load: measured, or predicted by the reference at the speed that was measured."""

    rate_per_s: float
    users: int | None = Field(default=None, description="of a closed loop")
    attainment: float = Field(description="share of the requests within every limit")
    requests: int
    latencies: dict[str, float] = Field(default_factory=dict, description="milliseconds, by metric name")
    queue_grew: bool = False

    @property
    def load(self) -> float:
        """Users, or the rate in requests/s."""
        return self.rate_per_s if self.users is None else float(self.users)


class ReplicaRow(Strict):
    """The asked load on a number of servers. The share is the reference's at the speed that was measured."""

    replicas: int
    rate_per_s: float = Field(description="of each server")
    users: int | None = Field(default=None, description="of the fullest server, where users were asked for")
    attainment: float = Field(description="predicted share of the requests within every limit")
    overloaded: bool = Field(description="each server gets more than it can serve, so its queue grows without end")
    usd_per_hour: float | None = None
    usd_per_million_output_tokens: float | None = Field(default=None, description="at the asked rate")


class Replicas(Strict):
    """How many servers the asked rate needs, or the asked users."""

    asked_rate_per_s: float = Field(description="0 where users were asked for")
    asked_users: int | None = None
    at_estimate: int
    at_low: int = Field(description="at the lower end of the interval")
    rows: list[ReplicaRow] = Field(description="one fewer, as many as needed, one more")


class LoneRequests(Strict):
    """Requests sent one at a time: what the server does without any load."""

    requests: int
    rate_per_s: float = Field(description="that this gives")
    attainment: float
    share: float = Field(description="that the SLO promises")
    limit: str = Field(description="the limit that is broken by the largest factor")
    ratio: float | None = Field(description="time over that limit at the share of the SLO; None = did not end")
    median_ratio: float | None = Field(default=None, description="the same for the median request")

    @property
    def breaks(self) -> bool:
        """Whether the SLO is broken without any load, by more requests than chance explains."""
        error = math.sqrt(self.share * (1 - self.share) / max(1, self.requests))
        return self.attainment < self.share - 3 * error


class CapacityResult(Strict):
    """How much of a workload one server carries within its SLO, and how that was found."""

    format: int = 1
    workload: Workload
    url: str = ""
    model: str
    simulated: bool = Field(description="the server that was measured is emulated")
    time_scale: float = 1.0
    reference: ReferenceServer
    predicted_per_s: float | None = Field(description="capacity of the reference as it is; None for a stand-in")
    predicted_users: int | None = Field(default=None, description="the same for users")
    per: Per = Field(default="rate", description="what the capacity counts: requests/s, or users of a closed loop")
    rate_per_s: float | None = Field(
        description="requests/s within the SLO; for users, the requests/s that they send; 0 = not even a lone request; "
        "None = not known"
    )
    low_per_s: float | None = Field(default=None, description="of the interval of a rate")
    high_per_s: float | None = None
    users: int | None = Field(default=None, description="users within the SLO")
    low_users: int | None = None
    high_users: int | None = None
    level: float | None = Field(default=LEVEL, description="probability that the interval holds; None = a bracket only")
    half: float | None = Field(default=None, description="half width of the interval, relative")
    precise: bool = Field(description="the requested precision was reached")
    ended: str = Field(description="why no further step was made")
    stopped: bool = Field(default=False, description="ended by the user or by its budget")
    limited_by: str = Field(default="", description="a limit of the SLO (such as ttft_ms), queue, or errors")
    speed: float | None = Field(default=None, description="of the server, relative to the reference")
    lone: LoneRequests | None = None
    replicas: Replicas | None = None
    usd_per_hour: float | None = Field(default=None, description="price of one server")
    price_source: str = ""
    requests_per_arrival: float = Field(
        default=1.0, description="turns of a conversation, and requests that come in bursts, for each arrival"
    )
    output_tokens: float | None = Field(default=None, description="mean of a completed answer")
    usd_per_million_output_tokens: float | None = Field(default=None, description="of one server at its capacity")
    load_s: float = Field(description="workload seconds for which the server was kept busy")
    real_s: float = Field(description="the same in real seconds")
    steps: list[StepRecord]
    curve: list[CurvePoint] = Field(description="measured, by rate")
    predicted_curve: list[CurvePoint] = Field(
        default_factory=list, description="the reference's at that speed; simulated"
    )
    checks: list[Check] = Field(default_factory=list)

    @property
    def believed(self) -> bool:
        """Whether no check of its audit failed."""
        return all(c.status != "fail" for c in self.checks)

    @property
    def asked_rate_per_s(self) -> float:
        """The workload's own rate."""
        rate: float = getattr(self.workload.arrivals, "rate_per_s", 0.0)
        return rate

    @property
    def asked_users(self) -> int | None:
        """The users of the workload's closed loop."""
        return users_of(self.workload)

    @property
    def capacity(self) -> float | None:
        """The capacity: users, or requests/s."""
        return self.users if self.per == "users" else self.rate_per_s

    @property
    def low(self) -> float | None:
        """The lower end of its interval."""
        return self.low_users if self.per == "users" else self.low_per_s

    @property
    def high(self) -> float | None:
        """The upper end of its interval."""
        return self.high_users if self.per == "users" else self.high_per_s
