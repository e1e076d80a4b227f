"""One request and its response, from the send to the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from rooftune.loadgen.wire.response import Response


class Carrier(Protocol):
    """The connection that serves an exchange, or the attempt to open one."""

    @property
    def times(self) -> Sequence[float]:
        """Arrival times of chunks that are not in the response yet."""

    def settle(self, now: float) -> None:
        """Parse what has been waiting for too long."""

    def abort(self) -> None:
        """Cut the exchange. The caller records it."""


class Exchange:
    """One request and its response. All times are those of the monotonic clock."""

    __slots__ = ("body", "bytes_received", "carrier", "due", "ended", "local", "response", "sent")

    def __init__(self, local: int, due: float, sent: float, body: bytes, response: Response) -> None:
        self.local, self.due, self.sent = local, due, sent
        """``local``: the request's place in the plan of this process."""
        self.body, self.response = body, response
        """``body`` is emptied once it is sent."""
        self.carrier: Carrier | None = None
        self.ended: float | None = None
        self.bytes_received = 0
        """Bytes of the response that have been parsed."""

    @property
    def chunks(self) -> int:
        """Chunks received so far, for the progress display."""
        waiting = len(self.carrier.times) if self.carrier is not None else 0
        return len(self.response.chunk_t) + waiting
