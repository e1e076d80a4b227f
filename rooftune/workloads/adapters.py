"""LoRA adapters of a workload: which share of the requests asks for which one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from pydantic import Field

from rooftune.workloads.request_plan import RequestPlan
from rooftune.workloads.seeds import stream
from rooftune.workloads.strict import Strict

Places = npt.NDArray[np.int16]
"""By request: the place of its adapter; -1 = the model itself."""


class LoraAdapter(Strict):
    """An adapter that a share of the requests asks for by its name. The rest asks for the model itself."""

    name: str = Field(pattern=r"^[^\s,=]+$", description="its name in requests")
    share: float = Field(gt=0, le=1, description="share of the requests, or conversations, that ask for it")
    path: str | None = Field(
        default=None, pattern=r"^[^\s,]+$", description="folder beside the workload file, absolute path, or hub id"
    )
    rank: int | None = Field(default=None, ge=1, le=512, description="its rank, where it is above 16")


def with_adapters(plan: RequestPlan, adapters: Sequence[LoraAdapter], seed: int) -> RequestPlan:
    """The plan with an adapter for each request: that of its trace, or one drawn by the shares.

    All turns of a conversation ask for the same one. Prompts of different adapters have nothing in common, because an
    engine caches the prefixes of each adapter apart.
    """
    if not adapters:
        return plan if plan.adapter is None else replace(plan, adapter=None, adapters=())
    names, notes = tuple(a.name for a in adapters), plan.notes
    if plan.adapter is not None:
        known = np.array([-1, *(names.index(n) if n in names else -1 for n in plan.adapters)], dtype=np.int16)
        adapter = known[plan.adapter + 1]
        foreign = sorted(set(plan.adapters) - set(names))
        if foreign:
            notes = (*notes, f"requests for {', '.join(foreign)} ask for the model, because lora does not name these")
    else:
        adapter = _drawn(plan, [a.share for a in adapters], seed)
    return replace(_apart(plan, adapter), adapter=adapter, adapters=names, notes=notes)


def _drawn(plan: RequestPlan, shares: Sequence[float], seed: int) -> Places:
    """An adapter by its share for each request that begins a conversation or stands alone; -1 = the model."""
    n = len(plan)
    odds = np.array([max(0.0, 1 - sum(shares)), *shares])
    drawn = stream(seed, "adapters").choice(len(odds), n, p=odds / odds.sum()).astype(np.int16) - 1
    begins = np.arange(n) - np.where(plan.conversation >= 0, plan.turn, 0)
    found: Places = drawn[begins]
    return found


def _apart(plan: RequestPlan, adapter: Places) -> RequestPlan:
    """The plan with other prefixes and blocks for each adapter."""
    place = adapter.astype(np.int64) + 1
    most = int(plan.prefix_id.max(initial=-1)) + 1
    prefix = np.where(plan.prefix_id >= 0, plan.prefix_id + place * most, -1).astype(np.int32)
    blocks = plan.blocks
    if blocks is not None:
        above = 1 + max((b for row in blocks for b in row), default=0)
        blocks = tuple(tuple(b + int(k) * above for b in row) for row, k in zip(blocks, place, strict=True))
    return replace(plan, prefix_id=prefix, blocks=blocks)
