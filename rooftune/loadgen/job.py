"""What one client process has to do, and how a plan is split among several: request i goes to process i modulo n."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rooftune.loadgen.summary import LoadOptions
from rooftune.workloads.request_plan import RequestPlan

PER_REQUEST = ("arrival_s", "prompt_tokens", "output_tokens", "prefix_id", "prefix_tokens", "prompt_seed", "conversation",
               "turn", "think_s", "part")  # fmt: skip


@dataclass(frozen=True)
class Job:
    """The share of one process. Times in workload seconds."""

    process: int
    plan: RequestPlan
    index: npt.NDArray[np.int32]
    """Number of each request of ``plan`` in the whole plan."""
    options: LoadOptions
    folder: Path
    """Where parts of the records go."""
    total_s: float
    drain_s: float
    ignore_eos: bool


def split(plan: RequestPlan, processes: int) -> list[tuple[RequestPlan, npt.NDArray[np.int32]]]:
    """The plan of each process and the numbers of its requests in the whole plan.

    The union is the plan. A conversation stays together and goes by its number. The slots of a closed loop are shared out.
    """
    owner = np.where(plan.conversation >= 0, plan.conversation, np.arange(len(plan))) % processes
    found = []
    for k in range(processes):
        rows = np.flatnonzero(owner == k).astype(np.int32)
        found.append((_part(plan, rows, k, processes), rows))
    return found


def _part(plan: RequestPlan, rows: npt.NDArray[np.int32], k: int, processes: int) -> RequestPlan:
    if processes == 1:
        return plan
    slots = None
    if plan.concurrency is not None:
        slots = plan.concurrency // processes + (k < plan.concurrency % processes)
    return replace(
        plan,
        **{name: getattr(plan, name)[rows] for name in PER_REQUEST},
        concurrency=slots,
        blocks=None if plan.blocks is None else tuple(plan.blocks[i] for i in rows),
        texts=None if plan.texts is None else tuple(plan.texts[i] for i in rows),
    )


assert {f.name for f in fields(RequestPlan)} == {*PER_REQUEST, "concurrency", "seed", "blocks", "block_tokens", "texts"}
