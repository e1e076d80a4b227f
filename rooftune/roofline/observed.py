"""What a trial shows of its steps: sequences per decode step, their context, the pace, the prompts."""

from __future__ import annotations

from dataclasses import dataclass

from rooftune.evidence.trial import TrialResult

RUNNING = ("running", "running_mean", "mean_running")
WAITING = ("waiting", "waiting_mean", "mean_waiting")
KV_USAGE = ("kv_usage", "kv_usage_mean", "mean_kv_usage")
STEPS = ("iteration_tokens_count", "iterations", "steps")
GENERATED = ("generation_tokens_total", "generation_tokens")
PROMPT = ("prompt_tokens_total", "prompt_tokens")
HITS = ("prefix_hits_total", "prefix_hits")
QUEUE = ("queue_mean_s", "mean_queue_s", "queue_s")
TTFT = ("ttft_mean_s", "mean_ttft_s", "ttft_s")
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
    computed_prompt_tokens_per_s: float | None
    waiting: float | None
    kv_usage: float | None


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
        computed_prompt_tokens_per_s=_computed(trial),
        waiting=gauge(trial, WAITING),
        kv_usage=gauge(trial, KV_USAGE),
    )


def gauge(trial: TrialResult, names: tuple[str, ...]) -> float | None:
    """The first of these server figures that the trial has."""
    return next((trial.server[n] for n in names if n in trial.server), None)


def _batch(trial: TrialResult) -> tuple[float | None, str]:
    steps, generated = gauge(trial, STEPS), gauge(trial, GENERATED)
    if steps and generated and steps > 0:
        return max(1.0, generated / steps), "tokens generated per step of the server"
    running = gauge(trial, RUNNING)
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
    usage, running, tokens = gauge(trial, KV_USAGE), gauge(trial, RUNNING), trial.effective.kv_cache_tokens
    if usage and running and tokens and running >= 1:
        held = usage * tokens / running - HALF_BLOCK
        if held > 0:
            return held, "KV cache in use per running request"
    if prompt is not None:
        return prompt + (output or 0) / 2, "mean prompt and half of the mean output"
    return None, ""


def _prefill(trial: TrialResult) -> tuple[float | None, str]:
    ttft, queue = gauge(trial, TTFT), gauge(trial, QUEUE)
    if ttft is not None and queue is not None and ttft > queue:
        return ttft - queue, "time to first token less time in the queue, as the server counts both"
    client = trial.metrics.get("median_ttft_ms")
    if client and not trial.overloaded:
        return client / 1000, "time to first token as the client saw it, waiting included: a lower bound"
    return None, ""


def _computed(trial: TrialResult) -> float | None:
    window = trial.window
    prompts, hits = gauge(trial, PROMPT), gauge(trial, HITS) or 0.0
    if window is None or prompts is None or window.end_s <= window.start_s:
        return None
    return max(0.0, prompts - hits) / (window.end_s - window.start_s)
