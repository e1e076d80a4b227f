"""What one output token costs in money and in energy. A figure that is not known is withheld with its reason."""

from __future__ import annotations

import itertools
import math

import numpy as np

from rooftune.engines.price import accelerators_of, usd_per_million
from rooftune.evidence.metrics.gauges import delta
from rooftune.evidence.records.columns import Floats, Ticks
from rooftune.evidence.records.trial import TrialResult
from rooftune.metrics.summary import Summary
from rooftune.metrics.window import Window
from rooftune.workloads.spec import COST, ENERGY

BLOCKS = 10
GAP_S = 5.0
"""Longest stretch of the window without a reading of the power over which it is interpolated."""
NO_PRICE = "the price of its accelerator is not known; give it with --price"
NO_TOKENS = "no output token came in the window"
NO_READING = "NVML read no power of the server's GPUs"
IDLE = "the GPUs whose power NVML reads were idle, so the server does not compute on them"


def cost(trial: TrialResult, output_tokens_per_s: float) -> Summary:
    """Price of a million output tokens of the trial's server at this throughput."""
    if trial.usd_per_hour is None:
        return Summary(withheld={COST: NO_PRICE})
    found = usd_per_million(trial.usd_per_hour, output_tokens_per_s)
    return Summary(withheld={COST: NO_TOKENS}) if found is None else Summary({COST: found})


def energy(trial: TrialResult, ticks: Ticks, window: Window, output_tokens: float) -> Summary:
    """Energy per output token of the window, over the GPUs of the server; a simulated engine has none."""
    if trial.simulated:
        return Summary()
    why = _why_no_energy(trial, ticks)
    joules = energy_j(ticks, window) if not why else None
    if joules is None:
        return Summary(withheld={ENERGY: why or NO_READING})
    if not output_tokens:
        return Summary(withheld={ENERGY: NO_TOKENS})
    return Summary({ENERGY: joules / output_tokens})


def _why_no_energy(trial: TrialResult, ticks: Ticks) -> str:
    """Why the readings are not those of the server; empty where they are."""
    seen, used = ticks.get("gpu_count"), accelerators_of(trial.flags)
    known = seen[np.isfinite(seen)] if seen is not None else np.empty(0)
    if trial.engine == "vllm" and len(known) and int(known.max()) != used:
        return (
            f"power was read from {int(known.max())} GPUs, but the server uses {used}; end other programs on the GPUs, "
            "or limit them with CUDA_VISIBLE_DEVICES"
        )
    busy = ticks.get("gpu_utilization")
    if busy is not None and np.isfinite(busy).any() and not np.nanmax(busy):
        return IDLE
    return ""


def energy_j(ticks: Ticks, window: Window) -> float | None:
    """Energy over a stretch of time in joules: the driver's counter, else the integral of the power; None where
    neither was read throughout."""
    counter = ticks.get("gpu_energy_j")
    if counter is not None and _covered(ticks, counter, window):
        return delta(ticks, "gpu_energy_j", window)
    power = ticks.get("gpu_power_w")
    if power is None or not _covered(ticks, power, window):
        return None
    at = ticks["t_s"]
    known = np.isfinite(power) & np.isfinite(at)
    inside = at[known][(at[known] > window.start_s) & (at[known] < window.end_s)]
    edges = np.concatenate([[window.start_s], inside, [window.end_s]])
    watts = np.interp(edges, at[known], power[known])
    return float((np.diff(edges) * (watts[1:] + watts[:-1]) / 2).sum())


def _covered(ticks: Ticks, values: Floats, window: Window) -> bool:
    """Whether readings leave no long stretch of the window out."""
    at = ticks.get("t_s")
    if at is None:
        return False
    known = at[np.isfinite(values) & np.isfinite(at)]
    near = known[(known >= window.start_s - GAP_S) & (known <= window.end_s + GAP_S)]
    if len(near) < 2:
        return False
    edges = np.concatenate([[window.start_s], np.clip(near, window.start_s, window.end_s), [window.end_s]])
    return bool(np.diff(edges).max() <= GAP_S)


def energy_jackknife(ticks: Ticks, window: Window, token_s: Floats, tokens: Floats) -> list[float]:
    """ln(energy per output token) with one block of the window left out, block by block; empty where it is not known.

    Args:
        token_s: when tokens arrived.
        tokens: how many arrived at that moment.
    """
    edges = np.linspace(window.start_s, window.end_s, BLOCKS + 1)
    joules, counts = [], []
    for start, end in itertools.pairwise(edges):
        block = Window(start_s=float(start), end_s=float(end))
        joules.append(energy_j(ticks, block))
        counts.append(float(tokens[block.holds(token_s)].sum()))
    known = [j for j in joules if j is not None]
    if len(known) < BLOCKS:
        return []
    all_j, all_tokens = sum(known), sum(counts)
    rest = [(all_j - j, all_tokens - n) for j, n in zip(known, counts, strict=True)]
    return [math.log(j / n) for j, n in rest] if all(j > 0 and n > 0 for j, n in rest) else []
