"""What a trial shows about its steps: sequences per decode step, their context, step time and prompts."""

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
class Estimate:
    """A value with the way it was obtained; None if the trial did not record it."""

    value: float | None
    how: str


@dataclass(frozen=True)
class MeanLengths:
    """Mean tokens of prompts and outputs; None if the trial did not record them."""

    prompt: float | None
    output: float | None


@dataclass(frozen=True)
class Observed:
    """Means over the window."""

    batch: Estimate
    context: Estimate
    step_s: float | None
    prompt_tokens: float | None
    prefill_s: Estimate
    waiting: float | None


def observe(trial: TrialResult) -> Observed:
    """Read a trial's metrics and the server's gauges."""
    batch = _batch(trial)
    lengths = _mean_lengths(trial)
    rate = trial.metrics.get("output_throughput")
    tpot = trial.metrics.get("mean_tpot_ms", trial.metrics.get("median_tpot_ms"))
    step = tpot / 1000 if tpot else batch.value / rate if batch.value and rate else None
    return Observed(
        batch=batch,
        context=_context(trial, lengths),
        step_s=step,
        prompt_tokens=lengths.prompt,
        prefill_s=_prefill(trial),
        waiting=trial.server.get(WAITING),
    )


def _batch(trial: TrialResult) -> Estimate:
    steps, generated = trial.server.get(STEPS), trial.server.get(GENERATED)
    if steps and generated and not trial.server.get(DRAFTED):
        return Estimate(max(1.0, generated / steps), "tokens generated per step of the server")
    running = trial.server.get(RUNNING)
    if running:
        return Estimate(max(1.0, running), "mean of the server's running requests")
    rate = trial.metrics.get("output_throughput")
    tpot = trial.metrics.get("mean_tpot_ms", trial.metrics.get("median_tpot_ms"))
    if rate and tpot:
        return Estimate(max(1.0, rate * tpot / 1000), "output throughput times time per token")
    return Estimate(None, "unknown")


def _mean_lengths(trial: TrialResult) -> MeanLengths:
    m = trial.metrics
    done = m.get("completed") or (trial.census.completed if trial.census else 0)
    prompt = m.get("mean_input_tokens", m.get("mean_prompt_tokens"))
    output = m.get("mean_output_tokens")
    if prompt is None and done and "total_input_tokens" in m:
        prompt = m["total_input_tokens"] / done
    if output is None and done and "total_output_tokens" in m:
        output = m["total_output_tokens"] / done
    return MeanLengths(prompt, output)


def _context(trial: TrialResult, lengths: MeanLengths) -> Estimate:
    usage, running, tokens = trial.server.get(KV_USAGE), trial.server.get(RUNNING), trial.effective.kv_cache_tokens
    if usage and running and tokens and running >= 1:
        held = usage * tokens / running - HALF_BLOCK
        if held > 0:
            return Estimate(held, "KV cache in use per running request")
    if lengths.prompt is not None:
        return Estimate(lengths.prompt + (lengths.output or 0) / 2, "mean prompt and half of the mean output")
    return Estimate(None, "unknown, assumed to be 0")


def _prefill(trial: TrialResult) -> Estimate:
    ttft, queue = trial.server.get(TTFT), trial.server.get(QUEUE)
    if ttft is not None and queue is not None and ttft > queue:
        how = "time to first token minus time in the queue, both as the server reports them"
        return Estimate((ttft - queue) / 1000, how)
    client = trial.metrics.get("median_ttft_ms")
    if client and not trial.overloaded:
        return Estimate(client / 1000, "time to first token at the client, including any wait, so a lower bound")
    return Estimate(None, "unknown")
