"""The fast path: vLLM's scheduler over flat arrays, with runs of steps that only count up taken in closed form.

The rules are those of ``engine/scheduler.py``, and a test holds the two equal. Between two events (an arrival, a
finish, a full pool) a batch that only decodes changes nothing but counters, so the steps up to the next event are
taken at once.
"""

from __future__ import annotations

from typing import Any

from rooftune.simulator.fastpath.blocks import (
    complete,
    give_back,
)  # fmt: skip
from rooftune.simulator.fastpath.client import (
    heap_push,
    next_event,
    send,
)  # fmt: skip
from rooftune.simulator.fastpath.clock import (
    close_window,
    combined,
    decode_line,
    elapse,
    note_gap,
    note_token,
    seconds_of,
    spread_gaps,
    steps_before,
    verified_rows,
)  # fmt: skip
from rooftune.simulator.fastpath.decode import (
    decode,
    decoding,
    give_back_ended,
    reserve_one_each,
    steps_before_eviction,
    steps_with_blocks,
)  # fmt: skip
from rooftune.simulator.fastpath.decorators import compiled, entry, inlined
from rooftune.simulator.fastpath.group import (
    disband,
    gather,
    join_or_disband,
    leave,
    settle_all,
)  # fmt: skip
from rooftune.simulator.fastpath.schedule import (
    head_of_line,
    release_ended,
    schedule,
    schedule_waiting,
)  # fmt: skip
from rooftune.simulator.fastpath.state import (
    CLOCK,
    CLOSED,
    COMPUTED,
    CONTEXT,
    CURSOR,
    DECODED,
    DRAFT,
    ENDED,
    ENDING,
    EXTRA,
    FREE,
    GROUP,
    GROUP_END,
    HEAD,
    IN_FLIGHT,
    INBOX,
    KINDS,
    MARK,
    MIXED,
    MIXED_STEPS,
    N_RUN,
    NEVER,
    OUT,
    PROMPT,
    STEP,
    TAIL,
)  # fmt: skip


@compiled
def step_seconds(
    linear_decode: Any, linear_mixed: Any, head: Any, host_decode: Any, host_mixed: Any, cost: Any,
    seqs: int, tokens: int, context: float, p_tokens: int, p_pairs: float, p_context: float, sampled: int,
) -> float:  # fmt: skip
    """Duration of a step in seconds.

    ``cost``: seconds per token of decode context, least attention time, sliding window, seconds per query-key pair
    and per token of prefill context, exposed host time; of the bytes and of the arithmetic of attention, the shares of
    the layers without the window; what a step with prefill takes more when it also decodes; and the share of the
    draft tokens that the proposer finds.
    """
    if seqs + p_tokens == 0:
        return 0.0
    rows = verified_rows(seqs, tokens, cost[9])
    linear = linear_mixed[rows + p_tokens] if p_tokens > 0 else linear_decode[rows]
    host = host_mixed[sampled] if p_tokens > 0 else host_decode[seqs]
    return combined(
        linear, head[sampled], host, cost[0], cost[1], cost[2], cost[3], cost[4], cost[5],
        cost[6], cost[7], cost[8], seqs, context, p_tokens, p_pairs, p_context,
    )  # fmt: skip


@compiled
def one_step(s: Any) -> bool:
    """Schedule, run and finish one step; False when nothing could be scheduled.

    Where each of the first ``first`` sequences decodes one token they are counted together; all others one by one.
    """
    early = s.early and (s.c[N_RUN] > 0 or s.c[TAIL] > s.c[HEAD])
    if not early:
        s.c[TAIL] = s.c[INBOX]
    seqs, context, least = schedule_step(s)
    s.c[TAIL] = s.c[INBOX]
    first = tokens = scheduled = sampled = seqs
    p_tokens = p_context = 0
    pairs = 0.0
    for i in range(first, s.c[N_RUN]):
        r = s.q[s.running + i]
        q, done, known = s.q[s.chunk + r], s.q[s.computed + r], s.q[s.prompt + r] + s.q[s.generated + r]
        if q <= 0:
            continue
        scheduled += 1
        if s.q[s.generated + r] > 0 and known - done == 1:
            seqs, tokens, context = seqs + 1, tokens + q, context + known
        else:
            p_tokens, p_context, pairs = p_tokens + q, p_context + done, pairs + q * (done + q / 2)
            s.q[s.counts + s.c[MARK] * KINDS + COMPUTED] += q
        sampled += 1 if done + q >= known else 0
        s.q[s.computed + r] = min(done + q, known)
        s.q[s.chunk + r] = 1 + max(done + q - known, 0)
    if scheduled == 0:
        return False
    if s.n_lengths > 0:
        s.c[DRAFT] = s.q[s.lengths + min(scheduled, s.n_lengths - 1)]
    seconds = seconds_of(s, seqs, tokens, context, p_tokens, pairs, p_context, sampled)
    s.x[MIXED] += seconds if p_tokens > 0 else 0.0
    s.c[MIXED_STEPS] += 1 if p_tokens > 0 else 0
    s.x[CONTEXT] += context
    s.c[DECODED] += seqs
    elapse(s, seconds, 1, s.c[FREE])
    if s.x[CLOCK] >= s.window_to and s.c[CLOSED] == 0:
        close_window(s)
    decode(s, first, 1, s.x[CLOCK], s.x[CLOCK])
    give_tokens(s, first, least == 1)
    return True


@compiled
def schedule_step(s: Any) -> tuple[int, int, int]:
    """Choose what the step computes.

    Returns (sequences at the front that decode one token each, their known tokens, fewest tokens that one of them
    wants), or zeros where the running sequences have to be looked at one by one.
    """
    n = s.c[N_RUN] - s.c[ENDING]
    context, least = decoding(s) if n <= s.c[FREE] else (0, 0)
    if context > 0:
        reserve_one_each(s)
        schedule_waiting(s, s.budget - n)
        if s.c[ENDING] > 0:
            release_ended(s)
        return n, context, least
    disband(s)
    some = schedule(s)
    if s.c[ENDING] > 0:
        release_ended(s)
        if not some:
            schedule(s)
    return 0, 0, 0


@compiled
def give_tokens(s: Any, first: int, ended: bool) -> None:
    """A step has run: give a token to every sequence whose known tokens are all computed, and end what is complete.

    Sequences before ``first`` have theirs already. ``ended``: whether one of those is complete.
    """
    send(s, False)
    out, now = first, s.x[CLOCK]
    for i in range(first, s.c[N_RUN]):
        r = s.q[s.running + i]
        generated, prompt = s.q[s.generated + r], s.q[s.prompt + r]
        if s.q[s.chunk + r] <= 0 or s.q[s.computed + r] < prompt + generated:
            continue
        room = min(s.q[s.output + r] - generated, s.max_len - prompt - generated)
        new = 1
        if s.q[s.chunk + r] > 1:
            accepted = s.q[s.accept + (r * 7919 + generated) % s.n_accept]
            new = min(1 + min(accepted, s.q[s.chunk + r] - 1), room)
            s.c[EXTRA] += new - 1
            s.q[s.computed + r] += new - 1
        if generated == 0:
            s.f[s.first + r] = now
            s.q[s.counts + s.c[MARK] * KINDS + PROMPT] += prompt
        note_token(s, r, now, new)
        s.q[s.generated + r] = generated + new
        out += new
        ended = ended or new >= room
    s.q[s.counts + s.c[MARK] * KINDS + OUT] += out
    join_or_disband(s, first)
    if ended:
        end_complete(s)
    send(s, True)


@compiled
def end_complete(s: Any) -> None:
    """End every running sequence that has just got its last token."""
    kept, before, next_end = 0, s.c[ENDING], NEVER
    for i in range(s.c[N_RUN]):
        r = s.q[s.running + i]
        finish = s.q[s.finish + r]
        if finish >= 0:
            over = finish == s.c[STEP]
            if over:
                leave(s, r)
            else:
                next_end = min(next_end, finish)
        else:
            over = complete(s, r) and s.q[s.chunk + r] > 0
        if over:
            s.q[s.chunk + r] = -1
            end_request(s, r)
            if not s.early:
                give_back(s, r, False)
                continue
        s.q[s.running + kept] = r
        kept += 1
    s.c[N_RUN], s.c[GROUP_END] = kept, next_end
    if s.c[ENDING] > before and s.c[ENDING] == kept and s.c[TAIL] == s.c[HEAD]:
        release_ended(s)


@inlined
def end_request(s: Any, r: int) -> None:
    """A request is complete: its connection is free, and its next turn, or its user's next request, is due after the
    think time."""
    s.c[ENDING] += s.early
    s.q[s.counts + s.c[MARK] * KINDS + ENDED] += 1
    s.c[IN_FLIGHT] -= 1
    after = s.q[s.next_turn + r]
    if after < 0 and s.users > 0 and s.c[CURSOR] < s.n_opening:
        after = s.q[s.opening + s.c[CURSOR]]
        s.c[CURSOR] += 1
    if after >= 0:
        heap_push(s, s.x[CLOCK] + s.path_out + s.f[s.think + after], after)


@compiled
def skip(s: Any) -> bool:
    """Take all steps up to the next event at once; False when the next step changes more than counters."""
    n = s.c[N_RUN] - s.c[ENDING]
    if n == 0 or (s.c[INBOX] > s.c[TAIL] and not s.early):
        return False
    if s.c[HEAD] < s.c[TAIL] and (s.c[ENDING] > 0 or head_of_line(s, s.budget - n)[1] > 0):
        return False
    context, least = decoding(s)
    if context == 0 or (s.c[ENDING] > 0 and not give_back_ended(s)):
        return False
    if s.c[GROUP] == 0:
        gather(s)
    most = steps_with_blocks(s, n, least)
    if s.c[HEAD] < s.c[TAIL]:
        most = min(most, steps_before_eviction(s, s.budget - n))
    if most == 0:
        return False
    a, b, until = decode_line(s, n, context)
    most = max(1, min(most, int(min((until - context) / n, 1e15))))
    if s.c[INBOX] > s.c[TAIL]:
        most = 1
    event = min(next_event(s), s.end)
    if s.c[MARK] < s.n_marks:
        event = min(event, s.f[s.marks + s.c[MARK]])
    steps = 1 if most == 1 else steps_before(a, b, n, context, event - s.x[CLOCK], most)
    take_steps(s, steps, a, b, context, steps == least)
    return True


@compiled
def take_steps(s: Any, steps: int, a: float, b: float, context: float, ends: bool) -> None:
    """Take ``steps`` decode steps of all ``n`` running sequences in closed form.

    Step i (from 0) lasts a + b * (context + n * i) seconds, because each step adds one token to every sequence, so
    the first k steps last k * first + b * n * k * (k - 1) / 2 seconds. All steps but the last end before the next
    mark, before the end of the run and before the next arrival (``skip`` chose ``steps`` so). The last step may
    reach beyond any of them, so it is accounted for separately: it may fall into another interval, and it may be the
    step that closes the window.

    ``ends``: whether the last step completes a sequence.
    """
    n, now, free = s.c[N_RUN], s.x[CLOCK], s.c[FREE]
    first, last = a + b * context, a + b * (context + n * (steps - 1))
    before_last = now + (steps - 1) * first + b * n * (steps - 1) * (steps - 2) / 2
    end = before_last + last
    s.c[TAIL] = s.c[INBOX]
    closes = end >= s.window_to and s.c[CLOSED] == 0
    if steps > 1:
        # Gaps between the tokens of steps 1 to steps - 2 grow evenly. The gap before the first token is noted by
        # ``decode``, and the gap before the last token below, because the window may end between the two.
        if s.window_from <= now + first < s.window_to:
            spread_gaps(s, first + b * n, last - b * n, (steps - 2) * n)
        if closes:
            decode(s, n, steps - 1, now + first, before_last)
        else:
            decode(s, n, steps, now + first, end)
            if s.window_from <= before_last and end < s.window_to:
                note_gap(s, last, n)
    if closes:
        close_window(s)  # keeps what every request had got by the step before
        decode(s, n, 1, end, end)
    elif steps == 1:
        decode(s, n, 1, end, end)
    # Tokens, levels and time of all steps but the last belong to the current interval; then the clock may pass a mark.
    s.q[s.counts + s.c[MARK] * KINDS + OUT] += n * (steps - 1)
    s.x[CONTEXT] += steps * context + n * steps * (steps - 1) / 2
    s.c[DECODED] += n * steps
    mean_free = (free + s.c[FREE]) / 2
    if steps > 1:
        elapse(s, before_last - now, steps - 1, mean_free)
    elapse(s, last, 1, mean_free)
    s.q[s.counts + s.c[MARK] * KINDS + OUT] += n
    send(s, False)
    if ends:
        end_complete(s)
    send(s, True)


@entry
def run(s: Any) -> None:
    """Run until every request has ended or the clock reaches the end."""
    while s.x[CLOCK] < s.end:
        if s.c[N_RUN] == 0 and s.c[INBOX] == s.c[HEAD]:
            due = next_event(s)
            if due >= s.end:
                break
            s.x[CLOCK] = max(s.x[CLOCK], due)
            while s.c[MARK] < s.n_marks and s.x[CLOCK] >= s.f[s.marks + s.c[MARK]]:
                s.c[MARK] += 1
            send(s, False)
            if s.c[INBOX] == s.c[HEAD]:
                continue
        if not skip(s) and not one_step(s):
            if s.c[N_RUN] > 0 or next_event(s) >= s.end:
                break
            s.x[CLOCK] = max(s.x[CLOCK], next_event(s))
            send(s, False)
    settle_all(s)
    if s.c[CLOSED] == 0:
        close_window(s)
