"""The load of one client process: sends each request when it is due and records the outcome."""

from __future__ import annotations

import asyncio
import heapq
import math
import time
from array import array
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from rooftune.loadgen.job import Job
from rooftune.loadgen.messages import ProcessReport, ProcessStatus
from rooftune.loadgen.parts import write_part
from rooftune.loadgen.private_errors import without_texts
from rooftune.loadgen.records import RequestRows
from rooftune.loadgen.request_bodies import RequestBodies
from rooftune.loadgen.self_monitor import SelfMonitor
from rooftune.loadgen.wire import Exchange, Response, Sender, Timer

AT_ONCE = 64
"""The most sends in one turn of the loop before responses are read again."""
READY_BODIES, READY_BYTES = 64, 16 * 2**20
"""The most request bodies, and bytes of them, that are made ahead."""
SLACK_S = 0.0015
"""A body is made ahead only when no send is due within this time."""
WRITE_EVERY_S = 1.0
PAUSE_S = 0.1
"""Pause of a closed-loop slot after a failed request, so that a broken server is not flooded."""


class Runner:
    """Runs a job. Times are real seconds of the monotonic clock."""

    def __init__(self, job: Job) -> None:
        self.job, self.plan = job, job.share.plan
        plan = self.plan
        self.scale = job.options.time_scale
        self.request_timeout_s = job.options.request_timeout_s / self.scale
        self.bodies = RequestBodies(plan, job.options, job.sampling, ignore_eos=job.ignore_eos)
        self.sender: Sender
        self.in_flight: dict[Exchange, None] = {}
        """Exchanges in the order of their sends."""
        first = np.flatnonzero((plan.conversation < 0) | (plan.turn == 0))
        order = first[np.argsort(plan.arrival_s[first], kind="stable")]
        self._order, self._arrival = order.tolist(), array("d", plan.arrival_s[order].tobytes())
        self._next = 0
        self._later: list[tuple[float, int]] = []
        """Heap of (time, request): later turns of conversations, and the next requests of closed-loop users."""
        self._ready: dict[int, bytes] = {}
        self._made = self._ready_bytes = 0
        """Place in the order up to which bodies were made ahead; bytes of those that are ready."""
        self._preparing = False
        self.closed = plan.concurrency is not None
        self._stopped = False
        self._answers: dict[int, list[str]] = {}
        """Conversations with real texts that go on, and what the server has answered in them."""
        self.counts = dict.fromkeys(("sent", "completed", "failed", "refused", "cut", "never_begun", "left_out"), 0)
        self.usage_tokens = self.usage_chunks = self.chunks = 0
        self.retry_after = 0
        self._part = 0
        self._writer = ThreadPoolExecutor(1, "records")

    def prepare(self, loop: asyncio.AbstractEventLoop, sender: Sender) -> None:
        """Do everything that can be done before the load begins."""
        self.loop, self.sender = loop, sender
        self.monitor = SelfMonitor(loop)
        self.timer = Timer(loop, self._send_due)
        sender.when_due = self._send_due
        self.began = time.monotonic() + 3600.0
        while len(self._ready) < READY_BODIES and self._make_one():
            pass
        self._rehearse()

    def _rehearse(self) -> None:
        """Write a part once, so that all imports and first-time work are done before the load begins."""
        rows = self._new_rows()
        rows.add_never_begun(0, self.began, "")
        write_part(rows.table(), self.job.folder, f"rehearsal-{self.job.process}")
        (self.job.folder / f"rehearsal-{self.job.process}").unlink()

    async def run(self, began: float, stop: asyncio.Event, beat: Callable[[], None]) -> None:
        """Send until the end of the window, drain, and cut what is left.

        Args:
            began: beginning of the load on the monotonic clock.
            stop: ends the load at once; requests in exchange are cut.
            beat: called about every second.
        """
        self.began = began
        self.until = began + self.job.total_s / self.scale
        self.last = self.until + self.job.drain_s / self.scale
        self.rows = self._new_rows()
        self.monitor.begin(began)
        if self.closed:
            for _ in range(self.plan.concurrency or 0):
                self._next_of_user(began)
        self._arm()
        await self._wait(stop, beat)
        self._cut("the load was stopped" if stop.is_set() else "the request was in flight when the drain ended")
        self.timer.close()
        await self.write_rows()
        await self.sender.close()
        self.monitor.close()

    async def _wait(self, stop: asyncio.Event, beat: Callable[[], None]) -> None:
        """Do the periodic work until the load is over."""
        every = min(WRITE_EVERY_S, max(0.1, 1.0 / self.scale))
        written, next_beat, monitoring = self.began, self.began, True
        while not stop.is_set():
            now = time.monotonic()
            if monitoring and now >= self.until:
                self.monitor.end()
                monitoring = False
            if now >= self.last or (now >= self.until and self._finished()):
                break
            if now >= next_beat:
                self._tidy(now)
                beat()
                next_beat += every * max(1, int((now - next_beat) / every) + 1)
            if now - written >= WRITE_EVERY_S:
                written = now
                await self.write_rows()
            wake = min(next_beat, self.until if now < self.until else now + 0.02, self.last)
            try:
                await asyncio.wait_for(stop.wait(), max(0.001, wake - time.monotonic()))
            except asyncio.TimeoutError:
                pass
        if monitoring:
            self.monitor.end()

    def _finished(self) -> bool:
        """Whether nothing is in flight and nothing more will be sent."""
        return not self.in_flight and (self.closed or (self._next >= len(self._order) and not self._later))

    def _due_at(self) -> float | None:
        """When the next request is due; None when nothing waits."""
        later = self._later[0][0] if self._later else None
        if self.closed or self._next >= len(self._order):
            return later
        planned = self.began + self._arrival[self._next] / self.scale
        return planned if later is None or planned <= later else later

    def _arm(self) -> None:
        at = None if self._stopped else self._due_at()
        self.sender.next_due = math.inf if at is None else at
        if at is not None:
            self.timer.set(at)

    def _send_due(self) -> None:
        """Send every request that is due, up to ``AT_ONCE``."""
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
            if now < self.until or not self.closed:
                self._send(local, at)
        self._arm()
        self._prepare_soon()

    def _send(self, local: int, due: float) -> None:
        body = self._body(local)
        response = Response(
            chat=self.bodies.chat,
            max_tokens=int(self.bodies.limits[local]),
            streamed=self.job.options.stream,
            keep_text=self.plan.prompts is not None and bool(self._turns_after(local)),
        )
        exchange = Exchange(local, due, time.monotonic(), body, response)
        self.in_flight[exchange] = None
        self.counts["sent"] += 1
        self.sender.send(exchange)

    def _body(self, local: int) -> bytes:
        """The body that was made ahead, or one made now."""
        body = self._ready.pop(local, None)
        if body is None:
            return self.bodies.body(local, self._answers.get(int(self.plan.conversation[local]), ()))
        self._ready_bytes -= len(body)
        return body

    def _prepare_soon(self) -> None:
        if not self._preparing:
            self._preparing = True
            self.loop.call_soon(self._prepare_some)

    def _prepare_some(self) -> None:
        """Make a body ahead if no send is near, then another one in the next turn of the loop."""
        self._preparing = False
        at = self._due_at()
        if at is None and not self.closed:
            return
        if (at is None or at - time.monotonic() > SLACK_S) and len(self._ready) < READY_BODIES and self._make_one():
            self._prepare_soon()

    def _make_one(self) -> bool:
        place = max(self._made, self._next)
        if place >= len(self._order) or self._ready_bytes > READY_BYTES:
            return False
        self._made = place + 1
        local = self._order[place]
        body = self.bodies.body(local)
        self._ready[local] = body
        self._ready_bytes += len(body)
        return True

    def ended(self, exchange: Exchange) -> None:
        """Record an exchange that has ended uncut, and schedule the next request of its conversation or slot."""
        if self.in_flight.pop(exchange, 0) is not None:
            return
        response = exchange.response
        assert exchange.ended is not None
        good = not response.error_class
        if not good and self.plan.prompts is not None and self.plan.prompt is not None:
            prompt = self.plan.prompts[self.plan.prompt[exchange.local]]
            response.error = without_texts(response.error_class, response.error, prompt)
        status = "completed" if good else "refused" if response.refused else "failed"
        if response.refused and response.retry_after:
            self.retry_after += 1
        self._write(exchange, status)
        if good and response.output_tokens:
            self.usage_tokens += response.output_tokens
            self.usage_chunks += len(response.chunk_t)
        if self._stopped:
            return
        if self.plan.conversation[exchange.local] >= 0 and self._next_turn(exchange, good):
            return
        if self.closed:
            self._next_of_user(exchange.ended + (0.0 if good else PAUSE_S))
            self._send_due()

    def _next_of_user(self, free_at: float) -> None:
        """A closed-loop user takes the next request or conversation, and sends it after the think time."""
        if self._next >= len(self._order):
            return
        local = self._order[self._next]
        self._next += 1
        at = free_at + float(self.plan.think_s[local]) / self.scale
        if at < self.until:
            heapq.heappush(self._later, (at, local))

    def _write(self, exchange: Exchange, status: str) -> None:
        self.counts[status] += 1
        self.chunks += len(exchange.response.chunk_t)
        self.rows.add(exchange, status)

    def _next_turn(self, exchange: Exchange, good: bool) -> bool:
        """Schedule the next turn a think time after this response; False where the conversation is over.

        After a failed turn, the rest is never begun.
        """
        follows = self._turns_after(exchange.local)
        self._note_answer(exchange, goes_on=good and bool(follows))
        if not follows:
            return False
        assert exchange.ended is not None
        if not good:
            if exchange.ended < self.until:
                for local in follows:
                    self.rows.add_never_begun(local, exchange.ended, "the turn before it failed")
                self.counts["never_begun"] += len(follows)
            else:
                self.counts["left_out"] += len(follows)
            return False
        at = exchange.ended + float(self.plan.think_s[follows[0]]) / self.scale
        if at >= self.until:
            self.counts["left_out"] += len(follows)
            return True
        heapq.heappush(self._later, (at, follows[0]))
        self._arm()
        return True

    def _note_answer(self, exchange: Exchange, *, goes_on: bool) -> None:
        """Keep an answer that the next turn carries, and forget those of a conversation that is over."""
        conversation, text = int(self.plan.conversation[exchange.local]), exchange.response.text
        if goes_on and text is not None:
            self._answers.setdefault(conversation, []).append("".join(text))
        elif not goes_on:
            self._answers.pop(conversation, None)

    def _turns_after(self, local: int) -> list[int]:
        found, plan = [], self.plan
        conversation = plan.conversation[local]
        while conversation >= 0 and local + 1 < len(plan) and plan.conversation[local + 1] == conversation:
            local += 1
            found.append(local)
        return found

    def _tidy(self, now: float) -> None:
        """Time out requests, close idle connections, collect garbage."""
        for exchange in list(self.in_flight):
            if now - exchange.sent < self.request_timeout_s:
                break
            self._time_out(exchange, now)
        for exchange in list(self.in_flight):
            if exchange.carrier is not None:
                exchange.carrier.settle(now)
        self.sender.tidy(now)
        self.monitor.tidy(now)

    def _time_out(self, exchange: Exchange, now: float) -> None:
        self.sender.cut(exchange, now)
        seconds, chunks = self.job.options.request_timeout_s, len(exchange.response.chunk_t)
        if chunks:
            exchange.response.fail("stall", f"the stream did not end within {seconds:g} s; {chunks} chunks had arrived")
        else:
            exchange.response.fail("timeout", f"no token arrived within {seconds:g} s")
        exchange.ended = now
        self.ended(exchange)

    def _cut(self, why: str) -> None:
        """Cut what is in flight and record what was due as never begun."""
        self._stopped = True
        now = time.monotonic()
        for exchange in list(self.in_flight):
            del self.in_flight[exchange]
            self.sender.cut(exchange, now)
            exchange.response.fail("cut", why)
            exchange.ended = now
            self._write(exchange, "cut")
            self.counts["left_out"] += len(self._turns_after(exchange.local))
        for local in [] if self.closed else self._order[self._next :]:
            due = self.began + float(self.plan.arrival_s[local]) / self.scale
            if due > now:
                break  # stopped early: what was not due yet is not part of the load
            self.rows.add_never_begun(local, due, "the load ended before it was sent")
            self.counts["never_begun"] += 1
        for at, local in [] if self.closed else self._later:
            self.rows.add_never_begun(local, at, "the load ended before it was sent")
            self.counts["never_begun"] += 1

    def _new_rows(self) -> RequestRows:
        return RequestRows(self.job.share, self.job.process, began=self.began, scale=self.scale)

    async def write_rows(self) -> None:
        """Write what has ended since the last call, in a thread. Raises RooftuneError when the disk is full."""
        rows, self.rows = self.rows, self._new_rows()
        if not len(rows):
            return
        self._part += 1
        name = f"requests-p{self.job.process:03}-{self._part:07}.parquet"
        await self.loop.run_in_executor(self._writer, lambda: write_part(rows.table(), self.job.folder, name))

    def status(self) -> ProcessStatus:
        """Counts for the progress display and the ticks."""
        streaming = sum([e.chunks for e in self.in_flight])
        return ProcessStatus(
            t=time.monotonic() - self.began,
            cpu_s=time.process_time(),
            in_flight=len(self.in_flight),
            connections=self.sender.connections,
            chunks=self.chunks + streaming,
            **self.counts,
        )

    def report(self) -> ProcessReport:
        """What this process reports about itself at the end."""
        monitor, status = self.monitor, self.status()
        return ProcessReport(
            status=status,
            connections_peak=self.sender.peak,
            descriptors_limit=monitor.descriptors_limit,
            descriptors_peak=monitor.descriptors_used + self.sender.peak,
            cpu_share=monitor.cpu_share,
            loop_lag_p99_s=monitor.loop_lag_p99_s,
            gc_pause_s=monitor.gc_pause_s,
            usage_tokens=self.usage_tokens,
            usage_chunks=self.usage_chunks,
            retry_after=self.retry_after,
            ended_s=status.t,
        )
