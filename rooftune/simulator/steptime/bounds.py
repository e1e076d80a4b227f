"""What bounds an engine step: memory traffic, arithmetic (or the kernel that does it), or the host and launches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from rooftune.models.costs import decode_bytes, flops_per_token
from rooftune.simulator.engine.shape import StepShape
from rooftune.simulator.steptime.model import StepTime
from rooftune.simulator.steptime.proposer import draft_lengths

StepBound = Literal["memory", "compute", "overhead"]
MUCH_LONGER = 1.5
"""Matrices that take this much longer than with one row no longer wait for the weights to stream, but for the
products."""


@dataclass(frozen=True)
class DecodeStep:
    """One step of ``batch`` sequences that decode at the same context. Milliseconds; FLOP per byte that must be
    moved."""

    batch: int
    context: float
    step_ms: float
    bound: StepBound
    intensity_flop_per_byte: float
    seconds: dict[str, float]
    """Seconds by what they are spent on: weights, arithmetic, KV cache, host."""

    @property
    def words(self) -> str:
        """What bounds the step, in a few words."""
        if self.bound == "overhead":
            return "launches and the host"
        if self.bound == "compute":
            return "arithmetic of the weight matrices"
        largest = max(("weights", "KV cache"), key=lambda k: self.seconds[k])
        return "reading the weights" if largest == "weights" else "reading the KV cache"


def decode_step(step_time: StepTime, batch: int, context: float) -> DecodeStep:
    """Time and bound of a decode step."""
    spec = 1 + int(draft_lengths(step_time.r, np.asarray([batch]))[0])
    shape = StepShape(
        decode_seqs=batch, decode_tokens=batch * spec, decode_context=round(batch * context), sampled=batch
    )
    seconds, parts = step_time.seconds(shape), step_time.parts(shape)
    one = step_time.parts(StepShape(decode_seqs=1, decode_tokens=1, decode_context=round(context), sampled=1))
    spent = {"weights": 0.0, "arithmetic": 0.0, "KV cache": parts["attention"], "host": parts["exposed"]}
    for name in ("linear", "head"):
        spent["arithmetic" if parts[name] >= MUCH_LONGER * one[name] else "weights"] += parts[name]
    gpu = parts["linear"] + parts["head"] + parts["attention"]
    bound: StepBound = "memory"
    if parts["host"] > gpu or spent["host"] > gpu:
        spent["host"] += max(parts["host"] - gpu, 0.0)
        bound = "overhead"
    elif spent["arithmetic"] > spent["weights"] + spent["KV cache"]:
        bound = "compute"
    facts = step_time.facts
    moved = decode_bytes(facts, batch * spec, context, step_time.r.kv_bytes_per_value)
    intensity = batch * spec * flops_per_token(facts, context) / moved
    return DecodeStep(batch, context, seconds * 1000, bound, intensity, spent)
