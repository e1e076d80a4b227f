"""The gain by load, foreseen from one trial: acceptance from the lowest load, step times from the simulator."""

from __future__ import annotations

from benchmarks.trials.prediction import Simulator
from benchmarks.trials.speculation import Gain, Pair, gain_of, pairs_by_configuration, shown_acceptance


def foreseen_from_one(simulator: Simulator) -> list[Gain]:
    """Gains at all loads but the lowest of each configuration, with the acceptance that the trial there shows."""
    found = []
    for pairs in pairs_by_configuration(simulator):
        ordered = sorted(pairs, key=_load)
        if _load(ordered[0]) < _load(ordered[-1]):
            acceptance = shown_acceptance(simulator, ordered[:1])
            found += [gain_of(simulator, p, acceptance) for p in ordered[1:] if _load(p) > _load(ordered[0])]
    return found


def _load(pair: Pair) -> int:
    return pair.trial.concurrency or 1
