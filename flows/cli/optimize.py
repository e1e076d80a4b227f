"""``rooftune optimize``: from a workload to the best configuration."""

from __future__ import annotations

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
from rooftune.formatting import number, percent, quantity
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
    result = run_optimize(request, quiet=as_json)
    _show(Path(result.run), result, as_json)


def _show(run: Path, result: OptimizeResult, as_json: bool) -> None:
    from rooftune.files import read_json

    decision = read_json(run / "decision.json")
    if as_json:
        terminal.print_json({**result.model_dump(), **decision})
        return
    capacity = any(v["capacity"] for v in decision["verdicts"])
    head = ["Phase", "Candidate", "Verdict", *(["Capacity"] if capacity else []), "Against the incumbent", "Why"]
    rows = [
        [v["phase"], v["candidate"], v["verdict"], *([_capacity(v)] if capacity else []), _ratio(v), v["reason"]]
        for v in decision["verdicts"]
    ]
    terminal.table(head, rows)
    print(f"\n{result.first_sentence}\n\nRecommended: {result.incumbent}\n{result.command}\n")
    if decision["search"]:
        print("\n".join(search_lines(SearchSummary.model_validate(decision["search"]), result.incumbent)) + "\n")
    print(f"Report: {run / 'report.md'} (also as report.html; the start script is start_vllm.sh)")


def search_lines(search: SearchSummary, recommended: str) -> list[str]:
    """How the search ended, what each knob is worth, and the best configuration with unchanged answers."""
    words = f"{search.method} search over {quantity(search.space, 'configuration')}, {search.measured} of them measured"
    lines = [f"{words[:1].upper()}{words[1:]}: {search.reason}."]
    if search.chance_of_better is not None:
        lines.append(f"Chance that something clearly better is left: {percent(search.chance_of_better)}.")
    lines += [f"  {knob.sentence}" for knob in search.knobs]
    if search.same_answers != recommended and search.same_answers_ratio is not None:
        how = "measured once" if search.same_answers_measured else "predicted, not measured"
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
    low, middle, high = (100 * (found[k] - 1) for k in ("low", "estimate", "high"))
    return f"{middle:+.1f} % ({low:+.1f} to {high:+.1f})"
