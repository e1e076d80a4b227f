"""``rooftune calibrate``: fits constants of the step-time model to steps measured on your own engine."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Literal

import numpy as np
import numpy.typing as npt

from rooftune.errors import InputError
from rooftune.hardware.accelerator import Accelerator
from rooftune.models.facts import ModelFacts
from rooftune.simulator.calibration.files import Calibration
from rooftune.simulator.calibration.least_squares import Free, fit
from rooftune.simulator.steptime.constants import Constants, constants_for, of_runner, table
from rooftune.simulator.steptime.durations import decode_seconds, prefill_seconds
from rooftune.simulator.steptime.model import StepTime
from rooftune.vllm_rules.config import EngineConfig
from rooftune.vllm_rules.resolve import Resolved, resolve

FRONT = "front_ms"
FRONT_START_MS = 5.0
LEAST = 6
"""Fewest points for a fit."""
WIDE, NARROW = 1.5, 0.5
"""Spread of the priors (of the logarithm): where the machine decides, and where the kernel does."""


@dataclass(frozen=True)
class Observation:
    """One measured duration."""

    kind: Literal["decode", "prefill"]
    seconds: float
    """decode: of a step. prefill: from sending a lone prompt to its first token, client, HTTP and tokenizer
    included."""
    batch: float = 1
    context: float = 0
    """decode: mean context of a sequence in tokens. prefill: tokens of the prompt."""
    loaded: bool = False
    """From a serving trial: the mean includes steps with prefill, so it says less about a single step."""


@dataclass(frozen=True)
class ServedTrial:
    """The server that was measured: enough to predict how long its steps take."""

    gpu: Accelerator
    facts: ModelFacts
    config: EngineConfig
    engine_version: str

    def resolved(self) -> Resolved:
        return resolve(self.gpu, self.facts, self.config, self.engine_version)


@dataclass(frozen=True)
class FittedPoint:
    """One point, as predicted before and after the fit."""

    observation: Observation
    held_back: bool
    before_s: float
    after_s: float

    def error(self, seconds: float) -> float:
        return seconds / self.observation.seconds - 1


@dataclass(frozen=True)
class Calibrated:
    """A fit and its predictions of all points."""

    calibration: Calibration
    rows: tuple[FittedPoint, ...]


def calibrate(served: ServedTrial, observations: Sequence[Observation]) -> Calibrated:
    """Fit to two of three points, find the error on every third one, then fit to all of them.

    Raises:
        InputError: too few points.
    """
    if len(observations) < LEAST:
        raise InputError(
            f"a calibration needs at least {LEAST} measured points, not {len(observations)}; "
            "measure more batches and contexts."
        )
    resolved = served.resolved()
    shipped = constants_for(served.gpu, table())
    ordered = sorted(observations, key=lambda o: (o.kind, o.batch, o.context))
    held = [i % 3 == 1 for i in range(len(ordered))]
    seen = [o for o, h in zip(ordered, held, strict=True) if not h]
    fitted = _fitted(served, resolved, shipped, seen)
    before = _predict(served, resolved, shipped, ordered, FRONT_START_MS / 1000)
    after = _predict(served, resolved, shipped.replaced(fitted.constants), ordered, fitted.front_s)
    rows = tuple(FittedPoint(o, h, float(b), float(a)) for o, h, b, a in zip(ordered, held, before, after, strict=True))
    final = _fitted(served, resolved, shipped, ordered)
    apart = [r for r in rows if r.held_back]
    calibration = Calibration(
        gpu=served.gpu.name,
        accelerator_notes=served.gpu.notes if served.gpu.kind == "cpu" else "",
        bandwidth_gb_per_s=served.gpu.bandwidth_bytes_per_s / 1e9,
        teraflops={k: v / 1e12 for k, v in served.gpu.flops_per_s.items()},
        engine=f"vLLM {served.engine_version}",
        model=served.facts.name,
        flags=served.config.flags(),
        kernel=resolved.kernel,
        attention=resolved.attention,
        made_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        constants={k: float(f"{v:.4g}") for k, v in final.constants.items()},
        front_ms=round(final.front_s * 1000, 2),
        points=len(ordered),
        held_back=len(apart),
        error_before=round(float(np.median([abs(r.error(r.before_s)) for r in apart])), 4),
        error_after=round(float(np.median([abs(r.error(r.after_s)) for r in apart])), 4),
    )
    return Calibrated(calibration, rows)


def free_constants(resolved: Resolved, shipped: Constants) -> dict[str, Free]:
    """The constants that measurements of one engine determine, with the shipped ones as priors."""
    linear, attention = f"linear.{resolved.kernel}", f"attention.{resolved.attention}"
    paths = {f"{attention}.memory": NARROW, f"{attention}.compute": NARROW, "host.kernel_us": NARROW}
    if resolved.kernel == "awq_gemm":
        paths |= {f"{linear}.pass_memory": NARROW, f"{linear}.pass_compute": NARROW, f"{linear}.compute": NARROW}
    else:
        paths |= {f"{linear}.memory": NARROW, f"{linear}.compute": NARROW}
    paths |= {"host.exposed_ms": WIDE, f"host.{of_runner('exposed_per_sequence_ms', resolved.runner)}": WIDE}
    if not resolved.cuda_graphs:
        paths |= {"host.eager_per_layer_ms": NARROW}
    if resolved.attention == "cpu":
        paths |= dict.fromkeys(
            (f"{attention}.memory", f"{attention}.compute", f"{linear}.memory", f"{linear}.compute"), WIDE
        )
        paths |= {"host.kernel_us": WIDE}
    return {path: Free(shipped.value(path), spread) for path, spread in paths.items()}


@dataclass(frozen=True)
class _Fitted:
    constants: dict[str, float]
    front_s: float
    """A request's way through client, HTTP and tokenizer."""


def _fitted(served: ServedTrial, resolved: Resolved, shipped: Constants, of: Sequence[Observation]) -> _Fitted:
    free = {**free_constants(resolved, shipped), FRONT: Free(FRONT_START_MS, WIDE)}

    def predicted(values: dict[str, float]) -> npt.NDArray[np.float64]:
        constants = {k: v for k, v in values.items() if k != FRONT}
        return _predict(served, resolved, shipped.replaced(constants), of, values[FRONT] / 1000)

    found = fit(free, predicted, np.array([o.seconds for o in of])).values
    front_s = found.pop(FRONT) / 1000
    return _Fitted(found, front_s)


def _predict(
    served: ServedTrial, resolved: Resolved, constants: Constants, of: Sequence[Observation], front_s: float
) -> npt.NDArray[np.float64]:
    step = StepTime(served.gpu, served.facts, resolved, constants=constants)
    return np.array([_seconds(step, o, front_s) for o in of])


def _seconds(step: StepTime, o: Observation, front_s: float) -> float:
    if o.kind == "prefill":
        return front_s + prefill_seconds(step, int(o.context))
    low = math.floor(o.batch)
    share = o.batch - low
    most = step.r.max_num_seqs
    few, many = min(max(low, 1), most), min(low + 1, most)
    return (1 - share) * decode_seconds(step, few, o.context) + (
        share * decode_seconds(step, many, o.context) if share else 0
    )


def from_trials(trials: Sequence[Mapping[str, float]]) -> list[Observation]:
    """Observations from serving trials: mean decoding sequences, mean context, mean time per token.

    Args:
        trials: for each ``running``, ``mean_tpot_ms``, ``mean_input_len`` and ``mean_output_len``; trials without
        them are skipped.
    """
    wanted = ("running", "mean_tpot_ms", "mean_input_len", "mean_output_len")
    return [
        Observation(
            "decode",
            t["mean_tpot_ms"] / 1000,
            batch=max(1.0, t["running"]),
            context=t["mean_input_len"] + t["mean_output_len"] / 2,
            loaded=True,
        )
        for t in trials
        if all(t.get(name) for name in wanted)
    ]
