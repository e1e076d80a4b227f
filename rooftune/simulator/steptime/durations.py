"""Durations of whole decode steps and whole prefills, as people measure them."""

from __future__ import annotations

from rooftune.simulator.engine.shape import StepShape
from rooftune.simulator.steptime.model import StepTime


def decode_seconds(step: StepTime, batch: int, context: float) -> float:
    """Duration of a step in which ``batch`` sequences at this mean context get a token each."""
    return step.seconds(
        StepShape(decode_seqs=batch, decode_tokens=batch, decode_context=int(batch * context), sampled=batch)
    )


def prefill_seconds(step: StepTime, prompt: int, batch: int = 1, *, cached: int = 0) -> float:
    """Duration of the prefill of ``batch`` prompts of this many tokens, in chunks of the token budget.

    Args:
        cached: tokens of a single prompt that the prefix cache holds.
    """
    budget, done, seconds = step.r.max_num_batched_tokens, cached, 0.0
    total = prompt * batch
    while done < total:
        chunk = min(budget, total - done)
        last = done + chunk >= total
        shape = StepShape(
            prefill_seqs=1,
            prefill_tokens=chunk,
            prefill_pairs=chunk * (done + chunk / 2 if batch == 1 else prompt / 2),
            prefill_context=done if batch == 1 else 0,
            sampled=batch if last else 0,
        )
        seconds += step.seconds(shape)
        done += chunk
    return seconds
