"""Fast path: the client's side. Sends requests when they are due, as far as connections are free."""

from __future__ import annotations

from typing import Any

from rooftune.simulator.fastpath.decorators import compiled, inlined
from rooftune.simulator.fastpath.state import CLOCK, CURSOR, FAR, FRONT, HEAP, IN_FLIGHT, INBOX, SENT


@compiled
def heap_push(s: Any, due: float, r: int) -> None:
    """A later turn, or the next request of a user, becomes due."""
    at = s.c[HEAP]
    s.c[HEAP] += 1
    while at > 0:
        up = (at - 1) // 2
        if (s.f[s.heap_s + up], s.q[s.heap_request + up]) <= (due, r):
            break
        s.f[s.heap_s + at], s.q[s.heap_request + at] = s.f[s.heap_s + up], s.q[s.heap_request + up]
        at = up
    s.f[s.heap_s + at], s.q[s.heap_request + at] = due, r


@compiled
def heap_pop(s: Any) -> None:
    """Remove the first of them."""
    s.c[HEAP] -= 1
    n = s.c[HEAP]
    due, r = s.f[s.heap_s + n], s.q[s.heap_request + n]
    at = 0
    while 2 * at + 1 < n:
        down = 2 * at + 1
        if down + 1 < n and (s.f[s.heap_s + down + 1], s.q[s.heap_request + down + 1]) < (
            s.f[s.heap_s + down],
            s.q[s.heap_request + down],
        ):
            down += 1
        if (due, r) <= (s.f[s.heap_s + down], s.q[s.heap_request + down]):
            break
        s.f[s.heap_s + at], s.q[s.heap_request + at] = s.f[s.heap_s + down], s.q[s.heap_request + down]
        at = down
    s.f[s.heap_s + at], s.q[s.heap_request + at] = due, r


@inlined
def next_due(s: Any) -> float:
    """When the next request is sent if nothing ends before; FAR when none is."""
    if s.connections > 0 and s.c[IN_FLIGHT] >= s.connections:
        return FAR
    by_itself = s.users == 0 and s.c[CURSOR] < s.n_opening
    due = s.f[s.due + s.q[s.opening + s.c[CURSOR]]] if by_itself else FAR
    if s.c[HEAP] > 0 and s.f[s.heap_s + 0] < due:
        due = s.f[s.heap_s + 0]
    return due if due < s.send_until else FAR


@inlined
def next_event(s: Any) -> float:
    """When the next request is sent, or one that was sent reaches the engine, if nothing ends before."""
    due = next_due(s)
    if s.c[INBOX] < s.c[SENT]:
        due = min(due, s.f[s.arrives + s.q[s.waiting + s.c[INBOX]]])
    return due


@inlined
def send(s: Any, freed: bool) -> None:
    """Send all requests that are due by now, and put those that have come through the server's front into the inbox.

    With ``freed``, they go out on connections that have just become free: the client learns that ``path_out`` later.
    """
    now = s.x[CLOCK]
    while next_due(s) <= now:
        if s.c[HEAP] > 0 and (
            s.users > 0 or s.c[CURSOR] >= s.n_opening or s.f[s.heap_s + 0] < s.f[s.due + s.q[s.opening + s.c[CURSOR]]]
        ):
            r = s.q[s.heap_request + 0]
            s.f[s.due + r] = s.f[s.heap_s + 0]
            heap_pop(s)
        else:
            r = s.q[s.opening + s.c[CURSOR]]
            s.c[CURSOR] += 1
        s.f[s.sent + r] = now + s.path_out if freed else s.f[s.due + r]
        s.c[IN_FLIGHT] += 1
        # The front works on one request at a time, in the order of sending.
        begin = max(s.x[FRONT], s.f[s.sent + r] + s.path_in)
        s.x[FRONT] = begin + s.path_request + s.path_token * s.q[s.prompt + r]
        s.f[s.arrives + r] = s.x[FRONT]
        s.q[s.waiting + s.c[SENT]] = r
        s.c[SENT] += 1
    while s.c[INBOX] < s.c[SENT] and s.f[s.arrives + s.q[s.waiting + s.c[INBOX]]] <= now:
        s.c[INBOX] += 1
