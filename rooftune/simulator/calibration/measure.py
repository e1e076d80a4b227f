"""The short sweep that ``rooftune calibrate`` runs on an engine: batches of decoding sequences, and prompts on their
own.

A small streaming client of its own: all requests of a batch are sent at once, every prompt is new (so that no prefix
is cached), and every answer has its full length. A step's duration is what lies between two tokens while the whole
batch decodes.
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rooftune.engines.urls import server_root
from rooftune.errors import EngineError
from rooftune.simulator.calibration.fit import Observation

BATCHES = (1, 2, 4, 8, 16, 32, 64)
CONTEXTS = (64, 512, 1536)
PROMPTS = (64, 256, 512, 1024, 1536, 2048)
TOKENS = 40
"""Of each answer: enough that the steps in which all sequences decode outnumber those at both ends."""
REPEATS = 3
LEAST_STEPS = 8
TIMEOUT_S = 600.0


@dataclass(frozen=True)
class MeasurementGrid:
    """What is measured."""

    batches: tuple[int, ...]
    contexts: tuple[int, ...]
    prompts: tuple[int, ...]
    repeats: int = REPEATS
    tokens: int = TOKENS


@dataclass
class Stream:
    """When tokens of one answer arrived: (seconds, tokens so far)."""

    sent: float = 0.0
    seen: list[tuple[float, int]] = field(default_factory=list)


def grid_for(max_num_seqs: int, max_model_len: int, kv_cache_tokens: int, repeats: int = REPEATS) -> MeasurementGrid:
    """The points that fit into this engine: at most two thirds of its KV cache, so that nothing is preempted."""
    longest = max_model_len - TOKENS - 1
    return MeasurementGrid(
        batches=tuple(b for b in BATCHES if b <= min(max_num_seqs, kv_cache_tokens * 2 // 3 // (CONTEXTS[0] + TOKENS))),
        contexts=tuple(c for c in CONTEXTS if c <= longest),
        prompts=tuple(p for p in PROMPTS if p <= longest),
        repeats=repeats,
    )


def points_of(sweep: MeasurementGrid, kv_cache_tokens: int) -> list[tuple[int, int]]:
    """(batch, context) of every decoding point; small batches at all contexts, large ones as far as the KV cache
    allows."""
    fits = kv_cache_tokens * 2 // 3
    return [(b, c) for c in sweep.contexts for b in sweep.batches if b * (c + sweep.tokens) <= fits]


async def measure(
    url: str,
    model: str,
    vocab_size: int,
    sweep: MeasurementGrid,
    kv_cache_tokens: int,
    *,
    time_scale: float = 1.0,
    say: Callable[[str], None] | None = None,
) -> list[Observation]:
    """Run the sweep. Times are divided into the engine's own by ``time_scale``.

    Raises:
        EngineError: the server refused, died, or sent fewer tokens than it was asked for.
    """
    import aiohttp

    tell = say or (lambda _text: None)
    draw = random.Random(20260211)
    found: list[Observation] = []
    async with aiohttp.ClientSession(
        server_root(url),
        timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
    ) as session:
        client = Client(session, model, vocab_size, draw)
        await client.batch(2, 32, sweep.tokens)  # warms up; not kept
        for prompt in sweep.prompts:
            times = [await client.first_token(prompt) for _ in range(sweep.repeats)]
            found.append(Observation("prefill", statistics.median(times) * time_scale, context=prompt))
            tell(f"prefill of {prompt:,} tokens: {found[-1].seconds * 1000:.1f} ms")
        for batch, context in points_of(sweep, kv_cache_tokens):
            steps = [await client.step(batch, context, sweep.tokens) for _ in range(sweep.repeats)]
            mean_context = context + sweep.tokens / 2
            found.append(
                Observation("decode", statistics.median(steps) * time_scale, batch=batch, context=mean_context)
            )
            tell(f"{batch} x {context:,} tokens: a step takes {found[-1].seconds * 1000:.1f} ms")
    return found


class Client:
    """Sends requests of the sweep and reads their tokens as they come."""

    def __init__(self, session: Any, model: str, vocab_size: int, draw: random.Random) -> None:
        self.session, self.model, self.vocab_size, self.draw = session, model, vocab_size, draw

    async def first_token(self, prompt: int) -> float:
        """Seconds from sending a prompt to its first token, nothing else running."""
        (stream,) = await self.batch(1, prompt, 1)
        return stream.seen[0][0] - stream.sent

    async def step(self, batch: int, context: int, tokens: int) -> float:
        """Seconds of a step while ``batch`` sequences decode."""
        streams = await self.batch(batch, context, tokens)
        begin = max(s.seen[0][0] for s in streams)
        end = min(s.seen[-1][0] for s in streams)
        spans = [_span(s, begin, end) for s in streams]
        steps = [seconds / count for seconds, count in spans if count >= min(LEAST_STEPS, tokens // 2)]
        if not steps:  # the batch never ran as a whole; each answer's own mean is the best there is
            steps = [(s.seen[-1][0] - s.seen[0][0]) / max(1, s.seen[-1][1] - s.seen[0][1]) for s in streams]
        return statistics.median(steps)

    async def batch(self, batch: int, prompt: int, tokens: int) -> list[Stream]:
        """Send so many requests at once and read them to their end."""
        return await asyncio.gather(*(self.answer(prompt, tokens) for _ in range(batch)))

    async def answer(self, prompt: int, tokens: int) -> Stream:
        """Send one new prompt and read its answer to the end.

        Raises:
            EngineError: the server refused it, broke off, or sent fewer tokens.
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
        stream = Stream(sent=time.perf_counter())
        try:
            await self._read(body, stream)
        except (OSError, asyncio.TimeoutError, aiohttp.ClientError) as error:
            raise EngineError(
                f"the server broke off during the sweep: {error or type(error).__name__}.", "died"
            ) from None
        if not stream.seen or stream.seen[-1][1] < tokens:
            got = stream.seen[-1][1] if stream.seen else 0
            raise EngineError(f"the server sent {got} of {tokens} tokens; the sweep needs whole answers.", "stream")
        return stream

    async def _read(self, body: dict[str, Any], stream: Stream) -> None:
        async with self.session.post("/v1/completions", json=body) as answer:
            if answer.status != 200:
                text = (await answer.text())[:300]
                raise EngineError(f"the server answered HTTP {answer.status} to a request of the sweep: {text}", "http")
            async for line in answer.content:
                if line.startswith(b"data: {"):
                    _note(stream, line)


def _note(stream: Stream, line: bytes) -> None:
    now = time.perf_counter()
    chunk = json.loads(line[6:])
    usage = chunk.get("usage") or {}
    before = stream.seen[-1][1] if stream.seen else 0
    so_far = int(usage.get("completion_tokens") or before + len(chunk.get("choices") or ()))
    if so_far > before:
        stream.seen.append((now, so_far))


def _span(stream: Stream, begin: float, end: float) -> tuple[float, int]:
    """(seconds, tokens) of an answer between two moments, from token to token."""
    inside = [(t, n) for t, n in stream.seen if begin <= t <= end]
    if len(inside) < 2:
        return 0.0, 0
    return inside[-1][0] - inside[0][0], inside[-1][1] - inside[0][1]
