"""How much of a workload a configuration is expected to carry, and the load that measures it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from rooftune.capacity.emulation import CHUNKS_PER_CORE_AT_MOST, JITTER_S, JITTER_SHARE
from rooftune.capacity.reference import GRID, LONG_RUN, Reference
from rooftune.capacity.reference_server import ReferenceServer, reference_server
from rooftune.capacity.steps import StepShape
from rooftune.capacity.trial import load_of
from rooftune.engines.target import Target
from rooftune.errors import RooftuneError
from rooftune.hardware.host import cores
from rooftune.machine_code import wanted
from rooftune.simulator.virtual.capacity import LONG
from rooftune.trial_order import TrialLoad
from rooftune.vllm_rules.config import EngineConfig
from rooftune.vllm_rules.speculation import speculation
from rooftune.workloads.draw import draw
from rooftune.workloads.spec import Workload

SAMPLE = LONG if wanted() else LONG // 5
"""Requests of the sample that a forecast runs. Without numba a longer one would take 15 s per configuration."""
PLACES = 4
"""Speeds at which the figures of a trial need the reference's capacity: around the measured one and both ends of its
interval."""
PROBED, PROBED_TO = 3, 1.5 * GRID
"""Speeds that are probed to time that, and how far from 1 they are in the logarithm of the speed."""


class Forecast(Protocol):
    """What a search asks before it orders a trial. A pure function of the configuration."""

    def capacity(self, config: EngineConfig) -> float | None:
        """Requests/s within the SLO that are expected; 0 = not even one at a time, None = not known."""
        ...

    def load(self, config: EngineConfig, rate_per_s: float) -> TrialLoad:
        """The load at that rate."""
        ...


def acceptance_is_known(target: Target, config: EngineConfig) -> bool:
    """Whether a prediction knows how drafts fare: True without speculation."""
    return speculation(config) is None or target.known_drafts.of(config.flags()) is not None


@dataclass(frozen=True)
class _Expected:
    """The reference of one configuration; an unknown one has none."""

    capacity: float
    shape: StepShape


@dataclass
class SimulatedForecast:
    """The simulator's expectation for a target. Keeps what it computed, which depends on nothing else."""

    target: Target
    workload: Workload
    baseline: str
    """Model of the baseline's configuration; any other is another checkpoint."""
    clock: Callable[[], float] = field(default=time.perf_counter, repr=False)
    _known: dict[str, _Expected | None] = field(default_factory=dict, repr=False)

    def capacity(self, config: EngineConfig) -> float | None:
        found = self._of(config)
        return found.capacity if found is not None else None

    def load(self, config: EngineConfig, rate_per_s: float) -> TrialLoad:
        found = self._of(config)
        shape = found.shape if found is not None else StepShape(settle_s=10.0, requests=0, drain_s=30.0)
        load = load_of(self.workload, shape, rate_per_s)
        if not self.target.simulated:
            return load
        return load.model_copy(update={"time_scale": self._time_scale(rate_per_s)})

    def figures_s(self, config: EngineConfig) -> float:
        """Real seconds that the figures of a trial take after its load; 0 where the simulator does not know.

        Nearly all of them pass while the reference's capacity is computed on its long sample. How fast this machine
        does that is measured on the short one.
        """
        server = self._server(config)
        if server is None:
            return 0.0
        try:
            reference = Reference(server.engine(), self.workload, requests=SAMPLE)
            reference.capacity(1.0)  # the first run loads the compiled code, and the first capacity takes more runs
            began = self.clock()
            reference.ends(1.0, PROBED_TO)
        except RooftuneError:
            return 0.0
        return PLACES * (self.clock() - began) / PROBED * LONG_RUN / SAMPLE

    def _of(self, config: EngineConfig) -> _Expected | None:
        key = config.model_dump_json()
        if key not in self._known:
            self._known[key] = self._computed(config)
        return self._known[key]

    def _computed(self, config: EngineConfig) -> _Expected | None:
        server = self._server(config)
        if server is None:
            return None
        try:
            reference = Reference(server.engine(), self.workload, requests=SAMPLE)
            return _Expected(reference.capacity(1.0), reference.shape(1.0))
        except RooftuneError:
            return None

    def _server(self, config: EngineConfig) -> ReferenceServer | None:
        if self.target.gpu is None or not acceptance_is_known(self.target, config):
            return None
        target = self.target.serving(config.model, self.baseline)
        return reference_server(target, config.flags(), self.target.gpu)

    @cached_property
    def output_tokens(self) -> float:
        """Mean output tokens that one arrival brings."""
        plan = draw(self.workload)
        return float(plan.output_tokens.sum()) / max(1, int((plan.turn == 0).sum()))

    def _time_scale(self, rate_per_s: float) -> float:
        """The clock's speed at which this machine passes on every token in time."""
        tokens_per_s = rate_per_s * self.output_tokens
        limits = [limit / 1000 for name, limit in self.workload.slo.limits_ms().items() if name != "tpot_ms"]
        jitter = JITTER_SHARE * min(limits) / JITTER_S if limits else self.target.time_scale
        most = CHUNKS_PER_CORE_AT_MOST * cores() / tokens_per_s if tokens_per_s > 0 else self.target.time_scale
        return round(max(1.0, min(self.target.time_scale, jitter, most)), 1)
