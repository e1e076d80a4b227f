"""``rooftune optimize``: from a workload to the best configuration."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.cli import terminal
from flows.inputs import options
from flows.inputs.flat import flat_command
from flows.inputs.parameters import (
    CandidateOptions,
    GoalOptions,
    OptimizeRequest,
    TargetOptions,
    TrialOptions,
    WorkloadOptions,
)
from rooftune.formatting import change_range, number, percent, quantity
from rooftune.tuning.plan import SearchSummary

if TYPE_CHECKING:
    from tasks.results import OptimizeResult


@flat_command
def optimize(
    workload: options.WorkloadName,
    target: TargetOptions,
    changes: WorkloadOptions,
    added: CandidateOptions,
    trials: TrialOptions,
    goal: GoalOptions,
    resume: options.Resume = None,
    artifacts: options.Artifacts = options.ARTIFACTS,
    as_json: options.Json = False,
) -> None:
    """Find the configuration that serves a workload best: measure, decide, explain, write the start script.

    [bold]Examples[/bold]

      rooftune optimize chat-medium     (simulated T4, about six minutes)
      rooftune optimize chat-medium --gpu L4 --model llama-3.1-8b --budget 10m
      rooftune optimize chat-medium --slo ttft_ms=500 --constraint 'p99_tpot_ms<=80'
      rooftune optimize chat-low --objective median_tpot_ms
      rooftune optimize chat-low --engine vllm --model ./my-model
      rooftune optimize chat-medium --candidate eager=enforce_eager=true
      rooftune optimize chat-medium --search ladder
      rooftune optimize chat-medium --resume chat-medium/latest

    Nothing has to be running: a Prefect server is started for the run, on the same history as `make up`.
    """
    from flows.cli.optimize_run import run_optimize

    request = OptimizeRequest(workload, target, changes, added, trials, goal, artifacts, resume)
    result = run_optimize(request)
    _show(Path(result.run), result, as_json)


def _show(run: Path, result: OptimizeResult, as_json: bool) -> None:
    from rooftune.files import read_json

    decision = read_json(run / "decision.json")
    if as_json:
        terminal.print_json({**result.model_dump(), **decision})
        return
    terminal.table(*verdict_table(decision["verdicts"]))
    print(f"\n{result.first_sentence}\n\nRecommended: {result.incumbent}\n{result.command}\n")
    if decision["search"]:
        print("\n".join(search_lines(SearchSummary.model_validate(decision["search"]), result.incumbent)) + "\n")
    if decision["search"] and not result.complete:
        print(continue_line(run, result.workload, decision["budget_spent_s"], result.trials) + "\n")
    print(f"Report: {run / 'report.md'} (also as report.html; the start script is start_vllm.sh)")


def continue_line(run: Path, workload: str, spent_s: float, trials: int) -> str:
    """How to go on where the budget ended: with enough for a confirmation."""
    from rooftune.tuning.guided.budget import CONFIRMED

    asked = spent_s * (1 + (CONFIRMED + 1) / max(trials, 1))
    minutes = math.ceil(asked / 60)
    return f"To go on where it ended: rooftune optimize {workload} --resume {run} --budget {minutes}m"


def verdict_table(verdicts: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table of verdicts. A measured configuration has all that it changes from the baseline."""
    capacity = any(v["capacity"] for v in verdicts)
    head = ["Phase", "Candidate", "Changes from the baseline", "Verdict", *(["Capacity"] if capacity else [])]
    rows = [
        [
            v["phase"],
            v["candidate"],
            _changes(v, verdicts[0]["flags"]),
            v["verdict"],
            *([_capacity(v)] if capacity else []),
            _ratio(v),
            v["reason"],
        ]
        for v in verdicts
    ]
    return [*head, "Compared", "Why"], rows


def _changes(verdict: dict[str, Any], baseline: dict[str, Any]) -> str:
    """The flags in which a measured configuration differs; empty for others."""
    from rooftune.tuning.configuration import describe

    ours = verdict["flags"]
    if not verdict["trials"] or ours == baseline:
        return ""
    return describe({k: ours.get(k) for k in {**baseline, **ours} if ours.get(k) != baseline.get(k)})


def search_lines(search: SearchSummary, recommended: str) -> list[str]:
    """How the search ended, what each knob is worth, and the best configuration with unchanged answers."""
    words = f"{search.method} search over {quantity(search.space, 'configuration')}, {search.measured} of them measured"
    lines = [f"{words[:1].upper()}{words[1:]}: {search.reason}."]
    if search.chance_of_better is not None:
        lines.append(f"Chance that something clearly better is left: {percent(search.chance_of_better)}.")
    lines += ["What each knob is worth:"] if search.knobs else []
    lines += [f"  {knob.sentence}" for knob in search.knobs]
    if search.same_answers != recommended and search.same_answers_ratio is not None:
        how = "measured" if search.same_answers_measured else "predicted, not measured"
        gain = search.same_answers_ratio.as_change
        lines.append(f"Best with unchanged answers: {search.same_answers}, {gain} compared with baseline ({how}).")
    return lines


def _capacity(verdict: dict[str, Any]) -> str:
    """Requests/s within the SLO, with the interval."""
    found = verdict["capacity"]
    if not found:
        return ""
    if found["estimate"] <= 0:
        return "0"
    low, middle, high = (number(found[k]) for k in ("low", "estimate", "high"))
    return f"{middle}/s ({low} to {high})"


def _ratio(verdict: dict[str, Any]) -> str:
    found = verdict["ratios"].get(verdict["metric"])
    if not found:
        return ""
    against = verdict["against"]
    return change_range(found["estimate"], found["low"], found["high"]) + (f" with {against}" if against else "")
