"""A small workload, a simulated server as a real process, and a listener that keeps what it hears."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from rooftune.capacity.estimate import CapacityEstimate
from rooftune.capacity.listener import CapacityListener, MeasurementPlan
from rooftune.capacity.measured_step import StepRecord
from rooftune.capacity.reference_server import ReferenceServer, reference_server
from rooftune.capacity.search import NextStep
from rooftune.engines import launch
from rooftune.engines.server import ServerInfo
from rooftune.engines.target import Target
from rooftune.runfolder import TrialFolder
from rooftune.vllm_rules.config import EngineConfig, FlagValue
from rooftune.workloads.spec import Workload

FLAGS: dict[str, FlagValue] = {"quantization": "awq_marlin", "max_model_len": 2048, "max_num_seqs": 64}


def workload(**changes: Any) -> Workload:
    """Chat in short: a step of it takes about a minute of the server's clock."""
    fields = {
        "name": "made",
        "arrivals": {"process": "poisson", "rate_per_s": 30},
        "prompt_tokens": {"distribution": "lognormal", "mean": 50, "sigma": 0.5, "low": 8, "high": 200},
        "output_tokens": {"distribution": "lognormal", "mean": 40, "sigma": 0.4, "low": 2, "high": 120},
        "duration_s": 60,
        "seed": 3,
        "slo": {"ttft_ms": 2000, "tpot_ms": 60},
        **changes,
    }
    return Workload.model_validate(fields)


def target(time_scale: float = 25.0, **flags: FlagValue) -> Target:
    """A simulated T4."""
    return Target(
        gpu="T4", model="llama-2-7b", engine_version="0.15.1", flags={**FLAGS, **flags}, time_scale=time_scale
    )


def twin(which: Target) -> ReferenceServer:
    """The reference that is the server itself."""
    return reference_server(which, which.flags, which.gpu or "")


@contextlib.asynccontextmanager
async def served(folder: Path, which: Target) -> AsyncIterator[ServerInfo]:
    """The simulated server, running."""
    config = EngineConfig(model=which.model).with_change(which.flags)
    async with launch.running(which, config, TrialFolder(folder)) as server:
        yield server


class Heard(CapacityListener):
    """Keeps every call."""

    def __init__(self) -> None:
        self.plans: list[MeasurementPlan] = []
        self.begun: list[float] = []
        self.kept: list[int] = []
        self.made: list[StepRecord] = []
        self.sentences: list[str] = []

    def planned(self, plan: MeasurementPlan) -> None:
        self.plans.append(plan)

    def step(self, number: int, order: NextStep) -> None:
        self.begun.append(order.load)

    def waiting(self, sentence: str) -> None:
        self.sentences.append(sentence)

    def measured(self, record: StepRecord, found: CapacityEstimate | None, kept: bool) -> None:
        if kept:
            self.kept.append(record.number)
        else:
            self.made.append(record)
