"""The kinds of noise under which error rates are measured, and trials with such noise."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rooftune.workloads.spec import CAPACITY

Floats = npt.NDArray[np.float64]
BLOCKS = 10
DATA = Path(__file__).parents[2] / "tests" / "evidence" / "data"
WINDOWS = DATA / "t4_server_windows.csv"
SIMULATED_TRIALS, VLLM_TRIALS = DATA / "simulated_aa_trials.csv", DATA / "vllm_cpu_aa_trials.csv"


@dataclass(frozen=True)
class TrialNoise:
    """How trials vary, as standard deviations of logarithms."""

    name: str
    between: float
    """From trial to trial of the same configuration and requests."""
    block: float
    """Of one block (a tenth of the window) within a trial."""
    correlation: float = 0.5
    """Of neighbouring blocks."""
    within_drift: float = -0.10
    """Change over the window: the T4 lost about 10 % as it warmed."""
    order_drift: float = -0.004
    """Change from trial to trial over the order."""
    seed: float = 0.01
    """Effect of the requests drawn, the same for both sides."""
    outliers: float = 0.01
    """Share of trials that a neighbour slows down by ``outlier``, unseen by the audit."""
    outlier: float = -0.08
    stalls: float = 0.005
    """Share of blocks that lose 30 %."""
    shared: bool = True
    """Both sides draw the same requests."""
    simulated: bool = False
    metric: str = "output_throughput"
    reading: float = 0.0
    """What one load leaves open of a capacity, which no block of its window shows."""
    found_from: float = 0.05
    """Effects of this size are found in 95 % of the experiments."""


READING = 0.017
"""With the noise of a server it makes the 2.2 % from load to load that ``rooftune.capacity.estimate`` expects."""
MOST_LOAD = 10.0
"""On two cores. At 12.8 one trial of vLLM lost 15 %: a machine in that state measures nothing."""


def block_noise(path: Path = WINDOWS) -> float:
    """Pooled residual of ln(tokens/s) about a line over each run of the T4's 10 s lines, its first line left out."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    squares, freedom = 0.0, 0
    for run in dict.fromkeys(r["run"] for r in rows):
        y = np.log([float(r["generation_tok_s"]) for r in rows if r["run"] == run][1:])
        at = np.arange(len(y))
        rest = y - np.polyval(np.polyfit(at, y, 1), at)
        squares, freedom = squares + float(rest @ rest), freedom + len(y) - 2
    return math.sqrt(squares / freedom)


def trial_noise(path: Path) -> float:
    """Pooled standard deviation of ln(output tokens/s) over A/A trials that drew the same requests.

    Trials that their audit refused, or that began at a load average above ``MOST_LOAD``, are left out.
    """
    with path.open(newline="", encoding="utf-8") as file:
        rows = [r for r in csv.DictReader(file) if r.get("believed", "True") == "True"]
    rows = [r for r in rows if float(r["load_before"]) <= MOST_LOAD]
    squares, freedom = 0.0, 0
    for seed in {r["seed"] for r in rows}:
        y = np.log([float(r["output_throughput"]) for r in rows if r["seed"] == seed])
        squares, freedom = squares + float(((y - y.mean()) ** 2).sum()), freedom + len(y) - 1
    return math.sqrt(squares / freedom)


@dataclass(frozen=True)
class SplitNoise:
    """The noise of a trial, in two parts."""

    between: float
    block: float


def split(total: float) -> SplitNoise:
    """The noise of a trial as half (by variance) between trials and half within, where autocorrelated blocks add up."""
    waves = np.array([[0.5 ** abs(i - k) for i in range(BLOCKS)] for k in range(BLOCKS)])
    half = total / math.sqrt(2)
    return SplitNoise(between=half, block=half / math.sqrt(float(waves.mean())))


def scenes() -> tuple[TrialNoise, ...]:
    """The kinds of noise.

    Two runs of one configuration of the T4 experiment (kshyp/varcas, MIT, 2026-02-11) printed 206.8 and 202.6 tok/s, a
    standard deviation of 1.4 % per run, all causes together. The A/A trials were made on two busy cores.
    """
    t4, ours, real = block_noise(), split(trial_noise(SIMULATED_TRIALS)), split(trial_noise(VLLM_TRIALS))
    return (
        TrialNoise("simulated engine", ours.between, ours.block, outliers=0.0, stalls=0.0, simulated=True),
        TrialNoise("a quiet GPU", between=0.006, block=0.015),
        TrialNoise("the T4", between=0.008, block=t4),
        TrialNoise("the T4, other requests per side", between=0.008, block=t4, seed=0.005, shared=False),
        TrialNoise("real vLLM on two busy cores", real.between, real.block, outliers=0.0, stalls=0.0),
        TrialNoise("capacity, simulated engine", ours.between, ours.block, outliers=0.0, stalls=0.0, simulated=True,
                   metric=CAPACITY, reading=0.010),
        TrialNoise("capacity, a quiet GPU", between=0.006, block=0.015, metric=CAPACITY, reading=READING,
                   found_from=0.10),
        TrialNoise("capacity, the T4", between=0.008, block=t4, metric=CAPACITY, reading=READING,
                   found_from=0.10),
    )  # fmt: skip


def trials(noise: TrialNoise, level: Floats, random: np.random.Generator) -> tuple[Floats, Floats]:
    """ln(metric) of trials around these levels, and the jackknife values of each on a last axis.

    A capacity changes with the speed of the server, so its noise is that of a rate; reading it adds to this.
    """
    shape = (*level.shape, BLOCKS)
    steps = random.normal(0, 1, shape)
    wave = steps.copy()
    keep = math.sqrt(1 - noise.correlation**2)
    for i in range(1, BLOCKS):
        wave[..., i] = noise.correlation * wave[..., i - 1] + keep * steps[..., i]
    shift = level + random.normal(0, noise.between, level.shape)
    shift = shift + np.where(random.random(level.shape) < noise.outliers, noise.outlier, 0.0)
    stalled = np.where(random.random(shape) < noise.stalls, math.log(0.7), 0.0)
    line = noise.within_drift * np.linspace(0, 1, BLOCKS)
    rates = np.exp(shift[..., None] + line + noise.block * wave + stalled)
    total = rates.sum(axis=-1, keepdims=True)
    read = random.normal(0, noise.reading, level.shape) if noise.reading else 0.0
    return np.log(rates.mean(axis=-1)) + read, np.log((total - rates) / (BLOCKS - 1))


def slack(share: float, count: int) -> float:
    """Two standard errors of a simulated share: a benchmark without a fault rarely fails by chance."""
    return 2 * math.sqrt(share * (1 - share) / count)
