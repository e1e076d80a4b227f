"""Fast path: KV blocks, their names and the free queue. The rules are those of ``engine/blocks.py``."""

from __future__ import annotations

from typing import Any

from rooftune.simulator.fastpath.decorators import compiled, inlined
from rooftune.simulator.fastpath.state import BLOCK, CHAIN, FREE, N_RUN, SLOTS


@inlined
def slot_of(s: Any, key: int) -> int:
    """Index of a key in the hash table, or of the gap where it would go (linear probing)."""
    size = s.n_table_key
    at = (key * 40503 + (key >> 20) * 9973) % size
    while s.q[s.table_key + at] != -1 and s.q[s.table_key + at] != key:
        at = at + 1 if at + 1 < size else 0
    return int(at)


@inlined
def forget(s: Any, key: int, block: int) -> None:
    """Delete a key if it names this block; later entries of the probe run move up."""
    size, hole = s.n_table_key, slot_of(s, key)
    if s.q[s.table_key + hole] != key or s.q[s.table_block + hole] != block:
        return
    at = hole
    while True:
        at = at + 1 if at + 1 < size else 0
        k = s.q[s.table_key + at]
        if k == -1:
            break
        home = (k * 40503 + (k >> 20) * 9973) % size
        if (at - home) % size >= (at - hole) % size:
            s.q[s.table_key + hole], s.q[s.table_block + hole] = k, s.q[s.table_block + at]
            hole = at
    s.q[s.table_key + hole] = -1


@compiled
def remember(s: Any, key: int, block: int) -> None:
    """Name a full block unless it has a name; the first block of a name is the one found."""
    if s.q[s.key + block] >= 0:
        return
    s.q[s.key + block] = key
    at = slot_of(s, key)
    if s.q[s.table_key + at] == -1:
        s.q[s.table_key + at], s.q[s.table_block + at] = key, block


@compiled
def key_of(s: Any, r: int, i: int) -> int:
    """Key of the content of block ``i`` of request ``r``."""
    if i < s.q[s.trace_blocks + r]:
        return int(
            s.q[s.trace_chains + s.q[s.trace_start + r] + i // s.trace_block_size] * CHAIN + i % s.trace_block_size
        )
    if i < s.q[s.prefix_blocks + r]:
        return int(s.q[s.prefix_chain + r] * CHAIN + i)
    if (i + 1) * BLOCK <= s.q[s.prompt + r]:
        return int(s.q[s.prompt_chain + r] * CHAIN + i)
    return int(r * CHAIN + i)


@inlined
def take(s: Any) -> int:
    """Take the least recently used free block and forget what it held."""
    block = int(s.q[s.newer + s.blocks])
    after = s.q[s.newer + block]
    s.q[s.newer + s.blocks], s.q[s.older + after] = after, s.blocks
    if s.q[s.key + block] >= 0:
        forget(s, s.q[s.key + block], block)
        s.q[s.key + block] = -1
    s.q[s.owners + block] = 1
    s.c[FREE] -= 1
    return block


@inlined
def reserve(s: Any, r: int, tokens: int) -> bool:
    """Hold blocks for ``tokens`` more; False when there are too few."""
    held = s.q[s.held + r]
    wanted = (s.q[s.computed + r] + tokens + BLOCK - 1) // BLOCK
    if wanted - held > s.c[FREE]:
        return False
    row = s.q[s.slot + r] * s.stride
    for i in range(held, wanted):
        s.q[s.slot_blocks + row + i] = take(s)
    if wanted > held:
        s.q[s.held + r] = wanted
    return True


@inlined
def give_back(s: Any, r: int, preempted: bool) -> None:
    """Free a sequence's blocks, the last first: named ones go to the end of the free queue, others to its front."""
    row, full = s.q[s.slot + r] * s.stride, s.q[s.computed + r] // BLOCK
    if preempted and s.q[s.shared + r] == 0:
        s.q[s.shared + r] = 1
        name_blocks(s, r, 0, full)
    for i in range(s.q[s.held + r] - 1, -1, -1):
        block = s.q[s.slot_blocks + row + i]
        s.q[s.owners + block] -= 1
        if s.q[s.owners + block] > 0:
            continue
        ring = s.blocks
        named = s.caching and (s.q[s.key + block] >= 0 or (i < full and s.q[s.shared + r] == 0))
        before = s.q[s.older + ring] if named else ring
        after = s.q[s.newer + before]
        s.q[s.newer + before], s.q[s.older + block], s.q[s.newer + block], s.q[s.older + after] = (
            block,
            before,
            after,
            block,
        )
        s.c[FREE] += 1
    s.q[s.held + r] = 0
    s.q[s.slots + s.c[SLOTS]] = s.q[s.slot + r]
    s.c[SLOTS] += 1


@compiled
def name_blocks(s: Any, r: int, begin: int, end: int) -> None:
    """Name the full blocks begin..end of a sequence whose content another may match."""
    if s.caching and s.q[s.shared + r]:
        row = s.q[s.slot + r] * s.stride
        for i in range(begin, end):
            remember(s, key_of(s, r, i), s.q[s.slot_blocks + row + i])


@inlined
def complete(s: Any, r: int) -> bool:
    """Whether a request has all its tokens."""
    return bool(s.q[s.generated + r] >= s.q[s.output + r] or s.q[s.prompt + r] + s.q[s.generated + r] >= s.max_len)


@inlined
def share(s: Any, r: int, hits: int) -> None:
    """Hold cached blocks, perhaps together with other owners."""
    row = s.q[s.slot + r] * s.stride
    for i in range(hits):
        block = s.q[s.table_block + slot_of(s, key_of(s, r, i))]
        if s.q[s.owners + block] == 0:
            before, after = s.q[s.older + block], s.q[s.newer + block]
            s.q[s.newer + before], s.q[s.older + after] = after, before
            s.c[FREE] -= 1
        s.q[s.owners + block] += 1
        s.q[s.slot_blocks + row + i] = block
    s.q[s.held + r] = hits


@compiled
def blocks_wanted(s: Any, steps: int) -> int:
    """Blocks that the running sequences take in the next ``steps`` decode steps."""
    wanted = 0
    for i in range(s.c[N_RUN]):
        r = s.q[s.running + i]
        if complete(s, r):
            continue
        wanted += (s.q[s.computed + r] + steps + BLOCK - 1) // BLOCK - s.q[s.held + r]
    return wanted
