"""The search replayed on a grid of a real vLLM, without predictions. Exits 1 when it misses the grid's best.

    python -m benchmarks.tuning.replayed_grid [--seeds N]

The throughput that was measured is the truth. A trial adds noise to it, and it starts a server unless the one before
can be lowered to its limits. Each pair of costs is tried with each noise. The search chooses and confirms as ``rooftune
optimize`` does on a real vLLM for which nothing is predicted.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import mean

import numpy as np

from benchmarks.tuning.vllm_grid import Cell, best_of_grid, grid
from rooftune.engines.server import Limits
from rooftune.engines.switching import lowered, stated_limits
from rooftune.knobs.effective import families_of
from rooftune.search.choice import chosen
from rooftune.search.next_step import Measure, Step, next_step
from rooftune.search.options import Outcome, Problem
from rooftune.tuning.guided.first_on_server import with_highest_limits
from rooftune.tuning.guided.progress import ERROR
from rooftune.tuning.guided.search_plan import PlannedOption, SearchPlan

BASELINE = Cell("float32", False, 16, 1024)
NOISES = (0.04, 0.10)
"""Standard deviation of ln(throughput) of a trial."""
NEAR = 0.95
"""Share of the grid's best that the searches of each row have to reach on average."""
MAX_MODEL_LEN = 1024


@dataclass(frozen=True)
class Cost:
    """Seconds that a trial takes."""

    start_s: float
    load_s: float


COSTS = (Cost(120, 14), Cost(60, 30), Cost(20, 20))


@dataclass(frozen=True)
class Server:
    """The running server: what it was started with."""

    started: Cell

    @property
    def limits(self) -> Limits:
        """The limits that it can be lowered from."""
        found = stated_limits(self.started.config)
        assert found is not None
        return found

    def serves(self, cell: Cell) -> bool:
        """Whether it can be lowered to another cell."""
        return lowered(self.limits, MAX_MODEL_LEN, self.started.config, cell.config) is not None


@dataclass(frozen=True)
class Ended:
    """A search with its confirmation."""

    chosen: float
    """Throughput of what the search chose, relative to the best of the grid."""
    recommended: float
    """The same of what the confirmation recommends."""
    trials: int
    """Of the search."""
    starts: int
    """Servers that the search started."""


def searched(cells: Mapping[str, Cell], truth: Mapping[str, float], cost: Cost, noise: float, seed: int) -> Ended:
    """Replay one search."""
    random = np.random.default_rng([seed, round(1000 * noise), round(cost.start_s)])
    plan = _plan(cells, cost)
    outcomes: list[Outcome] = []
    server: Server | None = None
    starts = 0
    while True:
        problem = _problem(plan, cells, outcomes, server, seed)
        step = next_step(problem, outcomes)
        if step.next is None:
            break
        if step.next.purpose == "confirm":
            value = truth[step.next.option] + noise * float(random.standard_normal())
            seconds = cost.start_s + cost.load_s
            outcomes.append(Outcome(step.next.option, value, ERROR, seconds, purpose="confirm", seed=step.next.seed))
            continue
        asked = _asked(step, cells, server)
        seconds = cost.load_s
        if server is None or not server.serves(cells[asked.option]):
            server, starts, seconds = Server(cells[asked.option]), starts + 1, cost.start_s + cost.load_s
        value = truth[asked.option] + noise * float(random.standard_normal())
        outcomes.append(Outcome(asked.option, value, ERROR, seconds, seed=asked.seed))
    best = max(truth.values())
    winner = problem.options[chosen(step.outlook)].id
    recommended = step.confirmation.recommended if step.confirmation is not None else problem.baseline
    made = sum(outcome.purpose == "search" for outcome in outcomes)
    return Ended(math.exp(truth[winner] - best), math.exp(truth[recommended] - best), made, starts)


def _plan(cells: Mapping[str, Cell], cost: Cost) -> SearchPlan:
    ordered = sorted(cells.items(), key=lambda item: item[1] != BASELINE)
    options = [
        PlannedOption(
            id=name,
            name=name,
            phase="medium-term",
            change=dict(cell.config.flags()),
            knobs=cell.knobs,
            families=list(families_of(cell.config, None)),
        )
        for name, cell in ordered
    ]
    return SearchPlan(method="guided", options=options, space=len(options), start_s=cost.start_s, load_s=cost.load_s)


def _problem(
    plan: SearchPlan, cells: Mapping[str, Cell], outcomes: list[Outcome], server: Server | None, seed: int
) -> Problem:
    """The problem after these trials, on the server that runs."""
    running = [name for name, cell in cells.items() if server is not None and server.serves(cell)]
    measured = [o.log_value for o in outcomes if o.log_value is not None]
    return plan.problem("output_throughput", seed, measured=measured, on_running=running)


def _asked(step: Step, cells: Mapping[str, Cell], server: Server | None) -> Measure:
    """The trial that comes next: one that needs a start may make room for others on its server."""
    assert step.next is not None
    if step.incumbent is None or (server is not None and server.serves(cells[step.next.option])):
        return step.next
    return with_highest_limits(step.next, step.outlook, lambda name: cells[name].config, MAX_MODEL_LEN)


def _shares(found: list[float]) -> str:
    """Mean and worst."""
    return f"{mean(found):.1%}, {min(found):.1%}"


def main(arguments: list[str] | None = None) -> int:
    """Print the table; 1 when a search ends too far from the best."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--seeds", type=int, default=12, help="searches of each row")
    given = parser.parse_args(arguments)
    measured = grid()
    cells = {cell.name: cell for cell in measured}
    truth = {cell.name: math.log(found.value) for cell, found in measured.items()}
    share = measured[BASELINE].value / best_of_grid()
    print(f"{len(cells)} configurations; the baseline reaches {share:.0%} of the best\n")
    print(
        "| start, s | load, s | noise | searches | chosen, of the best: mean, worst | recommended | trials | starts |"
    )
    print("|---:|---:|---:|---:|---|---|---|---|")
    lowest = 1.0
    for noise in NOISES:
        for cost in COSTS:
            found = [searched(cells, truth, cost, noise, seed) for seed in range(given.seeds)]
            trials, starts = [f.trials for f in found], [f.starts for f in found]
            lowest = min(lowest, mean(f.recommended for f in found))
            print(
                f"| {cost.start_s:.0f} | {cost.load_s:.0f} | {noise:.0%} | {len(found)} "
                f"| {_shares([f.chosen for f in found])} | {_shares([f.recommended for f in found])} "
                f"| {min(trials)} to {max(trials)} | {min(starts)} to {max(starts)} |"
            )
    print()
    if lowest < NEAR:
        print(f"FALLS SHORT: the searches of a row reach {lowest:.1%} of the best on average", file=sys.stderr)
        return 1
    print("all goals are met")
    return 0


if __name__ == "__main__":
    sys.exit(main())
