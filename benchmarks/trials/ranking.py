"""Whether the simulator ranks configurations as the trials do."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.trials.prediction import Figures
from benchmarks.trials.records import Trial

SAME = 1e-6
"""Predictions this close are the same."""


@dataclass(frozen=True)
class Judged:
    """A trial and its prediction."""

    trial: Trial
    predicted: Figures

    def error(self, quantity: str) -> float:
        """(predicted - measured) / measured of 'tok_s', 'tpot_ms' or 'ttft_p50_ms'."""
        return float(getattr(self.predicted, quantity) / getattr(self.trial, quantity) - 1)


@dataclass(frozen=True)
class Order:
    """Pairs that were measured this far apart."""

    pairs: int
    right: int

    @property
    def share(self) -> float:
        """Share put in the right order."""
        return self.right / self.pairs if self.pairs else 1.0


def groups(of: Sequence[Judged]) -> list[list[Judged]]:
    """Trials that one would choose between; of a configuration that was run twice, each run."""
    found: dict[str, list[Judged]] = defaultdict(list)
    for judged in of:
        found[judged.trial.group].append(judged)
    return [rows for rows in found.values() if len({_configuration(j.trial) for j in rows}) > 1]


def _configuration(trial: Trial) -> str:
    return f"{trial.quant} {sorted(trial.flags.items(), key=str)}"


def order(of: Sequence[Judged], low: float, high: float) -> Order:
    """Pairs of different configurations in a group whose throughput differs by more than ``low`` up to ``high`` of
    the smaller, and those put right."""
    pairs = right = 0
    for rows in groups(of):
        for a, b in itertools.combinations(rows, 2):
            if _configuration(a.trial) == _configuration(b.trial):
                continue
            slow, fast = sorted((a, b), key=lambda j: j.trial.tok_s or 0.0)
            apart = (fast.trial.tok_s or 0.0) / (slow.trial.tok_s or 1.0) - 1
            if low < apart <= high:
                pairs += 1
                right += fast.predicted.tok_s > slow.predicted.tok_s
    return Order(pairs, right)


def losses(of: Sequence[Judged]) -> list[float]:
    """For each group, the share of the best measured throughput that taking the one predicted best loses.

    A configuration that ran more than once has the mean of its runs, because which run one gets is not a choice. Where
    several configurations are predicted to be best, one of them is taken at random.
    """
    found = []
    for rows in groups(of):
        runs: dict[str, list[Judged]] = defaultdict(list)
        for judged in rows:
            runs[_configuration(judged.trial)].append(judged)
        measured = {name: _mean([j.trial.tok_s or 0.0 for j in same]) for name, same in runs.items()}
        predicted = {name: same[0].predicted.tok_s for name, same in runs.items()}
        top = max(predicted.values())
        taken = _mean([measured[name] for name, value in predicted.items() if value >= top * (1 - SAME)])
        found.append(1 - taken / max(measured.values()))
    return found


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
