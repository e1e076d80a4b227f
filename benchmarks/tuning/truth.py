"""The truth of a case: its space in virtual time with constants other than those that the search predicts with.

Constants are multiplied by lognormal factors, drawn once per case from a fixed seed. Their sizes are chosen so that
capacities differ from the predictions at least as much as the trials held back do (benchmarks/trials). The benchmark
prints both. Factors of weights with KV type, and of single configurations, come on top, because reality is not in the
simulator's family either.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.tuning.cases import Case
from rooftune.hardware.named import accelerator
from rooftune.knobs.configuration import KnobValue
from rooftune.search.sensitivity import speed_slope
from rooftune.simulator.calibration.files import Calibration
from rooftune.simulator.steptime.constants import Constants, constants_for
from rooftune.simulator.virtual.capacity import sample
from rooftune.simulator.virtual.judging import Judged, Round, Server, judge_all
from rooftune.simulator.virtual.predict import engine_of
from rooftune.vllm_rules.config import FlagValue

Floats = npt.NDArray[np.float64]
ROUNDS = (Round(1_000, 0.85), Round(8_000, 1.0))
MODEL_SEED, TRUTH_SEED = 11, 4_711
"""Samples of requests of the predictions and of the truth: their luck is not shared."""
SIZES: Mapping[str, float] = {
    "linear.memory": 0.08, "linear.pass_memory": 0.08, "linear.compute": 0.12, "linear.compute_fp8": 0.12,
    "linear.pass_compute": 0.12, "linear.kernels": 0.10, "attention.memory": 0.10, "attention.compute": 0.15,
    "host.kernel_us": 0.15, "host.eager_per_layer_ms": 0.30, "host.graph_step_ms": 0.30, "host.exposed_ms": 0.50,
    "host.exposed_per_sequence_ms": 0.50, "host.mixed_per_layer_ms": 0.30, "host.scheduler_ms": 0.30,
    "host.fp8_kv_per_layer_ms": 0.50, "device.bandwidth": 0.05, "device.rate": 0.05,
}  # fmt: skip
"""Standard deviation of the logarithm of each constant."""
NEAR = 0.5
"""Distance from the best prediction, in ln(objective), up to which slopes are worked out."""
FAMILY, ALONE = 0.03, 0.004
"""Of weights with KV type, and of one configuration. In the trials of benchmarks/trials, configurations with the same
weights and KV type that differ in limits alone have errors within 0.3 to 1 % of each other."""


@dataclass(frozen=True)
class Table:
    """A case's space: what the search predicts and what is true, both as logarithms; −inf = does not start."""

    configurations: tuple[Mapping[str, KnobValue], ...]
    predicted: Floats
    truth: Floats
    slopes: Floats
    """d ln(objective) / d ln(speed) by the model."""

    @property
    def usable(self) -> list[int]:
        """Places of the configurations that the model gives a value."""
        return [i for i, value in enumerate(self.predicted) if np.isfinite(value)]

    @property
    def best(self) -> float:
        """The true optimum, of all configurations, also of those that the model rules out."""
        return float(self.truth.max())


@dataclass(frozen=True)
class Judgements:
    """ln(objective) of each configuration in virtual time: with the model's constants, and with the truth's."""

    predicted: Floats
    truth: Floats
    slopes: Floats

    def table(self, case: Case) -> Table:
        """The table of the case, with what no constant explains."""
        space = tuple(case.configurations)
        return Table(space, self.predicted, self.truth + _beside_the_model(case, space), self.slopes)


def perturbed(constants: Constants, case: Case) -> dict[str, float]:
    """The constants of the truth that differ from the model's."""
    rng = np.random.default_rng(zlib.crc32(case.name.encode()))
    found: dict[str, float] = {}
    for room in ("device", "linear", "attention", "host"):
        for path, value in sorted(_paths(getattr(constants, room), room).items()):
            size = SIZES.get(f"{room}.{path.rsplit('.', 1)[-1]}")
            if size is not None and value:
                found[path] = value * float(np.exp(size * rng.standard_normal()))
    for path, factor in (case.trap.slow if case.trap else {}).items():
        found[path] = found.get(path, constants.value(path)) * factor
    return found


def _paths(room: Mapping[str, object], before: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, value in room.items():
        if isinstance(value, Mapping):
            found |= _paths(value, f"{before}.{name}")
        elif isinstance(value, (int, float)):
            found[f"{before}.{name}"] = float(value)
    return found


def judgements(case: Case, processes: int | None = None) -> Judgements:
    """The space of a case in virtual time: about a minute on one core."""
    space = case.configurations
    flags = [case.flags_of(knobs) for knobs in space]
    predicted = _judged(case, Server(case.gpu, case.model, case.version), flags, MODEL_SEED, processes)
    server = Server(case.gpu, case.model, case.version, _calibration(case))
    truth = _judged(case, server, flags, TRUTH_SEED, processes)
    return Judgements(predicted, truth, slopes_of(case, predicted))


def slopes_of(case: Case, predicted: Floats) -> Floats:
    """How the predictions change with the speed of the server; 1 for those far below the best, which stay there."""
    if case.objective == "throughput":
        return np.ones(len(predicted))
    drawn = sample(case.task, ROUNDS[0].requests, MODEL_SEED)
    longest = drawn.plan.longest_request
    found = []
    for knobs, value in zip(case.configurations, predicted, strict=True):
        slope = 1.0
        if value > predicted.max() - NEAR:
            engine = engine_of(case.gpu, case.model, case.version, case.flags_of(knobs), longest_request=longest)
            slope = speed_slope(engine, drawn, math.exp(value))
        found.append(slope)
    return np.array(found)


def _judged(
    case: Case, server: Server, flags: Sequence[Mapping[str, FlagValue]], seed: int, processes: int | None
) -> Floats:
    judged = judge_all(server, case.task, flags, rounds=ROUNDS, processes=processes, seed=seed)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.array([_value(case, one) for one in judged])))


def _value(case: Case, judged: Judged) -> float:
    if judged.capacity is None:
        return 0.0
    return judged.capacity.rate_per_s if case.objective == "capacity" else judged.capacity.saturated_rate_per_s


def _beside_the_model(case: Case, space: Sequence[Mapping[str, KnobValue]]) -> Floats:
    """ln of the factors that no constant of the simulator explains; −inf for what the trap keeps from starting."""
    rng = np.random.default_rng(zlib.crc32(f"{case.name} beside".encode()))
    kinds = sorted({(str(k["quantization"]), str(k["kv_cache_dtype"])) for k in space})
    shared = dict(zip(kinds, FAMILY * rng.standard_normal(len(kinds)), strict=True))
    alone = ALONE * rng.standard_normal(len(space))
    fails = case.trap.fails if case.trap else ()
    found = [
        -np.inf if any(f"{name}={value}" in fails for name, value in k.items())
        else shared[(str(k["quantization"]), str(k["kv_cache_dtype"]))] + a
        for k, a in zip(space, alone, strict=True)
    ]  # fmt: skip
    return np.array(found)


def _calibration(case: Case) -> Calibration:
    gpu = accelerator(case.gpu)
    return Calibration(
        gpu=gpu.name,
        bandwidth_gb_per_s=gpu.bandwidth_bytes_per_s / 1e9,
        teraflops={name: value / 1e12 for name, value in gpu.flops_per_s.items()},
        engine="the truth of a case",
        model=case.model,
        kernel="none",
        attention="none",
        made_at="",
        constants=perturbed(constants_for(gpu), case),
        points=0,
        held_back=0,
        error_before=0.0,
        error_after=0.0,
    )
