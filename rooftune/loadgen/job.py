"""The work of one client process, and how a plan is split: request i goes to process i modulo n."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rooftune.loadgen.summary import LoadOptions
from rooftune.workloads.request_plan import RequestPlan
from rooftune.workloads.texts.sampling import Sampling


@dataclass(frozen=True)
class Share:
    """The requests of one process."""

    plan: RequestPlan
    index: npt.NDArray[np.int32]
    """Number of each request of ``plan`` in the whole plan."""


@dataclass(frozen=True)
class Job:
    """The work of one process. Times are workload seconds."""

    process: int
    share: Share
    options: LoadOptions
    folder: Path
    """Folder for parts of the records."""
    total_s: float
    drain_s: float
    ignore_eos: bool
    sampling: Sampling = field(default_factory=Sampling)


def split(plan: RequestPlan, processes: int) -> list[Share]:
    """Split a plan. The union of the shares is the plan.

    A conversation stays together; its number decides where it goes. The slots of a closed loop are divided equally.
    """
    owner = np.where(plan.conversation >= 0, plan.conversation, np.arange(len(plan))) % processes
    found = []
    for k in range(processes):
        rows = np.flatnonzero(owner == k).astype(np.int32)
        found.append(Share(_part(plan, rows, k, processes), rows))
    return found


def _part(plan: RequestPlan, rows: npt.NDArray[np.int32], k: int, processes: int) -> RequestPlan:
    if processes == 1:
        return plan
    slots = None
    if plan.concurrency is not None:
        slots = plan.concurrency // processes + (k < plan.concurrency % processes)
    return replace(plan.take(rows), concurrency=slots)
