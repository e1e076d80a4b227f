"""Thousands of configurations of one workload, judged in virtual time: how fast, and how far off.

The capacity is compared with the mean of the same engine's on other draws of the same length, which shows the luck of
one draw, and with its capacity on a sample sixteen times as long: rare long queues make that one lower.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from rooftune.simulator.virtual.capacity import Sample, capacity, sample
from rooftune.simulator.virtual.judging import Judged, Server, judge_all
from rooftune.simulator.virtual.predict import engine_of
from rooftune.workloads.load import load_workload

LONG, SEEDS = 480_000, (101, 102, 103, 104)
CHECKED = 12
"""Configurations whose capacity is found again on the long sample: leaders first, then across the field."""


@dataclass(frozen=True)
class JudgingRun:
    """What judging one grid took and showed."""

    name: str
    configurations: int
    start: int
    seconds: float
    best_per_s: float
    leaders_off: float
    """Median relative distance of the leaders from the mean of other draws of the same length."""
    leaders_high: float
    """Median relative excess of the leaders over the long sample."""
    field_off: float
    """The same of configurations judged on the shortest sample."""
    lost: float
    """Share of the best mean capacity, among the leaders, that taking the first-ranked loses."""


@dataclass(frozen=True)
class Grid:
    """Configurations to judge."""

    name: str
    workload: str
    server: Server
    fixed: dict[str, Any]
    varied: dict[str, tuple[Any, ...]]

    def configurations(self) -> list[dict[str, Any]]:
        """All combinations."""
        names = list(self.varied)
        return [{**self.fixed, **dict(zip(names, v, strict=True))} for v in itertools.product(*self.varied.values())]


SEQS = (4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256)
GRIDS = (
    Grid(
        "chat-medium, T4, Llama-2-7B",
        "chat-medium",
        Server("T4", "llama-2-7b", "0.15.1"),
        {"dtype": "half", "max_model_len": 2048},
        {
            "max_num_seqs": SEQS,
            "max_num_batched_tokens": (256, 512, 1024, 2048, 4096, 8192),
            "kv_cache_dtype": ("auto", "fp8"),
            "quantization": ("awq", "awq_marlin"),
            "gpu_memory_utilization": (0.8, 0.85, 0.9, 0.95),
            "enforce_eager": (True, False),
        },
    ),
)


def judge(grid: Grid) -> JudgingRun:
    """Judge a grid, and check some of it on the long sample."""
    workload, wanted = load_workload(grid.workload), grid.configurations()
    began = time.perf_counter()
    found = judge_all(grid.server, workload, wanted)
    seconds = time.perf_counter() - began
    ranked = sorted((j for j in found if j.capacity), key=lambda j: -j.rate_per_s)
    leaders = _distinct(ranked)[: CHECKED // 2]
    least = min(j.requests for j in ranked)
    others = _distinct([j for j in ranked if j.requests == least])
    field = others[:: max(1, len(others) // (CHECKED // 2))][: CHECKED // 2]
    most = max(j.requests for j in ranked)
    draws = [sample(workload, most, seed=seed) for seed in SEEDS]
    long = sample(workload, LONG, seed=SEEDS[0])

    def again(judged: Judged, samples: list[Sample]) -> float:
        s = grid.server
        engine = engine_of(s.gpu, s.model, s.engine_version, judged.flags)
        near = judged.rate_per_s or None
        return float(np.mean([capacity(engine, d, tolerance=0.01, near_per_s=near).rate_per_s for d in samples]))

    true = [again(j, draws) for j in leaders]
    off = [abs(j.rate_per_s / t - 1) for j, t in zip(leaders, true, strict=True)]
    high = [j.rate_per_s / again(j, [long]) - 1 for j in leaders[:2]]
    far = [abs(j.rate_per_s / t - 1) for j in field if (t := again(j, draws)) > 0]
    return JudgingRun(
        grid.name, len(wanted), len(ranked), seconds, ranked[0].rate_per_s, float(np.median(off)),
        float(np.median(high)), float(np.median(far)) if far else float("nan"), 1 - true[0] / max(true),
    )  # fmt: skip


def _distinct(ranked: list[Judged]) -> list[Judged]:
    """One of each group of configurations that cannot differ."""
    first: dict[int, Judged] = {}
    for judged in ranked:
        first.setdefault(id(judged.capacity), judged)
    return list(first.values())
