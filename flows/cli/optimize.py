"""``rooftune optimize``: from a workload to the best configuration."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from flows.cli import terminal
from flows.inputs import options
from flows.inputs.flat import flat_command
from flows.inputs.parameters import (
    CandidateOptions,
    GoalOptions,
    OptimizeRequest,
    QualityOptions,
    TargetOptions,
    TextOptions,
    TrialOptions,
    WorkloadOptions,
)

if TYPE_CHECKING:
    from tasks.results import OptimizeResult


@flat_command
def optimize(
    target: TargetOptions,
    changes: WorkloadOptions,
    added: CandidateOptions,
    trials: TrialOptions,
    goal: GoalOptions,
    texts: TextOptions,
    quality: QualityOptions,
    workload: options.TextWorkload = "",
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
      rooftune optimize --prompts mine.jsonl --rate 4
      rooftune optimize chat-medium --resume chat-medium/latest

    Nothing has to be running: the command starts a Prefect server for the run, with the same history as `make up`.
    """
    from flows.cli.optimize_run import run_optimize

    request = OptimizeRequest(workload, target, changes, added, trials, goal, texts, quality, artifacts, resume)
    result = run_optimize(request)
    _show(Path(result.run), result, as_json)


def _show(run: Path, result: OptimizeResult, as_json: bool) -> None:
    from rooftune.files import read_json
    from rooftune.report.run.answer_quality import unchecked_answers
    from rooftune.report.run_data import read_run
    from rooftune.report.writing import summary_of
    from rooftune.runfolder import RunFolder

    decision = read_json(run / "decision.json")
    if as_json:
        terminal.print_json({**result.model_dump(), **decision})
        return
    found = read_run(RunFolder(run))
    terminal.summary(summary_of(found))
    print()
    if decision["search"] and not result.complete:
        print(continue_line(run, result.workload, decision["budget_spent_s"], result.trials) + "\n")
    unchecked = unchecked_answers(found)
    if unchecked:
        print(unchecked + "\n")
    print(f"Report: {run / 'report.md'} (also as report.html; the start script is start_vllm.sh)")


def continue_line(run: Path, workload: str, spent_s: float, trials: int) -> str:
    """How to go on where the budget ended: with enough for a confirmation."""
    from rooftune.tuning.guided.budget import CONFIRMED

    asked = spent_s * (1 + (CONFIRMED + 1) / max(trials, 1))
    minutes = math.ceil(asked / 60)
    return f"To go on where it ended: rooftune optimize {workload} --resume {run} --budget {minutes}m"
