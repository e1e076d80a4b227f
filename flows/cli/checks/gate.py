"""``rooftune gate``: has a configuration lost more than a bound? The answer is the exit code."""

from __future__ import annotations

from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from flows.cli import terminal
from flows.inputs import options
from flows.inputs.flat import flat_command
from flows.inputs.gate import GateOptions, GateRequest
from flows.inputs.parameters import GoalOptions, TargetOptions, TrialOptions, WorkloadOptions

if TYPE_CHECKING:
    from rooftune.gate.result import GateResult

RunToRead = Annotated[
    str | None, Option("--run", metavar="RUN", help="Judge this run instead of measuring; its recommended one.")
]
Junit = Annotated[Path | None, Option("--junit", metavar="FILE", help="Write JUnit XML with one test case.")]
MarkdownFile = Annotated[
    Path | None, Option("--markdown", metavar="FILE", help="Write a Markdown comment for a pull request.")
]


@flat_command
def gate(
    workload: options.WorkloadName,
    asked: GateOptions,
    target: TargetOptions,
    changes: WorkloadOptions,
    goal: GoalOptions,
    trials: TrialOptions,
    run: RunToRead = None,
    junit_file: Junit = None,
    markdown_file: MarkdownFile = None,
    artifacts: options.Artifacts = options.ARTIFACTS,
    as_json: options.Json = False,
) -> int:
    """Say whether a configuration lost more than a bound, compared with an earlier run: for CI.

    Trials are added until the interval of the ratio is on one side of the bound, or the budget ends. Exit codes: 0 no
    loss beyond the bound, 1 a loss beyond it (or nothing could be measured), 2 bad input or runs that cannot be
    compared, 3 not enough evidence.

    [bold]Examples[/bold]

      rooftune gate chat-medium --against chat-medium/20260101-120000-ab12 --engine vllm --model ./my-model
      rooftune gate chat-medium --against chat-medium/latest --set max_num_seqs=64 --beside
      rooftune gate chat-medium --history --max-loss 5% --junit gate.xml --markdown gate.md
      rooftune gate chat-medium --against RUN --run chat-medium/latest     (measures nothing)
    """
    from flows.inputs.gate import check_sources
    from rooftune.errors import InputError, RooftuneError
    from rooftune.files import write_text
    from rooftune.gate.texts import junit, junit_error, markdown

    check_sources(asked, run)
    request = GateRequest(workload, target, changes, goal, trials, asked, artifacts)
    try:
        result = _judged(request, run) if run is not None else _measured(request)
    except RooftuneError as error:
        if junit_file is not None and not isinstance(error, InputError):
            write_text(junit_file, junit_error(workload, str(error)))
        raise
    if junit_file is not None:
        write_text(junit_file, junit(result))
    if markdown_file is not None:
        write_text(markdown_file, markdown(result))
    if as_json:
        terminal.print_json(result.model_dump(mode="json"))
    else:
        terminal.markdown(markdown(result))
    return result.exit_code


def _measured(request: GateRequest) -> GateResult:
    """Measure in this process, with a Prefect server that is found or started."""
    import asyncio
    from dataclasses import asdict

    from flows.cli.optimize_run import run_flow
    from flows.inputs.gate import gate_order

    asyncio.run(gate_order(request))
    groups = (request.target, request.changes, request.goal, request.trials, request.gate)
    flat = {name: value for group in groups for name, value in asdict(group).items()}

    def start() -> Coroutine[object, object, GateResult]:
        from flows.gate import gate as flow

        started: Coroutine[object, object, GateResult] = flow(
            **flat, workload=request.workload, artifacts=request.artifacts
        )
        return started

    return run_flow(start, _stopped)


def _stopped(run: str) -> str:
    if not run:
        return "stopped before anything was measured; nothing is left running."
    return f"stopped without a verdict; nothing is left running. Its trials are in {run}."


def _judged(request: GateRequest, run: str) -> GateResult:
    """Judge a run that is there."""
    from flows.inputs.read_gate import judge_run

    with terminal.busy(f"Comparing {run} with its reference"):
        return judge_run(request, run)
