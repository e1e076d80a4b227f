"""What the audit looks at: the records and the metrics of one run, ours or another tool's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from rooftune.evidence.records.columns import Floats, Requests, Ticks
from rooftune.evidence.records.trial import MOST_S, TrialResult
from rooftune.loadgen.summary import LoadSummary
from rooftune.metrics.window import Window
from rooftune.workloads.spec import Closed, Workload


@dataclass(frozen=True)
class Evidence:
    """One measured run as its files describe it. None or empty = the source does not have it."""

    tool: str
    """Who recorded it: 'rooftune', 'vllm bench serve', 'guidellm', 'aiperf', 'csv'."""
    label: str
    requests: Requests | None = None
    ticks: Ticks = field(default_factory=dict)
    load: LoadSummary | None = None
    workload: Workload | None = None
    trial: TrialResult | None = None
    log: str | None = None
    quoted: Mapping[str, float] = field(default_factory=dict)
    """What the tool reports, by vLLM's names (``completed``, ``p99_ttft_ms`` …); ``request_rate`` may be infinite."""
    duration_s: float | None = None
    """How long the client measured, from the first send."""
    characters: bool = False
    """Lengths of answers are known in characters only."""
    unclocked: bool = False
    """The times of each request count from its own send, and when it was sent is not known."""

    @property
    def ours(self) -> bool:
        return self.tool == "rooftune"

    @property
    def without_clock(self) -> Evidence:
        """The same run for a check that needs to know when requests were sent."""
        return replace(self, requests=None) if self.unclocked else self

    @property
    def no_requests(self) -> str:
        """Why a check finds no requests: the begin of its sentence."""
        return (
            "The file does not say when each request was sent" if self.unclocked else "The file has no single requests"
        )

    @property
    def window(self) -> Window | None:
        """The measured window: ours, or everything that the other tool measured."""
        if self.trial is not None and self.trial.window is not None:
            return self.trial.window
        length = self.duration_s
        if length is None and self.requests is not None:
            length = self.requests.observed_until_s
        return Window(start_s=0.0, end_s=length) if length is not None and 0 < length <= MOST_S else None

    def samples(self, column: str) -> Floats | None:
        """Known values of a column of the ticks within the window; None when there are none."""
        found = self.samples_together(column)
        return None if found is None else found[0]

    def samples_together(self, *columns: str) -> list[Floats] | None:
        """The columns at those ticks of the window at which all of them are known; None when there are none.

        A server that does not answer in time leaves its columns empty while the client's go on.
        """
        values, at = [self.ticks.get(column) for column in columns], self.ticks.get("t_s")
        if at is None or self.window is None or any(column is None for column in values):
            return None
        table = np.array(values, dtype=np.float64)
        kept = (at >= self.window.start_s) & (at <= self.window.end_s) & np.isfinite(table).all(axis=0)
        return list(table[:, kept]) if kept.any() else None

    @property
    def concurrency(self) -> int | None:
        """Requests that a closed loop keeps in flight; None = open loop, or not known."""
        if self.workload is not None and isinstance(self.workload.arrivals, Closed):
            return self.workload.arrivals.concurrency
        value = self.quoted.get("max_concurrency")
        return int(value) if value is not None and math.isfinite(value) else None

    @classmethod
    def of_trial(
        cls,
        requests: Requests,
        ticks: Ticks,
        load: LoadSummary,
        workload: Workload | None,
        trial: TrialResult,
        log: str | None,
    ) -> Evidence:
        """One of our own trials."""
        label = f"{trial.candidate}/{trial.n}"
        return cls("rooftune", label, requests, ticks, load, workload, trial, log, trial.metrics)
