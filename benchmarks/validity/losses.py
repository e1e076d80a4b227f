"""Measures the error rates of the gate by simulated experiments; exits 1 if one is above its limit.

Every experiment is a whole gate, with the noise of ``benchmarks.validity``: the reference's trials, new trials two by
two until the verdict is clear or there are twelve, and for a history an own level for each run. A false alarm is the
verdict "loss" although nothing changed.

    python -m benchmarks.validity.losses [--experiments 1000] [--max-loss 0.03] [--seed N]
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from dataclasses import dataclass

import numpy as np

from benchmarks.validity.scenes import BLOCKS, Floats, TrialNoise, scenes, slack, trials
from rooftune.evidence.comparison.balanced_order import balanced_order
from rooftune.evidence.comparison.compare import MOST_TRIALS
from rooftune.evidence.comparison.least_squares import Arm
from rooftune.gate.loss import Design, Finding, Sides, judge_arms
from rooftune.workloads.spec import CAPACITY

LOSSES = (0.0, 0.5, 1.0, 2.0)
"""True losses in units of the bound."""
FALSE_ALARMS, WRONG_AT_BOUND, FOUND_BESIDE = 0.05, 0.05, 0.80
SCENES = ("simulated engine", "the T4", "capacity, simulated engine", "capacity, a quiet GPU")


@dataclass(frozen=True)
class Setting:
    """How a gate is used."""

    name: str
    design: Design
    reference_trials: int
    runs: int = 1
    run_to_run: float = 0.0
    """Standard deviation of the level of a run, of the new one too."""

    @property
    def blind(self) -> bool:
        """Whether the runs vary, and the gate cannot know it: with one earlier run, nobody can."""
        return self.run_to_run > 0 and self.runs == 1


SETTINGS = (
    Setting("--beside", "beside", MOST_TRIALS),
    Setting("--against a run with 4 trials", "apart", 4),
    Setting("--against a run with 12 trials", "apart", 12),
    Setting("--against a run with 12 trials, runs vary by 0.5 %", "apart", 12, run_to_run=0.005),
    Setting("--history, 10 runs of 6 trials", "apart", 6, runs=10),
    Setting("--history, 10 runs of 6 trials, runs vary by 0.5 %", "apart", 6, runs=10, run_to_run=0.005),
    Setting("--run, 6 and 6 trials", "given", 6),
)


@dataclass(frozen=True)
class Made:
    """The trials of one configuration in one run of each experiment."""

    logs: Floats
    blocks: Floats
    positions: tuple[int, ...]
    noise: TrialNoise
    shows_blocks: bool

    def arm(self, experiment: int, count: int) -> Arm:
        """What the gate sees of it after this many trials."""
        return Arm(
            logs=self.logs[experiment, :count],
            seeds=tuple(range(count)),
            positions=np.array(self.positions[:count], dtype=np.float64),
            jackknife=tuple(self.blocks[experiment, :count]) if self.shows_blocks else (),
            simulated=self.noise.simulated,
        )


class Experiments:
    """Many experiments of one kind of noise, which share what their requests do to a trial."""

    def __init__(self, noise: TrialNoise, count: int, random: np.random.Generator) -> None:
        self.noise, self.count, self.random = noise, count, random
        self.drawn = random.normal(0, noise.seed, (count, MOST_TRIALS))

    def run(self, level: float, positions: tuple[int, ...], setting: Setting) -> Made:
        """One run of each experiment."""
        own = self.random.normal(0, setting.run_to_run, (self.count, 1)) if setting.run_to_run else 0.0
        drift = self.noise.order_drift * np.array(positions)
        at = level + own + self.drawn[:, : len(positions)] + drift
        logs, blocks = trials(self.noise, at, self.random)
        shows = self.noise.metric != CAPACITY and setting.runs == 1
        return Made(logs, blocks.reshape(*logs.shape, BLOCKS), positions, self.noise, shows)


def findings(experiments: Experiments, setting: Setting, loss: float, max_loss: float) -> list[Finding]:
    """The verdict of each experiment."""
    order = balanced_order("RN", MOST_TRIALS)
    beside = setting.design == "beside"
    places = {who: tuple(i for i, x in enumerate(order) if x == who) for who in "RN"}
    alone = tuple(range(MOST_TRIALS))
    new = experiments.run(math.log1p(-loss), places["N"] if beside else alone, setting)
    before = places["R"] if beside else alone[: setting.reference_trials]
    runs = [experiments.run(0.0, before, setting) for _ in range(setting.runs)]
    return [_gate(new, runs, i, setting, max_loss) for i in range(experiments.count)]


def _gate(new: Made, runs: list[Made], experiment: int, setting: Setting, max_loss: float) -> Finding:
    """One gate from its first look to its end."""
    metric, design = new.noise.metric, setting.design
    looks = (setting.reference_trials,) if design == "given" else range(2, MOST_TRIALS + 1, 2)
    for count in looks:
        seen = count if design == "beside" else setting.reference_trials
        sides = Sides(new.arm(experiment, count), tuple(run.arm(experiment, seen) for run in runs))
        found = judge_arms(sides, metric, max_loss, design)
        if found.verdict != "not enough evidence":
            break
    return found


@dataclass(frozen=True)
class Rates:
    """Shares of the verdicts."""

    scene: str
    setting: str
    loss: float
    passed: float
    failed: float
    undecided: float
    trials: float
    blind: bool = False


def rates(experiments: Experiments, setting: Setting, loss: float, max_loss: float) -> Rates:
    """What many experiments show."""
    found = findings(experiments, setting, loss, max_loss)
    verdicts = [f.verdict for f in found]
    share = {v: verdicts.count(v) / len(found) for v in ("no loss", "loss", "not enough evidence")}
    return Rates(
        scene=experiments.noise.name,
        setting=setting.name,
        loss=loss,
        passed=share["no loss"],
        failed=share["loss"],
        undecided=share["not enough evidence"],
        trials=float(np.mean([f.trials for f in found])),
        blind=setting.blind,
    )


def broken(rows: list[Rates], max_loss: float, count: int) -> list[str]:
    """The promises that are not kept."""
    lines = []
    for r in rows:
        label = f"{r.scene}, {r.setting}, a loss of {r.loss:.1%}"
        if r.loss == 0 and r.failed > FALSE_ALARMS + slack(FALSE_ALARMS, count):
            lines.append(f"{label}: {r.failed:.1%} false alarms")
        if r.loss > max_loss and r.passed > FALSE_ALARMS + slack(FALSE_ALARMS, count):
            lines.append(f"{label}: {r.passed:.1%} passed")
        at_bound = math.isclose(r.loss, max_loss) and not r.blind
        if at_bound and r.passed + r.failed > WRONG_AT_BOUND + slack(WRONG_AT_BOUND, count):
            lines.append(f"{label}: decided in {r.passed + r.failed:.1%} of the experiments")
        beside = r.setting == SETTINGS[0].name
        if beside and r.loss > max_loss and r.failed < FOUND_BESIDE - slack(FOUND_BESIDE, count):
            lines.append(f"{label}: found in {r.failed:.1%}")
    return lines


HEADS = (
    "noise", "gate", "no change: passes", "no change: fails (false alarm)", "half the bound: passes",
    "exactly the bound: passes or fails", "twice the bound: fails (found)", "twice the bound: passes",
    "new trials (mean), no change",
)  # fmt: skip


def table(rows: list[Rates], max_loss: float) -> list[str]:
    """One line for each way to use the gate, with each kind of noise, as Markdown."""
    lines = ["| " + " | ".join(HEADS) + " |", "|---|---|" + "---:|" * (len(HEADS) - 2)]
    for scene, setting in dict.fromkeys((r.scene, r.setting) for r in rows):
        same, half, at, twice = (
            next(r for r in rows if (r.scene, r.setting) == (scene, setting) and math.isclose(r.loss, share * max_loss))
            for share in LOSSES
        )
        shares = (same.passed, same.failed, half.passed, at.passed + at.failed, twice.failed, twice.passed)
        cells = [scene, setting, *(f"{share:.1%}" for share in shares), f"{same.trials:.1f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def main() -> int:
    """Entry point."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--experiments", type=int, default=1000)
    p.add_argument("--max-loss", type=float, default=0.03)
    p.add_argument("--seed", type=int, default=20261127)
    asked = p.parse_args()
    random, began, rows = np.random.default_rng(asked.seed), time.monotonic(), []
    for noise in (s for s in scenes() if s.name in SCENES):
        for setting in SETTINGS:
            for share in LOSSES:
                made = Experiments(noise, asked.experiments, random)
                rows.append(rates(made, setting, share * asked.max_loss, asked.max_loss))
            print(f"{noise.name}, {setting.name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    print("\n".join(table(rows, asked.max_loss)))
    print(f"\n{asked.experiments:,} experiments per row, bound {asked.max_loss:.1%}. {time.monotonic() - began:.0f} s.")
    wrong = broken(rows, asked.max_loss, asked.experiments)
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
