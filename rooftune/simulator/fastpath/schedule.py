"""Fast path: what the next step computes. The rules are those of ``engine/scheduler.py``."""

from __future__ import annotations

from typing import Any

from rooftune.simulator.fastpath.blocks import (
    complete,
    give_back,
    key_of,
    name_blocks,
    reserve,
    share,
    slot_of,
)  # fmt: skip
from rooftune.simulator.fastpath.decorators import compiled, inlined
from rooftune.simulator.fastpath.state import (
    BLOCK,
    CLOCK,
    DRAFT,
    ENDING,
    FREE,
    HEAD,
    HITS,
    IN_HITS,
    IN_PREEMPTED,
    IN_QUERIES,
    KINDS,
    MARK,
    N_RUN,
    PREEMPTED,
    QUERIES,
    SLOTS,
    TAIL,
)  # fmt: skip


@compiled
def need_of(s: Any, r: int, n: int, budget: int) -> int:
    """Tokens that a running sequence computes in this step."""
    known = s.q[s.prompt + r] + s.q[s.generated + r]
    need = known - s.q[s.computed + r]
    if need == 1 and s.q[s.generated + r] > 0:
        need += s.c[DRAFT]
    if s.threshold > 0 and n + s.c[TAIL] - s.c[HEAD] > s.spared:
        need = min(need, s.threshold)
    return int(min(need, budget, s.max_len - 1 - s.q[s.computed + r]))


@compiled
def schedule_running(s: Any) -> tuple[int, bool]:
    """Give each running sequence its tokens; (budget left, whether one was preempted)."""
    budget, preempted, i = s.budget, False, 0
    for j in range(s.c[N_RUN]):
        s.q[s.chunk + s.q[s.running + j]] = -1
    while i < s.c[N_RUN] and budget > 0:
        r = s.q[s.running + i]
        i += 1
        generated, done = s.q[s.generated + r], s.q[s.computed + r]
        known = s.q[s.prompt + r] + generated
        if generated >= s.q[s.output + r] or known >= s.max_len:
            continue
        if s.spec == 0 and known - done == 1 and done < s.q[s.held + r] * BLOCK and known % BLOCK != 0:
            s.q[s.chunk + r] = 1
            budget -= 1
            continue
        need = need_of(s, r, s.c[N_RUN], budget)
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


@inlined
def give(s: Any, r: int, tokens: int) -> None:
    """Schedule ``tokens`` tokens; the blocks that they fill can be matched from now on, even within this step."""
    s.q[s.chunk + r] = tokens
    done = s.q[s.computed + r]
    since = max(done - s.spec, 0)
    name_blocks(s, r, since // BLOCK, min(done + tokens, s.q[s.prompt + r] + s.q[s.generated + r]) // BLOCK)


@compiled
def preempt_last(s: Any) -> int:
    """Free the blocks of the last running sequence that has not ended and put it at the head of the waiting queue."""
    at = s.c[N_RUN] - 1
    while complete(s, s.q[s.running + at]):
        at -= 1
    victim = s.q[s.running + at]
    s.c[N_RUN] -= 1
    for i in range(at, s.c[N_RUN]):
        s.q[s.running + i] = s.q[s.running + i + 1]
    give_back(s, victim, True)
    s.q[s.computed + victim] = 0
    s.q[s.preemptions + victim] += 1
    s.c[PREEMPTED] += 1
    s.q[s.counts + s.c[MARK] * KINDS + IN_PREEMPTED] += 1
    s.c[HEAD] -= 1
    s.q[s.waiting + s.c[HEAD]] = victim
    return int(victim)


@inlined
def release_ended(s: Any) -> None:
    """Free the blocks and places of the sequences that ended in the last step."""
    kept = 0
    for i in range(s.c[N_RUN]):
        r = s.q[s.running + i]
        if s.c[ENDING] > 0 and complete(s, r):
            give_back(s, r, False)
            s.c[ENDING] -= 1
        else:
            s.q[s.running + kept] = r
            kept += 1
    s.c[N_RUN] = kept


@inlined
def cached_blocks(s: Any, r: int, known: int) -> tuple[int, int]:
    """(cached blocks of a waiting request, how many of them nobody holds)."""
    hits, idle = 0, 0
    if s.caching and s.q[s.shared + r]:
        while hits < (known - 1) // BLOCK:
            key = key_of(s, r, hits)
            at = slot_of(s, key)
            if s.q[s.table_key + at] != key:
                break
            idle += 1 if s.q[s.owners + s.q[s.table_block + at]] == 0 else 0
            hits += 1
    return hits, idle


@inlined
def first_chunk(s: Any, tokens: int) -> int:
    """Of these tokens of the first waiting request, those that one step may take: a threshold holds for long prompts
    while other requests are there."""
    if s.threshold > 0 and s.c[N_RUN] + s.c[TAIL] - s.c[HEAD] > s.spared:
        return int(min(tokens, s.threshold))
    return tokens


@compiled
def head_of_line(s: Any, budget: int) -> tuple[int, int]:
    """(cached blocks, tokens to compute) of the first waiting request; no tokens when it cannot be admitted."""
    if s.c[HEAD] == s.c[TAIL] or budget <= 0 or s.c[N_RUN] >= s.max_seqs:
        return 0, 0
    r = s.q[s.waiting + s.c[HEAD]]
    known = s.q[s.prompt + r] + s.q[s.generated + r]
    hits, idle = cached_blocks(s, r, known)
    need = first_chunk(s, known - hits * BLOCK)
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
    """Admit waiting requests while they fit; return the budget that is left."""
    while True:
        hits, need = head_of_line(s, budget)
        if need == 0:
            return budget
        r = s.q[s.waiting + s.c[HEAD]]
        s.c[HEAD] += 1
        s.c[SLOTS] -= 1
        s.q[s.slot + r] = s.q[s.slots + s.c[SLOTS]]
        share(s, r, hits)
        if s.caching:
            count_queries(s, s.q[s.prompt + r] + s.q[s.generated + r], hits * BLOCK)
        s.q[s.computed + r] = s.q[s.cached + r] = hits * BLOCK
        reserve(s, r, need)
        if s.f[s.admitted + r] < 0:
            s.f[s.admitted + r] = s.x[CLOCK]
        s.q[s.running + s.c[N_RUN]] = r
        s.c[N_RUN] += 1
        give(s, r, need)
        budget -= need


@inlined
def count_queries(s: Any, queries: int, hits: int) -> None:
    """Count tokens looked up in the prefix cache, and found."""
    s.c[QUERIES] += queries
    s.c[HITS] += hits
    s.q[s.counts + s.c[MARK] * KINDS + IN_QUERIES] += queries
    s.q[s.counts + s.c[MARK] * KINDS + IN_HITS] += hits


@compiled
def schedule(s: Any) -> bool:
    """Running sequences first, then waiting ones unless one was preempted. Returns whether anything was scheduled."""
    budget, preempted = schedule_running(s)
    if not preempted:
        budget = schedule_waiting(s, budget)
    return bool(budget < s.budget)
