"""Measures how often the quality guard errs; exits 1 if a rate is outside of its limit.

Every experiment draws a model, prompts, and the rounding of each pass. The baseline answers and scores twice, as in a
run. Each candidate scores the baseline's answers and answers itself, and the guard judges it.

    python -m benchmarks.quality [--experiments 100] [--prompts 40] [--seed N]
    python -m benchmarks.quality --vllm MODEL --prompts-file FILE [--case again|ngram|NAME=FOLDER]... [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.quality.numerical_model import (
    CONTEXT,
    LAYERS,
    VOCABULARY,
    NumericalModel,
    Rounding,
    answered,
    scored,
)
from rooftune.answers.answer import Answers
from rooftune.evidence.records.quality import Measure, QualityName
from rooftune.formatting import number, percent
from rooftune.quality import measures
from rooftune.quality.check import Differences, of_answers, of_scores, of_speculation
from rooftune.quality.judge import judge, measured
from rooftune.quality.per_prompt import AboveFloor
from rooftune.quality.scores import Scores
from rooftune.report.markup import table

FALSE_ALARMS, CAUGHT = 0.05, 0.95
INT8, FP8, INT4 = Rounding("INT8", 8), Rounding("FP8", 8, floating=True), Rounding("INT4", 4)
NOISES = (0.05, 0.2, 0.5, 1.0)
"""Noise on the weights of one layer, relative to their size."""
SPOILT_FROM = 0.2
"""Noise from which a copy must be caught."""


@dataclass(frozen=True, eq=False)
class Case:
    """One kind of candidate."""

    name: str
    model: NumericalModel
    wrong: float = 0.0
    """Share of tokens that a faulty speculation gets wrong."""
    speculates: bool = False


@dataclass
class Tally:
    """The verdicts on one kind of candidate."""

    verdicts: Counter[QualityName] = field(default_factory=Counter)
    excess: dict[str, list[float]] = field(default_factory=dict)

    def add(self, verdict: QualityName, found: list[Measure]) -> None:
        """Count a verdict."""
        self.verdicts[verdict] += 1
        for m in found:
            self.excess.setdefault(m.name, []).append(m.excess)

    def share(self, verdict: QualityName) -> float:
        """Share of the experiments with this verdict."""
        return self.verdicts[verdict] / self.verdicts.total()

    def mean(self, name: str) -> str:
        """Mean excess of a measure."""
        return number(round(float(np.mean(self.excess[name])), 4) + 0.0) if name in self.excess else "–"


def cases(base: NumericalModel, random: np.random.Generator) -> Iterator[Case]:
    """The candidates of one experiment."""
    yield Case("the baseline again (A/A)", base)
    yield Case("the baseline with faultless speculation", base, speculates=True)
    for rounding in (INT8, FP8, INT4):
        yield Case(f"weights in {rounding.name}", base.quantized(rounding))
    for noise in NOISES:
        layer = int(random.integers(LAYERS))
        yield Case(f"noise of {percent(noise)} in one layer", base.spoilt(layer, noise, random))
    yield Case("speculation that accepts 3 % wrong tokens", base, wrong=0.03, speculates=True)


def expected(name: str) -> str:
    """What must hold for a kind of candidate."""
    if "again" in name or "faultless" in name:
        return "never spoilt"
    if "wrong tokens" in name or any(f"noise of {percent(n)} " in name for n in NOISES if n >= SPOILT_FROM):
        return "spoilt"
    return "never spoilt" if "8" in name else ""


def experiment(random: np.random.Generator, prompts: int, tallies: dict[str, Tally]) -> None:
    """One model and its candidates."""
    base = NumericalModel.drawn(random)
    asked = random.integers(1, VOCABULARY, (prompts, CONTEXT))
    answers, again = answered(base, asked, random), answered(base, asked, random)
    scores, scores_again = scored(base, answers, random), scored(base, answers, random)
    for case in cases(base, random):
        free = answered(case.model, asked, random, wrong=case.wrong)
        found = of_scores(scored(case.model, answers, random), scores, scores_again)
        found |= of_answers(free, answers, again)
        if case.speculates:
            found |= _speculation(case, free, answers, again, scores, random)
        made = measured(found)
        tallies.setdefault(case.name, Tally()).add(judge(made, prompts).verdict, made)


def _speculation(
    case: Case, free: Answers, answers: Answers, again: Answers, scores: Scores, random: np.random.Generator
) -> Differences:
    differs = measures.greedy_difference
    return of_speculation(scored(case.model, free, random), scores) | {
        "greedy difference": AboveFloor(differs(free, answers), differs(again, answers))
    }


def run(experiments: int, prompts: int, seed: int) -> bool:
    """Print the table; True if every rate is within its limit."""
    began, tallies = time.monotonic(), dict[str, Tally]()
    for number_of in range(experiments):
        experiment(np.random.default_rng([seed, number_of]), prompts, tallies)
    rows, good = [], True
    for name, tally in tallies.items():
        want = expected(name)
        spoilt = tally.share("spoilt")
        holds = spoilt >= CAUGHT if want == "spoilt" else spoilt <= FALSE_ALARMS if want else True
        good &= holds
        shares = [percent(tally.share(v)) for v in ("equal", "changed within the threshold", "spoilt", "not judged")]
        means = [tally.mean(n) for n in ("top-1 disagreement", "KL divergence", "ln perplexity ratio")]
        rows.append([name, *means, *shares, (want or "–") + ("" if holds else " (missed)")])
    head = [
        "Candidate",
        "Other top token",
        "KL (nats)",
        "ln perplexity ratio",
        "Equal",
        "Changed",
        "Spoilt",
        "Not judged",
    ]
    print("\n".join(table([*head, "Must be"], rows, right=1)))
    print(f"\n{experiments} experiments with {prompts} prompts each in {time.monotonic() - began:.0f} s.")
    return good


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=100)
    parser.add_argument("--prompts", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--vllm", metavar="MODEL", help="measure real servers of this model and its copies instead")
    parser.add_argument("--prompts-file", type=Path, metavar="FILE")
    parser.add_argument("--case", action="append", metavar="again|ngram|NAME=FOLDER")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keeps the baseline's answers from case to case")
    parser.add_argument("--dtype", default="bfloat16")
    args = parser.parse_args()
    if args.vllm:
        from benchmarks.quality.real_servers import Real, run_real

        cases = args.case or ["again", "ngram"]
        return 0 if run_real(Real(args.vllm, args.prompts_file, cases, args.keep, args.dtype)) else 1
    return 0 if run(args.experiments, args.prompts, args.seed) else 1


if __name__ == "__main__":
    sys.exit(main())
