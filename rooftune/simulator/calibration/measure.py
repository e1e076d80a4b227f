"""The short sweep that ``rooftune calibrate`` runs on an engine: batches of decoding sequences, and single prompts.

It has its own small streaming client: all requests of a batch are sent at once, every prompt is new (so that no
prefix is cached), and every answer has its full length. A step's duration is the time between two tokens while the
whole batch decodes. The points are measured in rounds, out and back, so that a drift of the machine's speed hits all
of them instead of bending the curve.
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from rooftune.engines.urls import server_root
from rooftune.errors import EngineError
from rooftune.simulator.calibration.fit import Observation

if TYPE_CHECKING:
    from aiohttp import ClientSession

Point = TypeVar("Point")

BATCHES = (1, 2, 4, 8, 16, 32, 64)
CONTEXTS = (64, 512, 1536)
PROMPTS = (64, 256, 512, 1024, 1536, 2048)
TOKENS = 40
"""Of each answer: enough for the steps in which all sequences decode to outnumber those at both ends."""
REPEATS = 4
"""Even: out and back twice, so that the median of a point is free of a steady drift."""
LEAST_STEPS = 8
TIMEOUT_S = 600.0


@dataclass(frozen=True)
class MeasurementGrid:
    """The points to measure."""

    batches: tuple[int, ...]
    contexts: tuple[int, ...]
    prompts: tuple[int, ...]
    repeats: int = REPEATS
    tokens: int = TOKENS


class Span(NamedTuple):
    """A part of an answer."""

    seconds: float
    tokens: int


class DecodePoint(NamedTuple):
    """A batch of sequences that decode, and their context at the start."""

    batch: int
    context: int


class Arrival(NamedTuple):
    """When tokens arrived, and how many there are by then."""

    at_s: float
    tokens: int


@dataclass
class TimedStream:
    """When the tokens of one answer arrived."""

    sent: float = 0.0
    seen: list[Arrival] = field(default_factory=list)


def grid_for(max_num_seqs: int, max_model_len: int, kv_cache_tokens: int, repeats: int = REPEATS) -> MeasurementGrid:
    """The points that fit into this engine: at most two thirds of its KV cache, so that nothing is preempted."""
    longest = max_model_len - TOKENS - 1
    return MeasurementGrid(
        batches=tuple(b for b in BATCHES if b <= min(max_num_seqs, kv_cache_tokens * 2 // 3 // (CONTEXTS[0] + TOKENS))),
        contexts=tuple(c for c in CONTEXTS if c <= longest),
        prompts=tuple(p for p in PROMPTS if p <= longest),
        repeats=repeats,
    )


def points_of(grid: MeasurementGrid, kv_cache_tokens: int) -> list[DecodePoint]:
    """Every decoding point: small batches at all contexts, large ones as far as the KV cache allows."""
    fits = kv_cache_tokens * 2 // 3
    return [DecodePoint(b, c) for c in grid.contexts for b in grid.batches if b * (c + grid.tokens) <= fits]


async def measure(
    url: str,
    model: str,
    vocab_size: int,
    grid: MeasurementGrid,
    kv_cache_tokens: int,
    *,
    time_scale: float = 1.0,
    say: Callable[[str], None] | None = None,
) -> list[Observation]:
    """Run the sweep. ``time_scale`` converts real times into those of an engine whose clock runs faster.

    Raises:
        EngineError: the server refused a request, died, or sent too few tokens.
    """
    import aiohttp

    report = say or (lambda _text: None)
    draw = random.Random(20260211)
    found: list[Observation] = []
    async with aiohttp.ClientSession(
        server_root(url),
        timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
    ) as session:
        client = SweepClient(session, model, vocab_size, draw)
        await client.batch(2, 32, grid.tokens)  # warms up; not kept
        prompts = await in_rounds(client.first_token, grid.prompts, grid.repeats, report)
        for prompt, seconds in zip(grid.prompts, prompts, strict=True):
            found.append(Observation("prefill", seconds * time_scale, context=prompt))
            report(f"prefill of {prompt:,} tokens: {found[-1].seconds * 1000:.1f} ms")

        async def step(point: DecodePoint) -> float:
            return await client.step(point.batch, point.context, grid.tokens)

        points = points_of(grid, kv_cache_tokens)
        steps = await in_rounds(step, points, grid.repeats, report)
        for point, seconds in zip(points, steps, strict=True):
            mean_context = point.context + grid.tokens / 2
            found.append(Observation("decode", seconds * time_scale, batch=point.batch, context=mean_context))
            report(f"{point.batch} x {point.context:,} tokens: a step takes {found[-1].seconds * 1000:.1f} ms")
    return found


async def in_rounds(
    measured: Callable[[Point], Awaitable[float]], points: Sequence[Point], repeats: int, report: Callable[[str], None]
) -> list[float]:
    """The median of every point, in the order of ``points``; every second round runs backwards."""
    seconds: dict[Point, list[float]] = {point: [] for point in points}
    for number in range(repeats):
        report(f"round {number + 1} of {repeats} over {len(points)} points")
        for point in points if number % 2 == 0 else points[::-1]:
            seconds[point].append(await measured(point))
    return [statistics.median(seconds[point]) for point in points]


class SweepClient:
    """Sends requests of the sweep and reads their tokens as they come."""

    def __init__(self, session: ClientSession, model: str, vocab_size: int, draw: random.Random) -> None:
        self.session, self.model, self.vocab_size, self.draw = session, model, vocab_size, draw

    async def first_token(self, prompt: int) -> float:
        """Seconds from sending a prompt to its first token, nothing else running."""
        (stream,) = await self.batch(1, prompt, 1)
        return stream.seen[0].at_s - stream.sent

    async def step(self, batch: int, context: int, tokens: int) -> float:
        """Seconds of a step while ``batch`` sequences decode."""
        streams = await self.batch(batch, context, tokens)
        begin = max(s.seen[0].at_s for s in streams)
        end = min(s.seen[-1].at_s for s in streams)
        spans = [_span(s, begin, end) for s in streams]
        steps = [span.seconds / span.tokens for span in spans if span.tokens >= min(LEAST_STEPS, tokens // 2)]
        if not steps:  # the batch never ran as a whole; the mean of each answer is the best estimate
            steps = [(s.seen[-1].at_s - s.seen[0].at_s) / max(1, s.seen[-1].tokens - s.seen[0].tokens) for s in streams]
        return statistics.median(steps)

    async def batch(self, batch: int, prompt: int, tokens: int) -> list[TimedStream]:
        """Send ``batch`` requests at once and read them to their end."""
        return await asyncio.gather(*(self.answer(prompt, tokens) for _ in range(batch)))

    async def answer(self, prompt: int, tokens: int) -> TimedStream:
        """Send one new prompt and read its answer to the end.

        Raises:
            EngineError: the server refused it, closed the connection, or sent too few tokens.
        """
        import aiohttp

        body = {
            "model": self.model,
            "prompt": [self.draw.randrange(10, self.vocab_size) for _ in range(prompt)],
            "max_tokens": tokens,
            "min_tokens": tokens,
            "ignore_eos": True,
            "temperature": 0.0,
            "stream": True,
            "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        }
        stream = TimedStream(sent=time.perf_counter())
        try:
            await self._read(body, stream)
        except (OSError, asyncio.TimeoutError, aiohttp.ClientError) as error:
            raise EngineError(
                f"the connection to the server failed during the sweep: {error or type(error).__name__}.", "died"
            ) from None
        if not stream.seen or stream.seen[-1].tokens < tokens:
            got = stream.seen[-1].tokens if stream.seen else 0
            raise EngineError(f"the server sent {got} of {tokens} tokens; the sweep needs complete answers.", "stream")
        return stream

    async def _read(self, body: dict[str, Any], stream: TimedStream) -> None:
        async with self.session.post("/v1/completions", json=body) as answer:
            if answer.status != 200:
                text = (await answer.text())[:300]
                raise EngineError(f"the server answered HTTP {answer.status} to a request of the sweep: {text}", "http")
            async for line in answer.content:
                if line.startswith(b"data: {"):
                    _note(stream, line)


def _note(stream: TimedStream, line: bytes) -> None:
    now = time.perf_counter()
    chunk = json.loads(line[6:])
    usage = chunk.get("usage") or {}
    before = stream.seen[-1].tokens if stream.seen else 0
    so_far = int(usage.get("completion_tokens") or before + len(chunk.get("choices") or ()))
    if so_far > before:
        stream.seen.append(Arrival(now, so_far))


def _span(stream: TimedStream, begin: float, end: float) -> Span:
    """The part of an answer between two moments, from token to token."""
    inside = [arrival for arrival in stream.seen if begin <= arrival.at_s <= end]
    if len(inside) < 2:
        return Span(0.0, 0)
    return Span(inside[-1].at_s - inside[0].at_s, inside[-1].tokens - inside[0].tokens)
