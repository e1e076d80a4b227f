"""Fast path: decode steps of all running sequences, as a group or one by one, and the blocks that they need."""

from __future__ import annotations

from typing import Any

from rooftune.simulator.fastpath.blocks import (
    blocks_wanted,
    complete,
    name_blocks,
    reserve,
)  # fmt: skip
from rooftune.simulator.fastpath.clock import (
    note_gap,
)  # fmt: skip
from rooftune.simulator.fastpath.decorators import compiled, inlined
from rooftune.simulator.fastpath.group import (
    advance_group,
    disband,
    rebase,
    reserve_group,
    settle_all,
)  # fmt: skip
from rooftune.simulator.fastpath.schedule import (
    cached_blocks,
    first_chunk,
    release_ended,
)  # fmt: skip
from rooftune.simulator.fastpath.state import (
    BIN,
    BLOCK,
    ENDING,
    FREE,
    GAP,
    GROUP,
    GROUP_CONTEXT,
    GROUP_END,
    GROUP_LAST,
    HEAD,
    N_RUN,
    SEEN,
    STEP,
    TAIL,
)  # fmt: skip


@inlined
def decoding(s: Any) -> tuple[int, int]:
    """Whether all running sequences that go on decode one token in the next step.

    Returns (their known tokens, fewest tokens that one of them still wants), or (0, 0) if not.
    """
    if s.spec > 0 or s.c[N_RUN] - s.c[ENDING] > s.budget:
        return 0, 0
    if s.c[GROUP] > 0:
        return s.c[GROUP_CONTEXT], s.c[GROUP_END] - s.c[STEP]
    context, least = 0, 1 << 40
    for i in range(s.c[N_RUN]):
        r = s.q[s.running + i]
        generated = s.q[s.generated + r]
        known = s.q[s.prompt + r] + generated
        if generated == 0 or known - s.q[s.computed + r] != 1:
            return 0, 0
        room = min(s.q[s.output + r] - generated, s.max_len - known)
        if room > 0:
            context += known
            least = min(least, room)
    return context, least


@inlined
def reserve_one_each(s: Any) -> None:
    """Hold a block for the next token of every running sequence that goes on."""
    if s.c[GROUP] > 0:
        return reserve_group(s, 1)
    for i in range(s.c[N_RUN]):
        r = s.q[s.running + i]
        if s.q[s.computed + r] >= s.q[s.held + r] * BLOCK and not complete(s, r):
            reserve(s, r, 1)
    return None


@inlined
def give_back_ended(s: Any) -> bool:
    """Free the blocks of what ended in the last step, after the next step's blocks are taken; False if too few are
    free."""
    if s.c[TAIL] > s.c[HEAD]:
        return False
    if s.c[N_RUN] > s.c[FREE]:
        disband(s)
        if blocks_wanted(s, 1) > s.c[FREE]:
            return False
    reserve_one_each(s)
    release_ended(s)
    return True


@inlined
def steps_with_blocks(s: Any, n: int, most: int) -> int:
    """For how many of the next ``most`` decode steps of the running sequences there are blocks.

    For a group a lower bound is enough, as it is computed without looking at the members.
    """
    free = s.c[FREE]
    if n * (most // BLOCK + 1) <= free:
        return most
    if s.c[GROUP] > 0 and free >= n:
        return int(free // n * BLOCK - 1)
    disband(s)
    if blocks_wanted(s, most) <= free:
        return most
    low = 0
    while most - low > 1:
        middle = (low + most) // 2
        if blocks_wanted(s, middle) > free:
            most = middle
        else:
            low = middle
    return low


@compiled
def steps_before_eviction(s: Any, budget: int) -> int:
    """Decode steps before a block is taken that the first waiting request would find in the prefix cache.

    Where its first tokens are a part of its prompt alone, it may fit once it finds fewer blocks: those that nobody
    holds count as free until it takes them.
    """
    r, never = s.q[s.waiting + s.c[HEAD]], 1 << 40
    known = s.q[s.prompt + r] + s.q[s.generated + r]
    if s.c[N_RUN] >= s.max_seqs:
        return never
    need = known if s.whole else min(first_chunk(s, known), budget)
    if (need + BLOCK - 1) // BLOCK > s.c[FREE] - s.spare or cached_blocks(s, r, known)[1] == 0:
        return never
    disband(s)
    steps = never
    for i in range(s.c[N_RUN]):
        other = s.q[s.running + i]
        if not complete(s, other):
            steps = min(steps, s.q[s.held + other] * BLOCK - s.q[s.computed + other])
    return int(steps)


@compiled
def decode_all(s: Any, n: int, steps: int, begin: float, end: float) -> None:
    """``decode``, one sequence after another."""
    inside, late = s.window_from <= begin < s.window_to, s.window_from <= end < s.window_to
    for i in range(n):
        r = s.q[s.running + i]
        done, generated, since = s.q[s.computed + r], s.q[s.generated + r], s.f[s.last + r]
        if done + steps > s.q[s.held + r] * BLOCK:
            reserve(s, r, steps)
        if inside and since >= s.window_from:
            if begin - since != s.x[GAP]:
                note_gap(s, begin - since, 1)
            else:
                s.f[s.gaps + s.c[BIN]] += 1
        if late and s.f[s.stream_first + r] < 0:
            s.f[s.stream_first + r] = begin if inside else end
            s.q[s.stream_from + r] = generated + (1 if inside else steps)
        s.f[s.last + r] = end
        s.q[s.computed + r] = done + steps
        s.q[s.generated + r] = generated + steps
        s.q[s.chunk + r] = 1
        if s.q[s.shared + r] != 0:
            name_blocks(s, r, done // BLOCK, (done + steps) // BLOCK)


@inlined
def decode(s: Any, n: int, steps: int, begin: float, end: float) -> None:
    """Give each of the first ``n`` running sequences ``steps`` tokens, the first at ``begin`` and the last at
    ``end``."""
    if s.c[GROUP] == 0:
        return decode_all(s, n, steps, begin, end)
    inside, late = s.window_from <= begin < s.window_to, s.window_from <= end < s.window_to
    if late and s.c[SEEN] == 0:
        settle_all(s)
        decode_all(s, n, steps, begin, end)
        advance_group(s, steps, end)
        rebase(s)
        s.c[SEEN] = 1
        return None
    reserve_group(s, steps)
    if inside and s.x[GROUP_LAST] >= s.window_from:
        note_gap(s, begin - s.x[GROUP_LAST], n)
    advance_group(s, steps, end)
    return None
