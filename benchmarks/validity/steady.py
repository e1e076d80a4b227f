"""Measures how often the audit's steady-state check misjudges a load; exits 1 if it fails too many steady ones.

Made-up loads on a server that is never full: Poisson arrivals, answers of log-normal length, a fixed time per token.
They are steady, or their arrivals fall to 30 % in the last third of the window.

    python -m benchmarks.validity.steady [--loads 1000] [--seed N]
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from dataclasses import dataclass

import numpy as np

from rooftune.evidence.audit.window import steady_state
from rooftune.evidence.records.columns import ChunkArrivals, Requests, requests_from
from rooftune.evidence.records.evidence import Evidence
from rooftune.evidence.records.trial import TrialResult
from rooftune.metrics.window import Window
from rooftune.workloads.spec import Workload

FALSE_ALARMS = 0.01
"""Of steady loads, the largest share that may fail."""
TTFT_S = 0.2
LEFT_OVER = 0.3
"""Arrivals in the last third of the window where a load is not steady."""


@dataclass(frozen=True)
class Load:
    """A load and how long it is measured."""

    rate_per_s: float
    tpot_s: float
    warmup_s: float
    window_s: float
    output_tokens: float = 150.0

    def requests(self, random: np.random.Generator, late_share: float) -> Requests:
        """Its requests, of whose arrivals this share is left in the last third of the window."""
        end_s = self.warmup_s + self.window_s
        at_s = np.sort(random.uniform(0, end_s, random.poisson(self.rate_per_s * end_s)))
        at_s = at_s[(at_s < end_s - self.window_s / 3) | (random.random(len(at_s)) < late_share)]
        lengths = random.lognormal(np.log(self.output_tokens) - 0.08, 0.4, len(at_s))
        tokens = np.clip(lengths, 16, 512).astype(np.int64)
        owner = np.repeat(np.arange(len(at_s)), tokens)
        place = np.arange(len(owner)) - np.repeat(np.cumsum(tokens) - tokens, tokens)
        chunks = ChunkArrivals(at_s[owner] + TTFT_S + place * self.tpot_s, np.ones(len(owner)), owner)
        return requests_from({"scheduled_s": at_s, "sent_s": at_s}, chunks)

    def judged(self, random: np.random.Generator, late_share: float = 1.0) -> str:
        """What the check says about one such load."""
        arrivals = {"process": "poisson", "rate_per_s": self.rate_per_s}
        fixed = {"distribution": "fixed", "value": int(self.output_tokens)}
        lengths = {"prompt_tokens": fixed, "output_tokens": fixed, "duration_s": self.window_s}
        workload = Workload.model_validate({"name": "made-up", "arrivals": arrivals, **lengths})
        window = Window(start_s=self.warmup_s, end_s=self.warmup_s + self.window_s)
        trial = TrialResult(
            candidate="baseline", n=1, status="measured", window=window,
            workload=workload.name, workload_hash="", seed=0, position=0,
        )  # fmt: skip
        requests = self.requests(random, late_share)
        return steady_state(Evidence("rooftune", "made-up", requests, workload=workload, trial=trial)).status


LOADS = (
    Load(0.19, 0.08, 3, 83),
    Load(0.19, 0.08, 24, 83),
    Load(0.19, 0.08, 24, 160),
    Load(0.19, 0.08, 24, 640),
    Load(1, 0.08, 3, 83),
    Load(1, 0.08, 24, 83),
    Load(1, 0.02, 24, 160),
    Load(1, 0.03, 30, 300),
    Load(5, 0.08, 24, 83),
)


def shares(load: Load, count: int, random: np.random.Generator, late_share: float = 1.0) -> tuple[float, float]:
    """Shares of loads that fail, and that the check warns about."""
    found = Counter(load.judged(random, late_share) for _ in range(count))
    return found["fail"] / count, found["warn"] / count


def main(arguments: list[str] | None = None) -> int:
    """Print the table; 1 when too many steady loads fail."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--loads", type=int, default=1000, help="steady loads per row, and a third as many others")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    random = np.random.default_rng(given.seed)
    print(f"{given.loads:,} steady loads per row, and a third as many whose arrivals fall to {LEFT_OVER:.0%}.\n")
    print("| requests/s | mean answer, s | warm-up, s | window, s | steady: fails | warns | falling: fails | warns |")
    print("|---:|---:|---:|---:|---:|---:|---:|---:|")
    worst = 0.0
    for load in LOADS:
        failed, warned = shares(load, given.loads, random)
        seen, hinted = shares(load, max(1, given.loads // 3), random, LEFT_OVER)
        answer_s = TTFT_S + load.output_tokens * load.tpot_s
        print(
            f"| {load.rate_per_s:g} | {answer_s:.0f} | {load.warmup_s:g} | {load.window_s:g} | {failed:.1%} | "
            f"{warned:.1%} | {seen:.0%} | {hinted:.0%} |"
        )
        worst = max(worst, failed)
    if worst > FALSE_ALARMS:
        print(f"NOT KEPT: {worst:.1%} of steady loads fail", file=sys.stderr)
    return int(worst > FALSE_ALARMS)


if __name__ == "__main__":
    sys.exit(main())
