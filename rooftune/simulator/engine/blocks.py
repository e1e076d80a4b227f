"""KV blocks: a pool with a prefix cache, as in vLLM's V1 engine.

Only full blocks are hashed; a hash covers the block's tokens and, through its parent, all tokens before it. A free
block keeps its hash until it is taken for something else, so free blocks are the cache, least recently used first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence

BlockHash = Hashable


class BlockPool:
    """``total`` blocks, each free or owned by one or more sequences."""

    def __init__(self, total: int, caching: bool = True) -> None:
        self.total = total
        self.caching = caching
        self.free: OrderedDict[int, None] = OrderedDict((i, None) for i in range(total))
        self.owners = [0] * total
        self.hash_of: list[BlockHash | None] = [None] * total
        self.block_of: dict[BlockHash, int] = {}

    @property
    def free_count(self) -> int:
        """Number of free blocks."""
        return len(self.free)

    @property
    def usage(self) -> float:
        """Share of blocks in use, 0 to 1."""
        return 1 - len(self.free) / self.total if self.total else 0.0

    def longest_hit(self, hashes: Sequence[BlockHash]) -> list[int]:
        """Blocks of the longest cached chain of ``hashes``, without taking them."""
        hit: list[int] = []
        if self.caching:
            for h in hashes:
                block = self.block_of.get(h)
                if block is None:
                    break
                hit.append(block)
        return hit

    def free_among(self, blocks: Sequence[int]) -> int:
        """How many of these cached blocks are free now: taking them uses capacity."""
        return sum(1 for b in blocks if self.owners[b] == 0)

    def share(self, blocks: Sequence[int]) -> None:
        """Take cached blocks for one more owner."""
        for b in blocks:
            if self.owners[b] == 0:
                del self.free[b]
            self.owners[b] += 1

    def take(self, count: int) -> list[int]:
        """Take ``count`` free blocks, the least recently used first; their old hashes are forgotten."""
        taken = []
        for _ in range(count):
            block, _none = self.free.popitem(last=False)
            old = self.hash_of[block]
            if old is not None:
                self.hash_of[block] = None
                if self.block_of.get(old) == block:
                    del self.block_of[old]
            self.owners[block] = 1
            taken.append(block)
        return taken

    def name(self, block: int, block_hash: BlockHash) -> None:
        """A block has become full: remember its hash unless another block has it already."""
        if self.caching and self.hash_of[block] is None:
            self.hash_of[block] = block_hash
            self.block_of.setdefault(block_hash, block)

    def give_back(self, blocks: Sequence[int]) -> None:
        """Free one owner's blocks, the last first; hashed ones go to the end of the queue, others to its front."""
        for b in reversed(blocks):
            self.owners[b] -= 1
            if self.owners[b] == 0:
                self.free[b] = None
                if self.hash_of[b] is None:
                    self.free.move_to_end(b, last=False)

    def forget(self) -> None:
        """Drop all cached hashes (vLLM's ``/reset_prefix_cache``)."""
        self.block_of.clear()
        self.hash_of = [None] * self.total
