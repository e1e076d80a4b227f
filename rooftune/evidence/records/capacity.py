"""The capacity that one trial measured: an estimate with its interval, and the loads behind it. Part of trial.json."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RateStep(_Strict):
    """One load of a trial at one rate."""

    rate_per_s: float = Field(description="of the arrival process")
    seed: int
    requests: int = Field(description="requests that are judged: scheduled in the window")
    attainment: float = Field(description="share of the judged requests within every limit of the SLO")
    by_limit: dict[str, float | None] = Field(
        default_factory=dict,
        description="time over each limit at the share of the SLO; None = too many requests did not end",
    )
    latencies: dict[str, float] = Field(default_factory=dict, description="milliseconds, by metric name")
    queue_grew: bool = False
    load_s: float = Field(default=0.0, description="workload seconds for which the server was kept busy")
    log_speed: float | None = Field(default=None, description="ln(speed) of the reference that shows the same")
    offset: float = Field(default=0.0, description="ln of the SLO ratio: 0 at the edge of the SLO")


class LoneStep(_Strict):
    """Requests sent one at a time: what the server does without load."""

    requests: int
    attainment: float
    limit: str = Field(description="the limit that is broken by the largest factor")
    ratio: float | None = Field(description="time over that limit at the share of the SLO; None = did not end")
    median_ratio: float | None = None
    sentence: str


class TrialCapacity(_Strict):
    """Requests/s within the SLO, as one server showed it."""

    rate_per_s: float | None = Field(description="0 = even one request at a time breaks the SLO; None = not known")
    low_per_s: float | None = None
    high_per_s: float | None = None
    half: float | None = Field(default=None, description="half width of the 95 % interval, relative")
    limited_by: str = Field(default="", description="a limit of the SLO (such as ttft_ms), queue, or errors")
    reference: str = Field(default="", description="the simulated server that gives the response its shape")
    steps: list[RateStep] = Field(default_factory=list, description="in the order in which they ran")
    lone: LoneStep | None = None
    output_tokens: float | None = Field(default=None, description="mean output tokens that one arrival brings")
