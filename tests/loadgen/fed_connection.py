"""A connection without sockets, fed with the bytes of a response."""

from __future__ import annotations

import itertools
import math

from rooftune.loadgen.wire import Exchange, Response
from rooftune.loadgen.wire.connection import Connection


class FakePool:
    """Records the calls of a connection."""

    def __init__(self) -> None:
        self.head = b""
        self.done: list[Exchange] = []
        self.kept = 0
        self.next_due = math.inf
        self.rung = 0

    def when_due(self) -> None:
        self.rung += 1

    def ended(self, exchange: Exchange) -> None:
        self.done.append(exchange)

    def free(self, connection: Connection) -> None:
        self.kept += 1

    def lost(self, connection: Connection) -> None:
        pass


class FakeLink:
    """Takes what is written."""

    def write(self, data: bytes) -> None:
        pass

    def abort(self) -> None:
        pass


def cut(body: bytes, places: list[int]) -> list[bytes]:
    """A body in pieces."""
    at = sorted({p % (len(body) + 1) for p in places} | {0, len(body)})
    return [body[a:b] for a, b in itertools.pairwise(at)]


def exchanged(pieces: list[bytes], *, chat: bool, max_tokens: int, streamed: bool = True) -> Exchange:
    """The exchange whose response arrives in these reads and then ends."""
    pool = FakePool()
    connection = Connection(pool)
    connection.connection_made(FakeLink())  # type: ignore[arg-type]
    exchange = Exchange(0, 0.0, 0.0, b"", Response(chat=chat, max_tokens=max_tokens, streamed=streamed))
    connection.begin(exchange)
    for piece in pieces:
        if piece and connection.exchange is not None:
            connection.data_received(piece)
    if connection.exchange is not None:
        connection.connection_lost(None)
    assert pool.done == [exchange]
    return exchange
