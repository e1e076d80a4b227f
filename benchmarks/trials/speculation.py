"""What speculative decoding gains, given the acceptance that its trials show."""

from __future__ import annotations

import math
from dataclasses import dataclass

from benchmarks.trials.prediction import Figures, Simulator
from benchmarks.trials.records import Trial, measured

SMALL = 0.02
"""A gain or loss up to this much has no sign: repeated trials differ by as much."""
ACCEPTANCES = tuple(i / 40 for i in range(40))


@dataclass(frozen=True)
class Pair:
    """A trial with speculation and the same without."""

    trial: Trial
    plain: Trial
    plain_predicted: Figures

    def ratio(self, predicted: Figures) -> float:
        """Time of a request's answer over that without speculation, predicted over measured, for answers of one
        length."""
        after = (self.plain.mean_output_tokens or 2.0) - 1
        ours = _answer_ms(predicted.ttft_p50_ms, predicted.tpot_ms, after)
        plain = _answer_ms(self.plain_predicted.ttft_p50_ms, self.plain_predicted.tpot_ms, after)
        seen = _answer_ms(self.trial.ttft_p50_ms or 0.0, self.trial.tpot_ms or 1.0, after)
        seen_plain = _answer_ms(self.plain.ttft_p50_ms or 0.0, self.plain.tpot_ms or 1.0, after)
        return ours / plain / (seen / seen_plain)


@dataclass(frozen=True)
class Gain:
    """Throughput with speculation over that of the same configuration without, less one."""

    trial: Trial
    acceptance: float
    measured: float
    predicted: float

    @property
    def has_sign(self) -> bool:
        """Whether it is more than what repeated trials differ by."""
        return abs(self.measured) > SMALL

    @property
    def right_sign(self) -> bool:
        """Whether the prediction says the same: a gain or a loss."""
        return self.measured * self.predicted > 0


def gains(simulator: Simulator, *, pooled: bool = False) -> list[Gain]:
    """Gains of the trials whose configuration was also run without speculation.

    Args:
        pooled: one acceptance for all concurrencies of a configuration; else each trial's own.
    """
    found = []
    for pairs in pairs_by_configuration(simulator):
        together = shown_acceptance(simulator, pairs) if pooled else 0.0
        found += [gain_of(simulator, p, together if pooled else shown_acceptance(simulator, [p])) for p in pairs]
    return found


def gain_of(simulator: Simulator, pair: Pair, acceptance: float) -> Gain:
    """What a trial gained, and what the simulator gives for this acceptance."""
    predicted = simulator.predict(pair.trial, acceptance).tok_s / pair.plain_predicted.tok_s - 1
    return Gain(pair.trial, acceptance, (pair.trial.tok_s or 0.0) / (pair.plain.tok_s or 1.0) - 1, predicted)


def pairs_by_configuration(simulator: Simulator) -> list[list[Pair]]:
    """Trials with speculation whose configuration was also run without, by configuration."""
    plain = {_key(t, spec=False) + t.group: t for t in measured()}
    by_configuration: dict[str, list[Pair]] = {}
    for trial in measured(speculative=True):
        other = plain.get(_key(trial, spec=False) + trial.group)
        if other is not None:
            pair = Pair(trial, other, simulator.predict(other))
            by_configuration.setdefault(_key(trial) + str(trial.requests == 64), []).append(pair)
    return list(by_configuration.values())


def shown_acceptance(simulator: Simulator, of: list[Pair]) -> float:
    """The chance of a token to be accepted, after those before it, that the times of the answers show.

    With it the time of an answer, over that without speculation, is nearest to what was measured.
    """

    def miss(acceptance: float) -> float:
        return sum(abs(math.log(p.ratio(simulator.predict(p.trial, acceptance)))) for p in of)

    return min(ACCEPTANCES, key=miss)


def _answer_ms(ttft_ms: float, tpot_ms: float, tokens_after_first: float) -> float:
    return ttft_ms + tpot_ms * tokens_after_first


def _key(trial: Trial, *, spec: bool = True) -> str:
    flags = {k: v for k, v in trial.flags.items() if spec or k != "speculative_config"}
    what = f"{trial.gpu} {trial.vllm_version} {trial.model} {trial.workload} {trial.quant}"
    return f"{what} {sorted(flags.items(), key=str)}"
