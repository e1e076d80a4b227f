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
from rooftune.formatting import number

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
    print(f"Report: {run / 'report.md'} (also as report.html; the start script is start_vllm.sh)")


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
