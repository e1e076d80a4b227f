"""Fast path: how long steps take, the clock, and what is noted of tokens as they come."""

from __future__ import annotations

import math
from typing import Any

from rooftune.simulator.fastpath.decorators import compiled, inlined
from rooftune.simulator.fastpath.group import settle_all
from rooftune.simulator.fastpath.state import (
    BIN,
    BUSY,
    BUSY_S,
    CLOCK,
    CLOSED,
    FAR,
    GAP,
    GAP_STEP,
    HEAD,
    IN_STEPS,
    INBOX,
    KINDS,
    KV_S,
    LEAST_GAP,
    LEVELS,
    MARK,
    N_RUN,
    RUNNING_S,
    STEPS,
    WAITING_S,
)  # fmt: skip


@inlined
def verified_rows(seqs: int, tokens: int, found: float) -> int:
    """Rows that decoding sequences compute: one each, and of their draft tokens the share that the proposer finds."""
    return int(seqs + math.ceil((tokens - seqs) * found - 1e-9))


@inlined
def combined(
    linear: float, head: float, host: float, each: float, least: float, window: float, pair: float, past: float,
    exposed: float,
    full: float, full_pairs: float, beside: float,
    seqs: int, context: float, p_tokens: int, p_pairs: float, p_context: float,
) -> float:  # fmt: skip
    """Duration of a step in seconds: the GPU's parts run one after another, the host's work beside them."""
    read = full * context + (1 - full) * min(context, window * seqs) if window > 0 else context
    attention = max(each * read, least) if seqs > 0 else 0.0
    extra = exposed
    if p_tokens > 0:
        seen = full_pairs * p_pairs + (1 - full_pairs) * min(p_pairs, window * p_tokens) if window > 0 else p_pairs
        attention += max(pair * seen, past * p_context)
        if seqs > 0:
            extra += beside
    return float(max(linear + attention + head, host) + extra)


@inlined
def seconds_of(
    s: Any, seqs: int, tokens: int, context: float, p_tokens: int, p_pairs: float, p_context: float, sampled: int
) -> float:
    """Duration of a step; ``step_seconds`` over the state's tables."""
    mixed = p_tokens > 0
    k = s.cost
    rows = verified_rows(seqs, tokens, s.f[k + 9])
    linear = s.f[s.linear_mixed + rows + p_tokens] if mixed else s.f[s.linear_decode + rows]
    host = s.f[s.host_mixed + sampled] if mixed else s.f[s.host_decode + seqs]
    return combined(
        linear, s.f[s.head + sampled], host, s.f[k], s.f[k + 1], s.f[k + 2], s.f[k + 3], s.f[k + 4], s.f[k + 5],
        s.f[k + 6], s.f[k + 7], s.f[k + 8], seqs, context, p_tokens, p_pairs, p_context,
    )  # fmt: skip


@inlined
def decode_line(s: Any, n: int, context: float) -> tuple[float, float, float]:
    """(a, b, until): a step of ``n`` decodes lasts a + b * context while the context is below ``until``."""
    fixed, floor, host, each = (
        s.f[s.linear_decode + n] + s.f[s.head + n],
        s.f[s.cost + 1],
        s.f[s.host_decode + n],
        s.f[s.cost + 0],
    )
    # Layers without a window read the whole context, the others at most ``cap`` tokens of it.
    cap = s.f[s.cost + 2] * n
    slope, offset, until = 1.0, 0.0, cap if cap > 0 else FAR
    if cap > 0 and context >= cap:
        slope, until = s.f[s.cost + 6], FAR
        offset = (1 - slope) * cap
    low = max(floor, host - fixed)
    if each * (offset + slope * context) < low:
        reached = (low / each - offset) / slope if slope > 0 else FAR
        return max(fixed + floor, host) + s.f[s.cost + 5], 0.0, min(until, reached)
    return fixed + each * offset + s.f[s.cost + 5], each * slope, until


@inlined
def elapse(s: Any, seconds: float, steps: int, free: float) -> None:
    """Move the clock over ``steps`` steps that end in the current interval, and weight its levels by their duration.

    ``free`` is the mean number of free blocks meanwhile.
    """
    at = s.c[MARK] * LEVELS
    s.f[s.levels + at + RUNNING_S] += s.c[N_RUN] * seconds
    s.f[s.levels + at + WAITING_S] += (s.c[INBOX] - s.c[HEAD]) * seconds
    s.f[s.levels + at + KV_S] += (s.blocks - free) / s.blocks * seconds
    s.f[s.levels + at + BUSY_S] += seconds
    s.x[CLOCK] += seconds
    s.x[BUSY] += seconds
    s.c[STEPS] += steps
    while s.c[MARK] < s.n_marks and s.x[CLOCK] >= s.f[s.marks + s.c[MARK]]:
        s.c[MARK] += 1
    s.q[s.counts + s.c[MARK] * KINDS + IN_STEPS] += steps


@compiled
def close_window(s: Any) -> None:
    """The window has ended: keep each request's last token before its end, and its tokens so far."""
    s.c[CLOSED] = 1
    settle_all(s)
    for r in range(s.n_requests):
        s.f[s.stream_last + r] = s.f[s.last + r]
        s.q[s.stream_to + r] = s.q[s.generated + r]


@inlined
def note_token(s: Any, r: int, now: float, new: int) -> None:
    """Note tokens of one request at one moment: the gap before them, and the first of its stream inside the
    window."""
    if s.window_from <= now < s.window_to:
        if s.q[s.generated + r] > 0 and s.f[s.last + r] >= s.window_from:
            note_gap(s, now - s.f[s.last + r], 1)
        if s.f[s.stream_first + r] < 0:
            s.f[s.stream_first + r] = now
            s.q[s.stream_from + r] = s.q[s.generated + r] + new
    s.f[s.last + r] = now


@inlined
def note_gap(s: Any, gap: float, count: int) -> None:
    """Add gaps between tokens to the histogram."""
    if gap != s.x[GAP]:
        at = int(math.log(gap / LEAST_GAP) / GAP_STEP) if gap > LEAST_GAP else 0
        s.x[GAP] = gap
        s.c[BIN] = min(at, s.n_gaps - 1)
    s.f[s.gaps + s.c[BIN]] += count


@inlined
def steps_before(a: float, b: float, n: int, context: float, span: float, most: int) -> int:
    """Least number of steps that together last at least ``span`` seconds; at most ``most``.

    A step takes a + b * context seconds, and the context grows by ``n`` tokens per step, so k steps take
    k * first + b * n * k * (k - 1) / 2 seconds. The root of that is a guess, which the loops correct for rounding.
    """
    first, grow = a + b * context, b * n
    if most * first + grow * most * (most - 1) / 2 < span:
        return most
    guess = (
        span / first if grow <= 0 else (math.sqrt((first - grow / 2) ** 2 + 2 * grow * span) - first + grow / 2) / grow
    )
    k = max(1, min(most, int(guess)))
    while k > 1 and (k - 1) * first + grow * (k - 1) * (k - 2) / 2 >= span:
        k -= 1
    while k < most and k * first + grow * k * (k - 1) / 2 < span:
        k += 1
    return k


@compiled
def spread_gaps(s: Any, low: float, high: float, count: int) -> None:
    """Spread ``count`` gaps that grow evenly from ``low`` to ``high`` over the bins between."""
    if count <= 0:
        return
    begin = int(math.log(low / LEAST_GAP) / GAP_STEP) if low > LEAST_GAP else 0
    end = int(math.log(high / LEAST_GAP) / GAP_STEP) if high > LEAST_GAP else 0
    top = s.n_gaps - 1
    if begin == end:
        s.f[s.gaps + min(begin, top)] += count
        return
    for i in range(begin, end + 1):
        from_s = max(low, LEAST_GAP * math.exp(i * GAP_STEP))
        to_s = min(high, LEAST_GAP * math.exp((i + 1) * GAP_STEP))
        s.f[s.gaps + min(i, top)] += count * max(0.0, to_s - from_s) / (high - low)
