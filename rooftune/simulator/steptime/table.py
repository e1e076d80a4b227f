"""``rooftune steptime``: how long a step takes by batch and context, what bounds it, and how long a prefill takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rooftune.errors import InputError
from rooftune.hardware.named import accelerator
from rooftune.models.catalogue import model_facts
from rooftune.simulator.calibration.files import Calibration
from rooftune.simulator.engine.shape import StepShape
from rooftune.simulator.steptime.bounds import decode_step
from rooftune.simulator.steptime.model import StepTime
from rooftune.vllm_rules.config import EngineConfig, FlagValue
from rooftune.vllm_rules.effects import sentence, unmodelled
from rooftune.vllm_rules.resolve import resolve
from rooftune.vllm_rules.start.startup import startup


def steptime_table(
    *,
    gpu: str,
    model: str,
    engine_version: str,
    flags: Mapping[str, FlagValue] | None = None,
    batches: Sequence[int] = (1, 8, 32, 64, 128),
    contexts: Sequence[int] = (512,),
    prefills: Sequence[int] = (),
    calibration: Calibration | None = None,
) -> dict[str, Any]:
    """Decode steps for each batch and context, and prefills of whole prompts.

    A batch above ``max_num_seqs`` is timed all the same, with the limit raised to it. A prompt above the token
    budget is computed in chunks, as vLLM does.

    Raises:
        InputError: an unknown GPU or model, or a batch or prompt below 1.
        StartRefused: vLLM would refuse to start; the message has its words and a way out.
    """
    if min([*batches, *contexts, *prefills], default=1) < 1:
        raise InputError("batches, contexts and prompts have at least one sequence or token.")
    given = dict(flags or {})
    quantization = given.get("quantization")
    facts = model_facts(model, quantization=str(quantization) if quantization else None)
    most = max([*batches, 1])
    config = EngineConfig(model=model).with_change(given)
    card = accelerator(gpu)
    longest = max([*contexts, *prefills], default=1) + 1
    started = startup(card, facts, config, engine_version, longest).started()
    config, resolved = started.config, started.resolved
    if most > resolved.max_num_seqs:
        spec = 1 + resolved.speculative_tokens
        budget = max(resolved.max_num_batched_tokens, most * spec)
        config = config.with_change({"max_num_seqs": most, "max_num_batched_tokens": budget})
        resolved = resolve(card, facts, config, engine_version)
    step_time = StepTime(card, facts, resolved, calibration=calibration)
    steps = [decode_step(step_time, b, c) for c in contexts for b in batches]
    missing = unmodelled(config, engine_version)
    left_out = sentence(missing)
    names = ("batch", "context", "step_ms", "bound", "intensity_flop_per_byte")
    return {
        "decode": [{name: getattr(step, name) for name in names} for step in steps],
        "prefill": [{"tokens": n, "ms": prefill_seconds(step_time, n) * 1000} for n in prefills],
        "gpu": step_time.gpu.name,
        "model": facts.name,
        "engine_version": engine_version,
        "simulated": True,
        "notes": [*resolved.notes, *([left_out] if left_out else [])],
        "unmodelled": [str(flag) for flag in missing],
    }


def prefill_seconds(step_time: StepTime, tokens: int) -> float:
    """Seconds of the prefill of one prompt by itself, in chunks of the token budget."""
    budget, done, seconds = step_time.r.max_num_batched_tokens, 0, 0.0
    while done < tokens:
        q = min(budget, tokens - done)
        shape = StepShape(
            prefill_seqs=1,
            prefill_tokens=q,
            prefill_pairs=q * (done + q / 2),
            prefill_context=done,
            sampled=1 if done + q == tokens else 0,
        )
        seconds += step_time.seconds(shape)
        done += q
    return seconds
