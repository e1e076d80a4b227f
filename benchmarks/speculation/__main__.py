"""Speculative decoding foreseen, compared with what was measured. Exits 1 when it falls short of what is asked of it.

    python -m benchmarks.speculation [--answers FILE --trial FOLDER] [--lines]

The gain of speculation by load in 58 real trials (their source is named in ``benchmarks/trials/data``), foreseen from
the trial at the lowest load of each configuration: its times show the acceptance, and the simulator predicts the other
loads. With ``--answers`` and ``--trial``: acceptance by replay of recorded answers, compared with the counters of the
server in a trial's folder that ran with speculation on the same prompts.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.speculation.counters import agrees, compare
from benchmarks.speculation.from_one_trial import foreseen_from_one
from benchmarks.trials.prediction import Simulator
from benchmarks.trials.speculation import Gain
from rooftune.formatting import change, number

SIGN_RIGHT, MEAN_WITHIN = 0.85, 0.12
"""Share of right signs, and mean error of the gain, that the forecast from one trial must reach."""


def main(arguments: list[str] | None = None) -> int:
    """Print the tables; 1 when something falls short."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--answers", type=Path, help="answers.parquet of the baseline")
    parser.add_argument("--trial", type=Path, help="folder of a trial with speculation on the same prompts")
    parser.add_argument("--lines", action="store_true", help="print every trial")
    given = parser.parse_args(arguments)
    if (given.answers is None) != (given.trial is None):
        parser.error("--answers and --trial belong together")
    short = replayed(given.answers, given.trial) if given.answers else []
    short += by_load(given.lines)
    for line in short:
        print(f"FALLS SHORT: {line}", file=sys.stderr)
    print("\n" + ("falls short, see above" if short else "all within what is asked"))
    return 1 if short else 0


def replayed(answers: Path, trial: Path) -> list[str]:
    """Acceptance by replay and by the counters of the server."""
    from rooftune.answers.answer import Answers
    from rooftune.evidence.records.trial_files import read_trial
    from rooftune.runfolder import TrialFolder
    from rooftune.speculation.acceptance import from_counters
    from rooftune.speculation.configured import proposer_of
    from rooftune.speculation.replay import replay
    from rooftune.vllm_rules.config import EngineConfig

    result = read_trial(TrialFolder(trial))
    counted = from_counters(result.server)
    proposer = proposer_of(EngineConfig(model=result.model or "").with_change(result.flags))
    if counted is None or proposer is None:
        return [f"{trial} did not run with a proposer that searches the text"]
    found = compare(replay(Answers.read(answers), proposer), counted)
    print("| figure | replayed | counted | difference, points |\n|---|---:|---:|---:|")
    for d in found:
        print(f"| {d.name} | {number(d.replayed)} | {number(d.counted)} | {number(d.points, 2)} |")
    return [] if agrees(found) else ["the replay is more than 2 points off the counters"]


def by_load(lines: bool) -> list[str]:
    """Sign and size of the gain at higher loads, foreseen from the lowest one."""
    found = foreseen_from_one(Simulator())
    if lines:
        print("\n| trial | streams | acceptance | gain foreseen | gain measured |\n|---|---:|---:|---:|---:|")
        for gain in found:
            cells = [gain.trial.words, str(gain.trial.concurrency), number(gain.acceptance)]
            print(f"| {' | '.join([*cells, change(1 + gain.predicted), change(1 + gain.measured)])} |")
    signed = [g for g in found if g.has_sign]
    right = float(np.mean([g.right_sign for g in signed]))
    print("\n| gain at higher loads | trials | right sign, where above 2 % | error: median, mean, 90 % |")
    print("|---|---:|---:|---|")
    for name, chosen in _parts(found):
        size = np.abs([g.predicted - g.measured for g in chosen])
        mine = [g.right_sign for g in chosen if g.has_sign]
        errors = ", ".join(f"{100 * v:.1f}" for v in (np.median(size), size.mean(), np.quantile(size, 0.9)))
        print(f"| {name} | {len(chosen)} | {sum(mine)} of {len(mine)} | {errors} points |")
    size = np.abs([g.predicted - g.measured for g in found])
    short = []
    if right < SIGN_RIGHT:
        short.append(f"the gain by load: {right:.0%} have the right sign, less than {SIGN_RIGHT:.0%}")
    if size.mean() > MEAN_WITHIN:
        short.append(f"the gain by load is {100 * size.mean():.1f} points off, more than {100 * MEAN_WITHIN:.0f}")
    return short


def _parts(found: Sequence[Gain]) -> list[tuple[str, list[Gain]]]:
    methods = sorted({str(g.trial.speculation["method"]) for g in found})
    return [("all", list(found)), *((m, [g for g in found if g.trial.speculation["method"] == m]) for m in methods)]


if __name__ == "__main__":
    sys.exit(main())
