"""Whether the simulator ranks configurations as the trials do."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.trials.prediction import Figures
from benchmarks.trials.records import Trial


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
    """For each group, the share of the best measured throughput that taking the one predicted best loses."""
    found = []
    for rows in groups(of):
        taken = max(rows, key=lambda j: j.predicted.tok_s)
        best = max(j.trial.tok_s or 0.0 for j in rows)
        found.append(1 - (taken.trial.tok_s or 0.0) / best)
    return found
