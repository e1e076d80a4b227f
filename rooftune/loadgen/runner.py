"""The load of one client process: sends each request when it is due and writes down what came of it."""

from __future__ import annotations

import asyncio
import heapq
import math
import time
from array import array
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np

from rooftune.loadgen.job import Job
from rooftune.loadgen.spill import Rows, write_part
from rooftune.loadgen.watch import Watch
from rooftune.loadgen.wire.alarm import Alarm
from rooftune.loadgen.wire.answer import Answer
from rooftune.loadgen.wire.bodies import Bodies
from rooftune.loadgen.wire.flight import Flight

AT_ONCE = 64
"""Sends in one turn of the loop before answers are read again."""
READY_BODIES, READY_BYTES = 64, 16 * 2**20
"""Bodies made ahead at most."""
SLACK_S = 0.0015
"""A body is made ahead only when no send is due within this time."""
SPILL_EVERY_S = 1.0
PAUSE_S = 0.1
"""A slot of a closed loop waits so long after an answer that was none, so that a broken server is not hammered."""


class Sender(Protocol):
    """Sends flights: over plain sockets (``wire.Pool``) or through aiohttp."""

    peak: int
    next_due: float
    when_due: Callable[[], None]
    """Called between two reads once ``next_due`` has passed."""

    @property
    def connections(self) -> int: ...
    def send(self, flight: Flight) -> None: ...
    def cut(self, flight: Flight, now: float) -> None: ...
    def tidy(self, now: float) -> None: ...
    async def close(self) -> None: ...


class Runner:
    """Runs a job from ``began`` (monotonic clock) on. Times inside are real seconds of that clock."""

    def __init__(self, job: Job, head: bytes) -> None:
        self.job, self.plan = job, job.plan
        self.scale = job.options.time_scale
        self.bodies = Bodies(job.plan, job.options, ignore_eos=job.ignore_eos)
        self._head = head
        self.sender: Any = None
        self.flights: dict[Flight, None] = {}
        first = np.flatnonzero((job.plan.conversation < 0) | (job.plan.turn == 0))
        order = first[np.argsort(job.plan.arrival_s[first], kind="stable")]
        self._order, self._arrival = order.tolist(), array("d", job.plan.arrival_s[order].tobytes())
        self._next = 0
        self._later: list[tuple[float, int]] = []
        """Turns and slots that wait for their time."""
        self._ready: deque[tuple[int, bytes]] = deque()
        self._ready_bytes, self._preparing = 0, False
        self.closed = job.plan.concurrency is not None
        self._stopped = False
        self.counts = dict.fromkeys(("sent", "completed", "failed", "refused", "cut", "never_begun", "left_out"), 0)
        self.usage_tokens = self.usage_chunks = self.chunks = 0
        self.retry_after = 0
        self._part = 0
        self._writer = ThreadPoolExecutor(1, "spill")

    def prepare(self, loop: asyncio.AbstractEventLoop, sender: Sender) -> None:
        """Everything that can be done before the load begins."""
        self.loop, self.sender = loop, sender
        self.watch = Watch(loop)
        self.alarm = Alarm(loop, self._due)
        sender.when_due = self._due
        self.began = time.monotonic() + 3600.0
        while len(self._ready) < READY_BODIES and self._make_one():
            pass
        self._rehearse()

    def _rehearse(self) -> None:
        """Write a part once, so that what is imported and made at the first time is there before the load begins."""
        rows = self._new_rows()
        rows.never_begun(0, self.began, "")
        write_part(rows.table(), self.job.folder, f"rehearsal-{self.job.process}")
        (self.job.folder / f"rehearsal-{self.job.process}").unlink()

    async def run(self, began: float, stop: asyncio.Event, beat: Any) -> None:
        """Send until the end of the window, drain, cut what is left. ``beat()`` is called about every second.

        ``stop`` ends the load at once; what is in flight is cut.
        """
        self.began = began
        self.until = began + self.job.total_s / self.scale
        self.last = self.until + self.job.drain_s / self.scale
        self.rows = self._new_rows()
        self.watch.begin(began)
        if self.closed:
            for _ in range(self.plan.concurrency or 0):
                heapq.heappush(self._later, (began, -1))
        self._arm()
        await self._wait(stop, beat)
        self._cut("the load was stopped" if stop.is_set() else "it was in flight when the drain ended")
        self.alarm.close()
        await self.spill()
        await self.sender.close()
        self.watch.close()

    async def _wait(self, stop: asyncio.Event, beat: Any) -> None:
        """Keep house until the load is over."""
        every = min(SPILL_EVERY_S, max(0.1, 1.0 / self.scale))
        spilled, next_beat, watching = self.began, self.began, True
        while not stop.is_set():
            now = time.monotonic()
            if watching and now >= self.until:
                self.watch.end()
                watching = False
            if now >= self.last or (now >= self.until and self._finished()):
                break
            if now >= next_beat:
                self._tidy(now)
                beat()
                next_beat += every * max(1, int((now - next_beat) / every) + 1)
            if now - spilled >= SPILL_EVERY_S:
                spilled = now
                await self.spill()
            wake = min(next_beat, self.until if now < self.until else now + 0.02, self.last)
            try:
                await asyncio.wait_for(stop.wait(), max(0.001, wake - time.monotonic()))
            except asyncio.TimeoutError:
                pass
        if watching:
            self.watch.end()

    def _finished(self) -> bool:
        """Nothing is in flight and nothing will be sent any more."""
        return not self.flights and (self.closed or (self._next >= len(self._order) and not self._later))

    def _due_at(self) -> float | None:
        """When the next request is due; None = nothing waits."""
        later = self._later[0][0] if self._later else None
        if self.closed or self._next >= len(self._order):
            return later
        mine = self.began + self._arrival[self._next] / self.scale
        return mine if later is None or mine <= later else later

    def _arm(self) -> None:
        at = None if self._stopped else self._due_at()
        self.sender.next_due = math.inf if at is None else at
        if at is not None:
            self.alarm.at(at)

    def _due(self) -> None:
        """Send what is due."""
        for _ in range(AT_ONCE):
            at = self._due_at()
            now = time.monotonic()
            if at is None or at > now or self._stopped:
                break
            later = bool(self._later) and self._later[0][0] <= at
            if not later:
                self._next += 1
                self._send(self._order[self._next - 1], at)
                continue
            _, local = heapq.heappop(self._later)
            if local >= 0:
                self._send(local, at)
            elif now < self.until and self._next < len(self._order):
                self._next += 1
                self._send(self._order[self._next - 1], at)
        self._arm()
        self._prepare_soon()

    def _send(self, local: int, due: float) -> None:
        body = self._body(local)
        answer = Answer(
            chat=self.bodies.chat, asked=int(self.plan.output_tokens[local]), streamed=self.job.options.stream
        )
        now = time.monotonic()
        flight = Flight(local, due, now, b"%b%d\r\n\r\n%b" % (self._head, len(body), body), answer)
        self.flights[flight] = None
        self.counts["sent"] += 1
        self.sender.send(flight)

    def _body(self, local: int) -> bytes:
        """The body made ahead, or else made now."""
        if self._ready and self._ready[0][0] == local:
            body = self._ready.popleft()[1]
            self._ready_bytes -= len(body)
            return body
        return self.bodies.body(local)

    def _prepare_soon(self) -> None:
        if not self._preparing:
            self._preparing = True
            self.loop.call_soon(self._prepare_some)

    def _prepare_some(self) -> None:
        """Make a body ahead if no send is near; then another in the next turn of the loop."""
        self._preparing = False
        at = self._due_at()
        if at is None and not self.closed:
            return
        if (at is None or at - time.monotonic() > SLACK_S) and len(self._ready) < READY_BODIES and self._make_one():
            self._prepare_soon()

    def _make_one(self) -> bool:
        place = self._next + len(self._ready)
        if place >= len(self._order) or self._ready_bytes > READY_BYTES:
            return False
        local = self._order[place]
        body = self.bodies.body(local)
        self._ready.append((local, body))
        self._ready_bytes += len(body)
        return True

    def ended(self, flight: Flight) -> None:
        """A request is over by itself: write it down, and let the next of its conversation or slot come."""
        if self.flights.pop(flight, 0) is not None:
            return
        answer = flight.answer
        assert flight.ended is not None
        good = not answer.error_class
        status = "completed" if good else "refused" if answer.refused else "failed"
        if answer.refused and answer.retry_after:
            self.retry_after += 1
        self._write(flight, status)
        if good and answer.output_tokens:
            self.usage_tokens += answer.output_tokens
            self.usage_chunks += len(answer.chunk_t)
        if self._stopped:
            return
        if self.closed:
            heapq.heappush(self._later, (flight.ended + (0.0 if good else PAUSE_S), -1))
            self._due()
        elif self.plan.conversation[flight.local] >= 0:
            self._next_turn(flight, good)

    def _write(self, flight: Flight, status: str) -> None:
        self.counts[status] += 1
        self.chunks += len(flight.answer.chunk_t)
        self.rows.add(flight.local, status, flight.due, flight.sent, flight.ended, flight.answer, flight.size)

    def _next_turn(self, flight: Flight, good: bool) -> None:
        """The next turn is due a think time after this answer; without an answer there is none."""
        follows = self._turns_after(flight.local)
        if not follows:
            return
        assert flight.ended is not None
        if not good:
            if flight.ended < self.until:
                for local in follows:
                    self.rows.never_begun(local, flight.ended, "the turn before it got no answer")
                self.counts["never_begun"] += len(follows)
            else:
                self.counts["left_out"] += len(follows)
            return
        at = flight.ended + float(self.plan.think_s[follows[0]]) / self.scale
        if at >= self.until:
            self.counts["left_out"] += len(follows)
            return
        heapq.heappush(self._later, (at, follows[0]))
        self._arm()

    def _turns_after(self, local: int) -> list[int]:
        found, plan = [], self.plan
        conversation = plan.conversation[local]
        while conversation >= 0 and local + 1 < len(plan) and plan.conversation[local + 1] == conversation:
            local += 1
            found.append(local)
        return found

    def _tidy(self, now: float) -> None:
        """Time-outs, idle connections, garbage."""
        limit = self.job.options.request_timeout_s / self.scale
        for flight in list(self.flights):
            if now - flight.sent < limit:
                break
            self._time_out(flight, now)
        for flight in list(self.flights):
            if flight.connection is not None:
                flight.connection.settle(now)
        self.sender.tidy(now)
        self.watch.tidy(now)

    def _time_out(self, flight: Flight, now: float) -> None:
        self.sender.cut(flight, now)
        seconds, chunks = self.job.options.request_timeout_s, len(flight.answer.chunk_t)
        if chunks:
            flight.answer.wrong("stall", f"no end within {seconds:g} s; {chunks} chunks had come")
        else:
            flight.answer.wrong("timeout", f"no token within {seconds:g} s")
        flight.ended = now
        self.ended(flight)

    def _cut(self, why: str) -> None:
        """Whatever is in flight is cut, whatever is due was never begun."""
        self._stopped = True
        now = time.monotonic()
        for flight in list(self.flights):
            del self.flights[flight]
            self.sender.cut(flight, now)
            flight.answer.wrong("cut", why)
            flight.ended = now
            self._write(flight, "cut")
            self.counts["left_out"] += len(self._turns_after(flight.local))
        for local in [] if self.closed else self._order[self._next :]:
            due = self.began + float(self.plan.arrival_s[local]) / self.scale
            if due > now:
                break  # stopped before its end: what was not due yet is not part of the load
            self.rows.never_begun(local, due, "the load ended before it was sent")
            self.counts["never_begun"] += 1
        for at, local in self._later:
            if local >= 0:
                self.rows.never_begun(local, at, "the load ended before it was sent")
                self.counts["never_begun"] += 1

    def _new_rows(self) -> Rows:
        return Rows(self.plan, self.job.index, self.job.process, began=self.began, scale=self.scale)

    async def spill(self) -> None:
        """Write what has ended since the last time, in a thread. Raises RooftuneError when the disk is full."""
        rows, self.rows = self.rows, self._new_rows()
        if not len(rows):
            return
        self._part += 1
        name = f"requests-p{self.job.process:03}-{self._part:07}.parquet"
        await self.loop.run_in_executor(self._writer, lambda: write_part(rows.table(), self.job.folder, name))

    def status(self) -> dict[str, float]:
        """Counts for the progress and the ticks."""
        streaming = sum([f.chunks for f in self.flights])
        return {
            **self.counts,
            "in_flight": len(self.flights),
            "connections": self.sender.connections,
            "chunks": self.chunks + streaming,
            "cpu_s": time.process_time(),
        }

    def report(self) -> dict[str, Any]:
        """What this process says of itself at the end. Times in real seconds."""
        w = self.watch
        return {
            **self.status(),
            "connections_peak": self.sender.peak,
            "descriptors_limit": w.descriptors_limit,
            "descriptors_peak": w.descriptors_used + self.sender.peak,
            "cpu_share": w.cpu_share,
            "loop_lag_p99_s": w.loop_lag_p99_s,
            "gc_pause_s": w.gc_pause_s,
            "usage_tokens": self.usage_tokens,
            "usage_chunks": self.usage_chunks,
            "retry_after": self.retry_after,
            "ended_s": time.monotonic() - self.began,
        }
