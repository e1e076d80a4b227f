"""What goes into a run in virtual time besides the requests, and what it leaves behind."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rooftune.metrics.summary import RequestTimes
from rooftune.metrics.window import Window
from rooftune.simulator.fastpath.state import GAP_STEP, LEAST_GAP
from rooftune.simulator.reasoning import assumed_reasoning

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
COLUMNS = (
    "due_s", "sent_s", "admitted_s", "first_s", "last_s", "generated", "ended", "cached", "preempted", "stream_first_s",
    "stream_last_s", "stream_tokens",
)  # fmt: skip
"""Fields of a run with one entry per request."""


ALWAYS = Window(start_s=float("-inf"), end_s=float("inf"))


class Moments(NamedTuple):
    """Mean and standard deviation."""

    mean: float
    std: float


@dataclass(frozen=True)
class ServerPath:
    """What a request passes between the client and the engine: HTTP, tokenizer and event loop, in seconds.

    ``rooftune load`` can measure these on an idle server; the default is the engine alone.
    """

    inbound_s: float = 0.0
    """From the client's send until the front begins to work on it; requests do not wait for each other here."""
    request_s: float = 0.0
    """Work of the front for one request: one request at a time."""
    prompt_token_s: float = 0.0
    """The same for each token of the prompt."""
    outbound_s: float = 0.0
    """From the end of the engine's step until the client has the token."""


ENGINE_ALONE = ServerPath()


@dataclass(frozen=True)
class ClientSettings:
    """How the client applies the load. Times in workload seconds."""

    connections: int | None = None
    """Most requests in flight at once; None = no limit."""
    users: int | None = None
    """Users of a closed loop: each takes the next request or conversation of the plan when the last one has ended, and
    sends it after its think time; None = an open loop."""
    send_until_s: float = float("inf")
    """Nothing is sent from here on."""
    end_s: float = float("inf")
    """The run is cut here."""
    marks_s: tuple[float, ...] = ()
    """Edges of the intervals that totals are kept for: before the first, between, after the last."""
    window: Window = ALWAYS
    """Where gaps and streams are counted. Each of its edges is infinite or one of the marks."""
    path: ServerPath = ENGINE_ALONE
    """The way from the client to the engine and back."""


@dataclass(frozen=True)
class SimulatedRun:
    """First and last token are as the client gets them, all else as the engine has it. Columns by request (NaN or
    -1: did not happen), rows by interval."""

    due_s: Floats
    sent_s: Floats
    admitted_s: Floats
    first_s: Floats
    last_s: Floats
    generated: Ints
    ended: Bools
    cached: Ints
    preempted: Ints
    end_s: float
    """The clock at the end."""
    tokens: Ints
    """By interval: tokens generated."""
    prompt_tokens: Ints
    computed_tokens: Ints
    """By interval: prompt tokens computed (not found in the prefix cache)."""
    completed: Ints
    prefix_queries: Ints
    prefix_hits: Ints
    preemptions: Ints
    steps: Ints
    running_s: Floats
    """By interval: running sequences, times seconds."""
    waiting_s: Floats
    kv_usage_s: Floats
    busy_s: Floats
    gaps: Floats
    """Counts of gaps between moments with tokens of one request, both in the window, by logarithmic bin."""
    stream_first_s: Floats
    """First and last token of each request in the window, and its tokens there after the first moment."""
    stream_last_s: Floats
    stream_tokens: Ints
    extra_tokens: int = 0
    """Tokens that came together with another (speculative decoding)."""
    mixed_steps: int = 0
    mixed_s: float = 0.0
    decoded: int = 0
    """Decoding sequences, summed over steps."""
    context: float = 0.0
    """Their context, summed over steps."""

    def only(self, kept: Bools) -> SimulatedRun:
        """The columns of some of the requests; totals stay."""
        columns: dict[str, Any] = {name: getattr(self, name)[kept] for name in COLUMNS}
        return replace(self, **columns)

    def followed_by_nothing(self, count: int) -> SimulatedRun:
        """The columns with ``count`` more requests to which nothing happened."""
        if not count:
            return self
        columns: dict[str, Any] = {name: _longer(getattr(self, name), count) for name in COLUMNS}
        return replace(self, **columns)

    def times(self, scheduled_s: Floats) -> RequestTimes:
        """The times of the requests, with tokens at an even pace from the first to the last."""
        before, gaps = assumed_reasoning(self.generated), np.maximum(self.generated - 1, 1)
        answer_s = self.first_s + (self.last_s - self.first_s) * (before / gaps)
        tokens = self.generated.astype(np.float64)
        return RequestTimes(scheduled_s, self.first_s, answer_s, self.last_s, self.last_s, tokens)

    def gap_quantile(self, q: float) -> float:
        """Quantile of the gaps between tokens in seconds; NaN without gaps. Exact to 0.1 %."""
        total = self.gaps.sum()
        if total <= 0:
            return float("nan")
        at = int(np.searchsorted(np.cumsum(self.gaps), q * total))
        return float(LEAST_GAP * np.exp((min(at, len(self.gaps) - 1) + 0.5) * GAP_STEP))

    def gap_moments(self) -> Moments:
        """Mean and standard deviation of the gaps between tokens in seconds; NaN without gaps."""
        total = self.gaps.sum()
        if total <= 0:
            return Moments(float("nan"), float("nan"))
        middles = LEAST_GAP * np.exp((np.arange(len(self.gaps)) + 0.5) * GAP_STEP)
        mean = float((self.gaps * middles).sum() / total)
        return Moments(mean, float(np.sqrt((self.gaps * (middles - mean) ** 2).sum() / total)))


def _longer(column: npt.NDArray[Any], count: int) -> npt.NDArray[Any]:
    nothing = np.nan if column.dtype.kind == "f" else 0
    return np.concatenate([column, np.full(count, nothing).astype(column.dtype)])
