"""One request between its send and its end."""

from __future__ import annotations

from typing import Any

from rooftune.loadgen.wire.answer import Answer


class Flight:
    """One request. Times of the monotonic clock."""

    __slots__ = ("answer", "connection", "due", "ended", "local", "sent", "size", "wire")

    def __init__(self, local: int, due: float, sent: float, wire: bytes, answer: Answer) -> None:
        self.local, self.due, self.sent = local, due, sent
        self.wire, self.answer = wire, answer
        """Bytes to send, until they are sent; and what comes back."""
        self.connection: Any = None
        self.ended: float | None = None
        self.size = 0
        """Bytes received, as far as they were looked at."""

    @property
    def chunks(self) -> int:
        """Chunks so far, for the progress."""
        waiting = len(self.connection.times) if self.connection is not None else 0
        return len(self.answer.chunk_t) + waiting
