"""From the records of one step to what it shows: SLO ratios, latencies, and whether the queue grew."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from rooftune.capacity.steps import Floats, Step, response_of
from rooftune.capacity.units import users_of
from rooftune.evidence.aggregate import census
from rooftune.evidence.metrics import concurrency, overload
from rooftune.evidence.metrics.request_metrics import request_metrics, request_times, require_reasoning, scheduled_in
from rooftune.evidence.records.columns import Requests
from rooftune.evidence.records.parquet_files import first_error, read_requests
from rooftune.evidence.records.trial import Census
from rooftune.files import read_model
from rooftune.loadgen.summary import LoadSummary
from rooftune.metrics.summary import limited_spans
from rooftune.metrics.window import Window
from rooftune.runfolder import TrialFolder
from rooftune.workloads.slo import SLO_LIMITS, Slo
from rooftune.workloads.spec import Workload

STEP = "step.json"
"""Written last, so a step with this file is complete."""
SHOWN = tuple(f"{word}_{name}" for name in SLO_LIMITS for word in ("median", "p90", "p99"))
"""Latencies of a step that are kept."""
CROWD = 0.1
"""Share of the users of a closed loop who wait while a limit holds the others at one number."""


class StepStart(BaseModel):
    """The server just before a step."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    idle: bool | None = Field(default=None, description="no request was running or waiting; None = it does not say")
    present: float | None = Field(default=None, description="requests running and waiting")
    waited_s: float = Field(default=0.0, description="real seconds until it was idle")


class StepRecord(BaseModel):
    """One step. Content of step.json. Times in workload seconds unless they say otherwise."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    number: int = Field(description="from 1")
    reason: str = Field(description="why this rate was chosen")
    workload: Workload = Field(description="as sent; drawing it again gives the same requests")
    rate_per_s: float = Field(description="of the arrival process; of a closed loop, as sent")
    users: int | None = Field(default=None, description="of a closed loop; None = an open loop")
    started_at: float = Field(description="seconds since the epoch")
    real_s: float = Field(description="real seconds from the start of the load to its end")
    load_s: float = Field(description="for how long the server was kept busy")
    start: StepStart = StepStart()
    sent_per_s: float = Field(description="requests scheduled, per second of settling and window")
    requests: int = Field(description="requests that are judged: scheduled in the window")
    attainment: float = Field(description="share of the judged requests within every limit")
    quantiles: dict[str, float | None] = Field(
        description="SLO ratio (the largest of a request's times over their limits) by level; None = not determined, "
        "because more requests did not end than the level leaves"
    )
    by_limit: dict[str, float | None] = Field(description="the same for each limit alone, at the share of the SLO")
    queue_grew: bool
    batch_limit: int | None = Field(
        default=None, description="requests answered at once, where a limit holds them at one number while others wait"
    )
    served_per_s: float | None = Field(default=None, description="requests/s served, where the queue grew")
    latencies: dict[str, float] = Field(default_factory=dict, description="milliseconds, over the judged requests")
    census: Census
    errors: int = Field(default=0, description="judged requests that failed or were refused")
    first_error: str = ""
    output_tokens: float | None = Field(default=None, description="mean of the completed answers")
    planned_output_tokens: float | None = Field(default=None, description="mean planned for the same answers")
    send_lag_p99_ms: float = 0.0
    speed: float | None = Field(default=None, description="of the reference that shows the same for these requests")

    @property
    def load(self) -> float:
        """Its users, or its rate in requests/s."""
        return self.rate_per_s if self.users is None else float(self.users)

    @property
    def met(self) -> bool:
        """Whether the SLO held: enough requests within every limit, and no queue that grows."""
        return self.attainment >= self.workload.slo.share and not self.queue_grew

    @property
    def errors_break(self) -> bool:
        """Whether errors alone break the SLO, whatever the latencies are."""
        return self.errors > (1 - self.workload.slo.share) * self.requests


class MeasuredStep(BaseModel):
    """A step as the estimate needs it, with its record."""

    model_config = ConfigDict(arbitrary_types_allowed=True, frozen=True)
    step: Step
    record: StepRecord


def step_folder(folder: Path, number: int) -> TrialFolder:
    """Files of one step of a measurement."""
    return TrialFolder(folder / "steps" / str(number))


def read_step(folder: TrialFolder, workload: Workload, number: int, reason: str, start: StepStart) -> MeasuredStep:
    """Judge a step by the records of its load.

    Raises:
        RooftuneError: requests.parquet or load.json is missing, empty or cut.
        InputError: no request was scheduled in the window, or the SLO limits the first token of the answer and no
            answer has reasoning.
    """
    load, r = read_model(folder.load_json, LoadSummary), read_requests(folder.requests)
    window = Window(start_s=load.window_start_s, end_s=load.window_end_s)
    judged = scheduled_in(r, window)
    require_reasoning(r, workload.slo)
    ratios = slo_ratios_of(r, workload.slo)
    response = response_of(ratios, judged, len(r) / workload.total_s, workload.slo.share)
    closed = load.concurrency is not None
    state = overload.assess(r, window, workload.slo, closed=closed, fixed=workload.ignore_eos)
    ceiling = concurrency.streams(r, window)
    metrics = request_metrics(r, window, workload.slo).metrics
    done, wrong = r.status == "completed", np.isin(r.status, ("failed", "refused")) & judged
    answered = done & np.isfinite(r.output_tokens)
    record = StepRecord(
        number=number,
        reason=reason,
        workload=workload,
        rate_per_s=_rate(workload, len(r)),
        users=users_of(workload),
        started_at=load.started_at,
        real_s=load.drained_after_s / load.time_scale,
        load_s=load.drained_after_s,
        start=start,
        sent_per_s=response.rate_per_s,
        requests=response.requests,
        attainment=response.attainment,
        quantiles={str(level): _finite(value) for level, value in response.quantiles.items()},
        by_limit={n: _finite(_quantile(v[judged], workload.slo.share)) for n, v in ratios.items()},
        queue_grew=state.overloaded,
        batch_limit=ceiling.level if ceiling.held and (state.overloaded or _crowded(workload, ceiling)) else None,
        served_per_s=state.served_rate_per_s,
        latencies={name: metrics[name] for name in SHOWN if name in metrics},
        census=census(r, load),
        errors=int(wrong.sum()),
        first_error=first_error(folder.requests),
        output_tokens=float(r.output_tokens[answered].mean()) if answered.any() else None,
        planned_output_tokens=float(r.planned_output_tokens[answered].mean()) if answered.any() else None,
        send_lag_p99_ms=load.send_lag_p99_ms,
    )
    return MeasuredStep(step=Step(workload, response, load.drained_after_s, state.overloaded), record=record)


def slo_ratios_of(r: Requests, slo: Slo) -> dict[str, Floats]:
    """By limit: each request's time over the limit, from its scheduled send; infinite where it did not complete."""
    spans = limited_spans(request_times(r))
    done = r.status == "completed"
    found = {}
    for name, limit in slo.limits_ms().items():
        ratio = spans[name] * (1000 / limit)
        found[name] = np.where(done & np.isfinite(ratio), ratio, np.inf)
    return found


def _crowded(workload: Workload, ceiling: concurrency.InFlightCeiling) -> bool:
    """Whether more users of a closed loop wait for their first token than those whose prompts are being computed."""
    users = users_of(workload)
    return users is not None and ceiling.waiting >= max(2.0, CROWD * users)


def _rate(workload: Workload, requests: int) -> float:
    rate: float | None = getattr(workload.arrivals, "rate_per_s", None)
    return rate if rate is not None else requests / workload.total_s


def _quantile(values: Floats, level: float) -> float:
    return float(np.quantile(values, level, method="inverted_cdf"))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
