"""The fast path: vLLM's scheduler over flat arrays, skipping in closed form what only counts up.

The rules are those of ``scheduler.py``, and a test holds the two equal. This file is plain Python over lists, and compiles
with numba as it stands (``compiled.py`` loads it so); that is why it is one file, why state is one tuple of arrays, and why
blocks, queues and the hash table are spelled out. Between two events (an arrival, a finish, a full pool) a batch that only
decodes changes nothing but counters, so the steps up to the next event are taken at once.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from rooftune.simulator.compiled import compiled

BLOCK = 16
CHAIN = 1 << 20
"""Blocks that one chain of block contents may have; the key of block i of chain c is c * CHAIN + i."""

N_RUN, HEAD, TAIL, INBOX, FREE, CURSOR, HEAP, FLIGHT, MARK, SLOTS = range(10)
PREEMPTED, QUERIES, HITS, STEPS, MIXED_STEPS, DECODED, ENDING, EXTRA, COUNTERS = range(10, 19)
"""Places in ``State.c``: running; the waiting queue's head and tail, and the end of the inbox behind it; free blocks; next opening
request; later turns in the heap; requests in flight; current interval; free slots; preemptions; prefix queries and hits in
tokens; steps; steps with prefill; sequences decoded, summed over steps; running ones that have ended but still hold their
places; tokens that came together with another (speculative decoding)."""
CLOCK, BUSY, MIXED, CONTEXT = range(4)
"""Places in ``State.x``: time now; seconds of all steps, of those with prefill; decode context summed over steps."""
OUT, PROMPT, COMPUTED, ENDED, IN_QUERIES, IN_HITS, IN_PREEMPTED, IN_STEPS, KINDS = range(9)
"""What ``State.counts`` holds by interval: tokens out, prompt tokens of requests that got their first token, prompt tokens
computed, requests ended, prefix queries and hits, preemptions, steps."""
RUNNING_S, WAITING_S, KV_S, BUSY_S, LEVELS = range(5)
"""What ``State.levels`` holds by interval: running, waiting and share of blocks in use, each times seconds; busy seconds."""
LEAST_GAP, GAP_STEP = 1e-6, 0.002
"""Histogram of gaps: the first bin's lower edge in seconds, and the width of a bin on the natural logarithm."""
FAR = 1e300


class State(NamedTuple):
    """All of a run. Lists or arrays; per request unless said otherwise."""

    opening: Any
    """Requests that do not wait for an earlier turn, in order of arrival."""
    due: Any
    prompt: Any
    output: Any
    prefix_chain: Any
    prefix_blocks: Any
    prompt_chain: Any
    shared: Any
    """1: other requests may match blocks of this one, so they are named as they fill. A request that was preempted matches its own;
    with speculative tokens all are named."""
    next_turn: Any
    think: Any
    sent: Any
    admitted: Any
    first: Any
    last: Any
    computed: Any
    generated: Any
    cached: Any
    preemptions: Any
    held: Any
    slot: Any
    waiting: Any
    running: Any
    chunk: Any
    """Tokens of the current step, -1: none; once it runs, 1 and its speculative tokens."""
    slots: Any
    slot_blocks: Any
    """Blocks of the sequence in each slot, row by row."""
    newer: Any
    older: Any
    """The free queue as a ring through entry ``blocks``; per block."""
    owners: Any
    key: Any
    table_key: Any
    table_block: Any
    heap_s: Any
    heap_request: Any
    marks: Any
    counts: Any
    levels: Any
    gaps: Any
    """Histogram of gaps between tokens inside the window, logarithmic."""
    stream_first: Any
    """First token inside the window; -1: none."""
    stream_last: Any
    stream_tokens: Any
    """Tokens inside the window after those of the first moment."""
    linear_decode: Any
    linear_mixed: Any
    head: Any
    host_decode: Any
    host_mixed: Any
    cost: Any
    """Scalars of the step cost, see ``step_seconds``."""
    accept: Any
    """Speculative decoding: accepted tokens, drawn beforehand, cyclic by request and position."""
    c: Any
    x: Any
    blocks: int
    stride: int
    max_seqs: int
    budget: int
    max_len: int
    threshold: int
    chunked: int
    caching: int
    whole: int
    spare: int
    early: int
    spec: int
    connections: int
    send_until: float
    end: float
    window_from: float
    window_to: float


@compiled
def step_seconds(
    linear_decode: Any, linear_mixed: Any, head: Any, host_decode: Any, host_mixed: Any, cost: Any,
    seqs: int, tokens: int, context: float, p_tokens: int, p_pairs: float, p_context: float, sampled: int,
) -> float:  # fmt: skip
    """Duration of a step in seconds.

    ``cost``: seconds per token of decode context, least attention time, sliding window, seconds per query-key pair and per
    token of prefill context, exposed host time.
    """
    if seqs + p_tokens == 0:
        return 0.0
    read = min(context, cost[2] * seqs) if cost[2] > 0 else context
    attention = max(cost[0] * read, cost[1]) if seqs > 0 else 0.0
    if p_tokens == 0:
        return float(max(linear_decode[tokens] + attention + head[sampled], host_decode[seqs]) + cost[5])
    attention += max(cost[3] * p_pairs, cost[4] * p_context)
    return float(max(linear_mixed[tokens + p_tokens] + attention + head[sampled], host_mixed[sampled]) + cost[5])


@compiled
def decode_line(s: Any, n: int, context: float) -> tuple[float, float, float]:
    """(a, b, until): a step of ``n`` decodes lasts a + b * context while the context is below ``until``."""
    fixed, floor, host, each = s.linear_decode[n] + s.head[n], s.cost[1], s.host_decode[n], s.cost[0]
    low = max(floor, host - fixed)
    if each * context < low:
        return max(fixed + floor, host) + s.cost[5], 0.0, low / each
    cap = s.cost[2] * n
    if cap > 0 and context >= cap:
        return max(fixed + max(each * cap, floor), host) + s.cost[5], 0.0, FAR
    return fixed + s.cost[5], each, cap if cap > 0 else FAR


@compiled
def slot_of(s: Any, key: int) -> int:
    """Place of a key in the hash table, or of the gap where it would go."""
    size = len(s.table_key)
    at = (key * 40503 + (key >> 20) * 9973) % size
    while s.table_key[at] != -1 and s.table_key[at] != key:
        at = at + 1 if at + 1 < size else 0
    return at


@compiled
def forget(s: Any, key: int, block: int) -> None:
    """Delete a key if it names this block; later entries of the probe run move up."""
    size, hole = len(s.table_key), slot_of(s, key)
    if s.table_key[hole] != key or s.table_block[hole] != block:
        return
    at = hole
    while True:
        at = at + 1 if at + 1 < size else 0
        k = s.table_key[at]
        if k == -1:
            break
        home = (k * 40503 + (k >> 20) * 9973) % size
        if (at - home) % size >= (at - hole) % size:
            s.table_key[hole], s.table_block[hole] = k, s.table_block[at]
            hole = at
    s.table_key[hole] = -1


@compiled
def remember(s: Any, key: int, block: int) -> None:
    """Name a full block unless it has a name; the first block of a name is the one found."""
    if s.key[block] >= 0:
        return
    s.key[block] = key
    at = slot_of(s, key)
    if s.table_key[at] == -1:
        s.table_key[at], s.table_block[at] = key, block


@compiled
def key_of(s: Any, r: int, i: int) -> int:
    """Name of the content of block ``i`` of request ``r``."""
    if i < s.prefix_blocks[r]:
        return int(s.prefix_chain[r] * CHAIN + i)
    if (i + 1) * BLOCK <= s.prompt[r]:
        return int(s.prompt_chain[r] * CHAIN + i)
    return int(r * CHAIN + i)


@compiled
def take(s: Any) -> int:
    """The least recently used free block; what it held is forgotten."""
    block = int(s.newer[s.blocks])
    after = s.newer[block]
    s.newer[s.blocks], s.older[after] = after, s.blocks
    if s.key[block] >= 0:
        forget(s, s.key[block], block)
        s.key[block] = -1
    s.owners[block] = 1
    s.c[FREE] -= 1
    return block


@compiled
def reserve(s: Any, r: int, tokens: int) -> bool:
    """Hold blocks for ``tokens`` more; False when there are too few."""
    held = s.held[r]
    wanted = (s.computed[r] + tokens + BLOCK - 1) // BLOCK
    if wanted - held > s.c[FREE]:
        return False
    row = s.slot[r] * s.stride
    for i in range(held, wanted):
        s.slot_blocks[row + i] = take(s)
    if wanted > held:
        s.held[r] = wanted
    return True


@compiled
def give_back(s: Any, r: int, preempted: bool) -> None:
    """Free a sequence's blocks, the last first: named ones to the end of the queue, others to its front."""
    row, full = s.slot[r] * s.stride, s.computed[r] // BLOCK
    if preempted and s.shared[r] == 0:
        s.shared[r] = 1
        name_blocks(s, r, 0, full)
    for i in range(s.held[r] - 1, -1, -1):
        block = s.slot_blocks[row + i]
        s.owners[block] -= 1
        if s.owners[block] > 0:
            continue
        ring = s.blocks
        named = s.caching and (s.key[block] >= 0 or (i < full and s.shared[r] == 0))
        before = s.older[ring] if named else ring
        after = s.newer[before]
        s.newer[before], s.older[block], s.newer[block], s.older[after] = block, before, after, block
        s.c[FREE] += 1
    s.held[r] = 0
    s.slots[s.c[SLOTS]] = s.slot[r]
    s.c[SLOTS] += 1


@compiled
def name_blocks(s: Any, r: int, begin: int, end: int) -> None:
    """Name the full blocks begin..end of a sequence whose content another may match."""
    if s.caching and s.shared[r]:
        row = s.slot[r] * s.stride
        for i in range(begin, end):
            remember(s, key_of(s, r, i), s.slot_blocks[row + i])


@compiled
def heap_push(s: Any, due: float, r: int) -> None:
    """A later turn becomes due."""
    at = s.c[HEAP]
    s.c[HEAP] += 1
    while at > 0:
        up = (at - 1) // 2
        if (s.heap_s[up], s.heap_request[up]) <= (due, r):
            break
        s.heap_s[at], s.heap_request[at] = s.heap_s[up], s.heap_request[up]
        at = up
    s.heap_s[at], s.heap_request[at] = due, r


@compiled
def heap_pop(s: Any) -> None:
    """Remove the first of the later turns."""
    s.c[HEAP] -= 1
    n = s.c[HEAP]
    due, r = s.heap_s[n], s.heap_request[n]
    at = 0
    while 2 * at + 1 < n:
        down = 2 * at + 1
        if down + 1 < n and (s.heap_s[down + 1], s.heap_request[down + 1]) < (s.heap_s[down], s.heap_request[down]):
            down += 1
        if (due, r) <= (s.heap_s[down], s.heap_request[down]):
            break
        s.heap_s[at], s.heap_request[at] = s.heap_s[down], s.heap_request[down]
        at = down
    s.heap_s[at], s.heap_request[at] = due, r


@compiled
def next_due(s: Any) -> float:
    """When the next request is sent if nothing ends before; FAR when none is."""
    if s.connections > 0 and s.c[FLIGHT] >= s.connections:
        return FAR
    due = s.due[s.opening[s.c[CURSOR]]] if s.c[CURSOR] < len(s.opening) else FAR
    if s.c[HEAP] > 0 and s.heap_s[0] < due:
        due = s.heap_s[0]
    return due if due < s.send_until else FAR


@compiled
def send(s: Any, freed: bool) -> None:
    """Put all requests that are due by now into the inbox; with ``freed``, on connections that became free just now."""
    now = s.x[CLOCK]
    while next_due(s) <= now:
        if s.c[HEAP] > 0 and (s.c[CURSOR] >= len(s.opening) or s.heap_s[0] < s.due[s.opening[s.c[CURSOR]]]):
            r = s.heap_request[0]
            s.due[r] = s.heap_s[0]
            heap_pop(s)
        else:
            r = s.opening[s.c[CURSOR]]
            s.c[CURSOR] += 1
        s.sent[r] = now if freed else s.due[r]
        s.c[FLIGHT] += 1
        s.waiting[s.c[INBOX]] = r
        s.c[INBOX] += 1


@compiled
def need_of(s: Any, r: int, n: int, budget: int) -> int:
    """Tokens that a running sequence computes in this step."""
    known = s.prompt[r] + s.generated[r]
    need = known - s.computed[r]
    if need == 1 and s.generated[r] > 0:
        need += s.spec
    if s.threshold > 0 and n + s.c[TAIL] - s.c[HEAD] > 1:
        need = min(need, s.threshold)
    return int(min(need, budget, s.max_len - 1 - s.computed[r]))


@compiled
def schedule_running(s: Any) -> tuple[int, bool]:
    """Give each running sequence its tokens; (budget left, whether one was preempted)."""
    budget, preempted, i = s.budget, False, 0
    for j in range(s.c[N_RUN]):
        s.chunk[s.running[j]] = -1
    while i < s.c[N_RUN] and budget > 0:
        r = s.running[i]
        i += 1
        need = 0 if complete(s, r) else need_of(s, r, s.c[N_RUN], budget)
        if need <= 0:
            continue
        while not reserve(s, r, need):
            victim = preempt_last(s)
            preempted = True
            if victim == r:
                return budget, True
        give(s, r, need)
        budget -= need
    return budget, preempted


@compiled
def complete(s: Any, r: int) -> bool:
    """Whether a request has all its tokens."""
    return bool(s.generated[r] >= s.output[r] or s.prompt[r] + s.generated[r] >= s.max_len)


@compiled
def give(s: Any, r: int, tokens: int) -> None:
    """Schedule so many tokens; the blocks that they fill can be matched from now on, within this very step."""
    s.chunk[r] = tokens
    done = s.computed[r]
    since = max(done - s.spec, 0)
    name_blocks(s, r, since // BLOCK, min(done + tokens, s.prompt[r] + s.generated[r]) // BLOCK)


@compiled
def preempt_last(s: Any) -> int:
    """Free the blocks of the last running sequence that has not ended and put it at the head of the waiting queue."""
    at = s.c[N_RUN] - 1
    while complete(s, s.running[at]):
        at -= 1
    victim = s.running[at]
    s.c[N_RUN] -= 1
    for i in range(at, s.c[N_RUN]):
        s.running[i] = s.running[i + 1]
    give_back(s, victim, True)
    s.computed[victim] = 0
    s.preemptions[victim] += 1
    s.c[PREEMPTED] += 1
    s.counts[s.c[MARK] * KINDS + IN_PREEMPTED] += 1
    s.c[HEAD] -= 1
    s.waiting[s.c[HEAD]] = victim
    return int(victim)


@compiled
def release_ended(s: Any) -> None:
    """Sequences that ended in the step before give back their blocks and places."""
    kept = 0
    for i in range(s.c[N_RUN]):
        r = s.running[i]
        if complete(s, r):
            give_back(s, r, False)
        else:
            s.running[kept] = r
            kept += 1
    s.c[N_RUN] = kept
    s.c[ENDING] = 0


@compiled
def head_of_line(s: Any, budget: int) -> tuple[int, int]:
    """(cached blocks, tokens to compute) of the first waiting request; no tokens when it cannot be admitted."""
    if s.c[HEAD] == s.c[TAIL] or budget <= 0 or s.c[N_RUN] >= s.max_seqs:
        return 0, 0
    r = s.waiting[s.c[HEAD]]
    known, hits, idle = s.prompt[r] + s.generated[r], 0, 0
    if s.caching and s.shared[r]:
        while hits < (known - 1) // BLOCK:
            key = key_of(s, r, hits)
            at = slot_of(s, key)
            if s.table_key[at] != key:
                break
            idle += 1 if s.owners[s.table_block[at]] == 0 else 0
            hits += 1
    need = known - hits * BLOCK
    if s.threshold > 0 and s.c[N_RUN] + s.c[TAIL] - s.c[HEAD] > 1:
        need = min(need, s.threshold)
    if need > budget:
        if not s.chunked:
            return 0, 0
        need = budget
    must_fit = known if s.whole else hits * BLOCK + need
    wanted = (must_fit + BLOCK - 1) // BLOCK - hits + idle
    if wanted > s.c[FREE] - (s.spare if s.c[N_RUN] > 0 else 0):
        return 0, 0
    return hits, need


@compiled
def schedule_waiting(s: Any, budget: int) -> int:
    """Admit waiting requests while they fit; the budget that is left."""
    while True:
        hits, need = head_of_line(s, budget)
        if need == 0:
            return budget
        r = s.waiting[s.c[HEAD]]
        s.c[HEAD] += 1
        s.c[SLOTS] -= 1
        s.slot[r] = s.slots[s.c[SLOTS]]
        share(s, r, hits)
        if s.caching:
            count_queries(s, s.prompt[r] + s.generated[r], hits * BLOCK)
        s.computed[r] = s.cached[r] = hits * BLOCK
        reserve(s, r, need)
        if s.admitted[r] < 0:
            s.admitted[r] = s.x[CLOCK]
        s.running[s.c[N_RUN]] = r
        s.c[N_RUN] += 1
        give(s, r, need)
        budget -= need


@compiled
def count_queries(s: Any, queries: int, hits: int) -> None:
    """Tokens asked of the prefix cache, and found."""
    s.c[QUERIES] += queries
    s.c[HITS] += hits
    s.counts[s.c[MARK] * KINDS + IN_QUERIES] += queries
    s.counts[s.c[MARK] * KINDS + IN_HITS] += hits


@compiled
def share(s: Any, r: int, hits: int) -> None:
    """Hold cached blocks together with who else holds them."""
    row = s.slot[r] * s.stride
    for i in range(hits):
        block = s.table_block[slot_of(s, key_of(s, r, i))]
        if s.owners[block] == 0:
            before, after = s.older[block], s.newer[block]
            s.newer[before], s.older[after] = after, before
            s.c[FREE] -= 1
        s.owners[block] += 1
        s.slot_blocks[row + i] = block
    s.held[r] = hits


@compiled
def schedule(s: Any) -> bool:
    """Running sequences first, then waiting ones unless one was preempted; whether anything was scheduled."""
    budget, preempted = schedule_running(s)
    if not preempted:
        budget = schedule_waiting(s, budget)
    return bool(budget < s.budget)


@compiled
def one_step(s: Any) -> bool:
    """Schedule, run and finish one step; False when nothing could be scheduled."""
    early = s.early and (s.c[N_RUN] > 0 or s.c[TAIL] > s.c[HEAD])
    if not early:
        s.c[TAIL] = s.c[INBOX]
    some = schedule(s)
    if s.c[ENDING] > 0:
        release_ended(s)
        if not some:
            schedule(s)
    s.c[TAIL] = s.c[INBOX]
    seqs = tokens = p_tokens = p_context = sampled = scheduled = 0
    context, pairs = 0, 0.0
    for i in range(s.c[N_RUN]):
        r = s.running[i]
        q, done, known = s.chunk[r], s.computed[r], s.prompt[r] + s.generated[r]
        if q <= 0:
            continue
        scheduled += 1
        if s.generated[r] > 0 and known - done == 1:
            seqs, tokens, context = seqs + 1, tokens + q, context + known
        else:
            p_tokens, p_context, pairs = p_tokens + q, p_context + done, pairs + q * (done + q / 2)
            s.counts[s.c[MARK] * KINDS + COMPUTED] += q
        sampled += 1 if done + q >= known else 0
        s.computed[r] = min(done + q, known)
        s.chunk[r] = 1 + max(done + q - known, 0)
    seconds = step_seconds(
        s.linear_decode, s.linear_mixed, s.head, s.host_decode, s.host_mixed, s.cost,
        seqs, tokens, context, p_tokens, pairs, p_context, sampled,
    )  # fmt: skip
    if scheduled == 0:
        return False
    s.x[MIXED] += seconds if p_tokens > 0 else 0.0
    s.c[MIXED_STEPS] += 1 if p_tokens > 0 else 0
    s.x[CONTEXT] += context
    s.c[DECODED] += seqs
    elapse(s, seconds, 1)
    give_tokens(s)
    return True


@compiled
def elapse(s: Any, seconds: float, steps: int) -> None:
    """Move the clock over ``steps`` steps that end in the current interval, and weigh its levels."""
    at = s.c[MARK] * LEVELS
    s.levels[at + RUNNING_S] += s.c[N_RUN] * seconds
    s.levels[at + WAITING_S] += (s.c[INBOX] - s.c[HEAD]) * seconds
    s.levels[at + KV_S] += (s.blocks - s.c[FREE]) / s.blocks * seconds
    s.levels[at + BUSY_S] += seconds
    s.x[CLOCK] += seconds
    s.x[BUSY] += seconds
    s.c[STEPS] += steps
    while s.c[MARK] < len(s.marks) and s.x[CLOCK] >= s.marks[s.c[MARK]]:
        s.c[MARK] += 1
    s.counts[s.c[MARK] * KINDS + IN_STEPS] += steps


@compiled
def give_tokens(s: Any) -> None:
    """A step has run: tokens for every sequence whose known tokens are all computed; end what is complete."""
    send(s, False)
    kept, at = 0, s.c[MARK] * KINDS
    for i in range(s.c[N_RUN]):
        r = s.running[i]
        s.running[kept] = r
        kept += 1
        known = s.prompt[r] + s.generated[r]
        if s.chunk[r] <= 0 or s.computed[r] < known:
            continue
        room = min(s.output[r] - s.generated[r], s.max_len - known)
        new = 1
        if s.chunk[r] > 1:
            new += min(s.accept[(r * 7919 + s.generated[r]) % len(s.accept)], s.chunk[r] - 1)
        new = min(new, room)
        s.c[EXTRA] += new - 1
        if s.generated[r] == 0:
            s.first[r] = s.x[CLOCK]
            s.counts[at + PROMPT] += s.prompt[r]
        note_token(s, r, s.x[CLOCK], new)
        s.generated[r] += new
        s.computed[r] += new - 1
        s.counts[at + OUT] += new
        if new >= room:
            end_request(s, r)
            if not s.early:
                give_back(s, r, False)
                kept -= 1
    s.c[N_RUN] = kept
    if s.c[ENDING] > 0 and s.c[ENDING] == kept and s.c[TAIL] == s.c[HEAD]:
        release_ended(s)
    send(s, True)


@compiled
def note_token(s: Any, r: int, now: float, new: int) -> None:
    """Tokens of one request at one moment: its gap and its stream inside the window."""
    if s.window_from <= now < s.window_to:
        if s.generated[r] > 0 and s.last[r] >= s.window_from:
            note_gap(s, now - s.last[r], 1)
        if s.stream_first[r] < 0:
            s.stream_first[r] = now
        else:
            s.stream_tokens[r] += new
        s.stream_last[r] = now
    s.last[r] = now


@compiled
def end_request(s: Any, r: int) -> None:
    """A request is complete: its connection is free, and its next turn becomes due after the think time."""
    s.c[ENDING] += s.early
    s.counts[s.c[MARK] * KINDS + ENDED] += 1
    s.c[FLIGHT] -= 1
    after = s.next_turn[r]
    if after >= 0:
        heap_push(s, s.x[CLOCK] + s.think[after], after)


@compiled
def note_gap(s: Any, gap: float, count: int) -> None:
    """Add gaps between tokens to the histogram."""
    at = int(math.log(gap / LEAST_GAP) / GAP_STEP) if gap > LEAST_GAP else 0
    s.gaps[min(at, len(s.gaps) - 1)] += count


@compiled
def steps_before(a: float, b: float, n: int, context: float, span: float, most: int) -> int:
    """Least number of steps that last ``span`` or longer together, at most ``most``; each is a + b * context long."""
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
def blocks_wanted(s: Any, steps: int) -> int:
    """Blocks that the running sequences take over so many decode steps."""
    wanted = 0
    for i in range(s.c[N_RUN]):
        r = s.running[i]
        if complete(s, r):
            continue
        wanted += (s.computed[r] + steps + BLOCK - 1) // BLOCK - s.held[r]
    return wanted


@compiled
def only_decodes(s: Any) -> bool:
    """Whether the next step decodes all running sequences by one token and nothing else can happen in it.

    What ended in the step before gives its blocks back here, after the next step's blocks are taken.
    """
    n = s.c[N_RUN] - s.c[ENDING]
    if n == 0 or n > s.budget or s.spec > 0 or s.c[INBOX] > s.c[TAIL] or head_of_line(s, s.budget - n)[1] > 0:
        return False
    if s.c[ENDING] > 0 and (s.c[TAIL] > s.c[HEAD] or blocks_wanted(s, 1) > s.c[FREE]):
        return False
    for i in range(s.c[N_RUN]):
        r = s.running[i]
        if s.generated[r] == 0 or s.prompt[r] + s.generated[r] - s.computed[r] != 1:
            return False
    if s.c[ENDING] > 0:
        for i in range(s.c[N_RUN]):
            if not complete(s, s.running[i]):
                reserve(s, s.running[i], 1)
        release_ended(s)
    return True


@compiled
def skip(s: Any) -> bool:
    """Take all steps up to the next event at once; False when the next step is one that changes more than counters."""
    if not only_decodes(s):
        return False
    n, context, most = s.c[N_RUN], 0, 1 << 40
    for i in range(n):
        r = s.running[i]
        known = s.prompt[r] + s.generated[r]
        context += known
        most = min(most, s.output[r] - s.generated[r], s.max_len - known)
    if n * (most // BLOCK + 1) > s.c[FREE] and blocks_wanted(s, most) > s.c[FREE]:
        low = 0
        while most - low > 1:
            middle = (low + most) // 2
            if blocks_wanted(s, middle) > s.c[FREE]:
                most = middle
            else:
                low = middle
        most = low
    a, b, until = decode_line(s, n, context)
    most = min(most, int(min((until - context) / n, 1e15)))
    if most < 2:
        return False
    now = s.x[CLOCK]
    event = min(next_due(s), s.end)
    if s.c[MARK] < len(s.marks):
        event = min(event, s.marks[s.c[MARK]])
    steps = steps_before(a, b, n, context, event - now, most)
    take_steps(s, steps, a, b, context)
    return True


@compiled
def take_steps(s: Any, steps: int, a: float, b: float, context: float) -> None:
    """So many decode steps of all running sequences, in closed form; the last is told apart for it may end an interval."""
    n, now = s.c[N_RUN], s.x[CLOCK]
    first, last = a + b * context, a + b * (context + n * (steps - 1))
    before_last = now + (steps - 1) * first + b * n * (steps - 1) * (steps - 2) / 2
    for i in range(n):
        r = s.running[i]
        if steps > 1:
            note_token(s, r, now + first, 1)
            note_stream(s, r, before_last, steps - 2)
        done = s.computed[r]
        reserve(s, r, steps)
        s.computed[r] = done + steps - 1
        s.generated[r] += steps - 1
        s.chunk[r] = 1
        name_blocks(s, r, done // BLOCK, (done + steps - 1) // BLOCK)
    if s.window_from <= now + first < s.window_to:
        spread_gaps(s, first + b * n, last - b * n, (steps - 2) * n)
    s.counts[s.c[MARK] * KINDS + OUT] += n * (steps - 1)
    s.x[CONTEXT] += steps * context + n * steps * (steps - 1) / 2
    s.c[DECODED] += n * steps
    if steps > 1:
        elapse(s, before_last - now, steps - 1)
    for i in range(n):
        r = s.running[i]
        done = s.computed[r]
        s.computed[r] = done + 1
        name_blocks(s, r, done // BLOCK, (done + 1) // BLOCK)
    elapse(s, last, 1)
    give_tokens(s)


@compiled
def note_stream(s: Any, r: int, now: float, tokens: int) -> None:
    """So many more tokens up to now; all moments of one closed form lie on the same side of the window's edges."""
    if tokens > 0 and s.window_from <= now < s.window_to:
        s.stream_tokens[r] += tokens
        s.stream_last[r] = now
    s.last[r] = now


@compiled
def spread_gaps(s: Any, low: float, high: float, count: int) -> None:
    """Gaps that grow evenly from ``low`` to ``high``: spread over the bins between."""
    if count <= 0:
        return
    begin = int(math.log(low / LEAST_GAP) / GAP_STEP) if low > LEAST_GAP else 0
    end = int(math.log(high / LEAST_GAP) / GAP_STEP) if high > LEAST_GAP else 0
    top = len(s.gaps) - 1
    if begin == end:
        s.gaps[min(begin, top)] += count
        return
    for i in range(begin, end + 1):
        from_s = max(low, LEAST_GAP * math.exp(i * GAP_STEP))
        to_s = min(high, LEAST_GAP * math.exp((i + 1) * GAP_STEP))
        s.gaps[min(i, top)] += count * max(0.0, to_s - from_s) / (high - low)


@compiled
def run(s: Any) -> None:
    """Run until every request has ended or the clock reaches the end."""
    while s.x[CLOCK] < s.end:
        if s.c[N_RUN] == 0 and s.c[INBOX] == s.c[HEAD]:
            due = next_due(s)
            if due >= s.end:
                return
            s.x[CLOCK] = max(s.x[CLOCK], due)
            while s.c[MARK] < len(s.marks) and s.x[CLOCK] >= s.marks[s.c[MARK]]:
                s.c[MARK] += 1
            send(s, False)
        if not skip(s) and not one_step(s):
            if s.c[N_RUN] > 0 or next_due(s) >= s.end:
                return
            s.x[CLOCK] = max(s.x[CLOCK], next_due(s))
            send(s, False)
