"""What a trial shows of its steps: sequences per decode step, their context, the pace, the prompts."""

from __future__ import annotations

from dataclasses import dataclass

from rooftune.evidence.records.trial import TrialResult

RUNNING, WAITING, KV_USAGE = "running", "waiting", "kv_usage"
GENERATED, STEPS = "generation_tokens_per_s", "steps_per_s"
DRAFTED = "spec_draft_tokens"
TTFT, QUEUE = "mean_ttft_ms", "mean_queue_ms"
HALF_BLOCK = 8
"""A sequence's last block of 16 tokens is half empty on average."""


@dataclass(frozen=True)
class Observed:
    """Means over the window. None = the trial does not tell."""

    batch: float | None
    batch_how: str
    context: float | None
    context_how: str
    output_tokens_per_s: float | None
    step_s: float | None
    prompt_tokens: float | None
    prefill_s: float | None
    prefill_how: str
    waiting: float | None


def observe(trial: TrialResult) -> Observed:
    """Read a trial's metrics and the server's gauges."""
    batch, batch_how = _batch(trial)
    prompt, output = _mean_lengths(trial)
    context, context_how = _context(trial, prompt, output)
    prefill_s, prefill_how = _prefill(trial)
    rate = trial.metrics.get("output_throughput")
    tpot = trial.metrics.get("mean_tpot_ms", trial.metrics.get("median_tpot_ms"))
    step = tpot / 1000 if tpot else batch / rate if batch and rate else None
    return Observed(
        batch=batch,
        batch_how=batch_how,
        context=context,
        context_how=context_how,
        output_tokens_per_s=rate,
        step_s=step,
        prompt_tokens=prompt,
        prefill_s=prefill_s,
        prefill_how=prefill_how,
        waiting=trial.server.get(WAITING),
    )


def _batch(trial: TrialResult) -> tuple[float | None, str]:
    steps, generated = trial.server.get(STEPS), trial.server.get(GENERATED)
    if steps and generated and not trial.server.get(DRAFTED):
        return max(1.0, generated / steps), "tokens generated per step of the server"
    running = trial.server.get(RUNNING)
    if running:
        return max(1.0, running), "mean of the server's running requests"
    rate = trial.metrics.get("output_throughput")
    tpot = trial.metrics.get("mean_tpot_ms", trial.metrics.get("median_tpot_ms"))
    if rate and tpot:
        return max(1.0, rate * tpot / 1000), "output throughput times time per token"
    return None, ""


def _mean_lengths(trial: TrialResult) -> tuple[float | None, float | None]:
    m = trial.metrics
    done = m.get("completed") or (trial.census.completed if trial.census else 0)
    prompt = m.get("mean_input_tokens", m.get("mean_prompt_tokens"))
    output = m.get("mean_output_tokens")
    if prompt is None and done and "total_input_tokens" in m:
        prompt = m["total_input_tokens"] / done
    if output is None and done and "total_output_tokens" in m:
        output = m["total_output_tokens"] / done
    return prompt, output


def _context(trial: TrialResult, prompt: float | None, output: float | None) -> tuple[float | None, str]:
    usage, running, tokens = trial.server.get(KV_USAGE), trial.server.get(RUNNING), trial.effective.kv_cache_tokens
    if usage and running and tokens and running >= 1:
        held = usage * tokens / running - HALF_BLOCK
        if held > 0:
            return held, "KV cache in use per running request"
    if prompt is not None:
        return prompt + (output or 0) / 2, "mean prompt and half of the mean output"
    return None, ""


def _prefill(trial: TrialResult) -> tuple[float | None, str]:
    ttft, queue = trial.server.get(TTFT), trial.server.get(QUEUE)
    if ttft is not None and queue is not None and ttft > queue:
        return (ttft - queue) / 1000, "time to first token less time in the queue, as the server counts both"
    client = trial.metrics.get("median_ttft_ms")
    if client and not trial.overloaded:
        return client / 1000, "time to first token as the client saw it, waiting included: a lower bound"
    return None, ""
