"""``rooftune load``: measure any OpenAI-compatible server, without Prefect."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from flows.cli import terminal
from flows.cli.metric_rows import OF_ADAPTERS, adapter_rows, metric_rows
from flows.inputs import options
from flows.inputs.flat import flat_command
from flows.inputs.parameters import WorkloadOptions
from rooftune.formatting import number, rate

if TYPE_CHECKING:
    from rooftune.engines.target import Target
    from rooftune.evidence.records.trial import TrialResult
    from rooftune.runfolder import TrialFolder
    from rooftune.workloads.spec import Workload

Url = Annotated[str, Option("--url", help="Address of the server, for example http://127.0.0.1:8000.")]
ModelName = Annotated[
    str | None, Option("--model", help="Model name to send. Needed when the server has several models.")
]
GpuNote = Annotated[str | None, Option("--gpu", help="Accelerator of the server, for the record.")]
Save = Annotated[
    Path | None, Option("--save", help="Folder to keep requests.parquet, ticks.parquet, trial.json ... in.")
]
LENGTHS = "prompt_lengths.json"


@flat_command
def load(
    workload: options.WorkloadName,
    url: Url,
    changes: WorkloadOptions,
    model: ModelName = None,
    gpu: GpuNote = None,
    drain: options.Drain = None,
    client_processes: options.ClientProcesses = None,
    prompts: options.Prompts = None,
    vocab_size: options.VocabSize = None,
    request_timeout: options.RequestTimeout = 600.0,
    save: Save = None,
    as_json: options.Json = False,
) -> None:
    """Load a server with a workload, and print what it delivered, with the audit of the measurement.

    [bold]Examples[/bold]

      rooftune load chat-low --url http://127.0.0.1:8000
      rooftune load chat-medium --url https://llm.example.org --rate 5 --duration 60 --save here
      rooftune load chat-low --url http://127.0.0.1:8000 --prompts mine.jsonl
      OPENAI_API_KEY=... rooftune load chat-low --url https://llm.example.org --json

    The load is open: requests are sent at their scheduled times, however slow the answers are.
    """
    from flows.inputs.workloads import changed_workload, prompts_file
    from rooftune.errors import InputError
    from rooftune.evidence.records.parquet_files import first_error
    from rooftune.runfolder import TrialFolder

    file = prompts_file(prompts)
    spec = changed_workload(workload, changes, drain_s=drain, prompts=file)
    drawn = prompts if file is None else None
    client: dict[str, Any] = {"processes": client_processes, "prompt_format": drawn, "vocab_size": vocab_size}
    client["request_timeout_s"] = request_timeout
    if save is not None and (save / "trial.json").exists():
        raise InputError(f"{save} already holds a trial; name another folder with --save.")
    with tempfile.TemporaryDirectory(prefix="rooftune-") as scratch:
        folder = TrialFolder(save or Path(scratch))
        trial = asyncio.run(_measure(spec, _target(url, model, gpu), folder, client))
        error = first_error(folder.requests)
    if as_json:
        terminal.print_json(flat(trial))
    else:
        _show(trial, spec, url, save)
    _judge(trial, url, error)


def _judge(trial: TrialResult, url: str, first_error: str) -> None:
    """Fail when nothing was answered; warn when the figures are not to be trusted."""
    from rooftune.errors import RooftuneError

    census = trial.census
    if census is not None and census.completed == 0 and not (census.cut and trial.metrics.get("output_throughput")):
        said = f": {first_error.rstrip('.')}" if first_error else ""
        raise RooftuneError(f"no request to {url} was answered in full; {_why(trial)}{said}.")
    if not trial.believed:
        failed = "; ".join(c.sentence.rstrip(".") for c in trial.checks if c.status == "fail")
        terminal.note(f"rooftune: do not trust these figures: {failed}.")


def _target(url: str, model: str | None, gpu: str | None) -> Target:
    from rooftune.engines.target import Target

    return Target(engine="endpoint", model=model or "", engine_version="unknown", url=url, gpu=gpu)


async def _measure(spec: Workload, target: Target, trial: TrialFolder, client: dict[str, Any]) -> TrialResult:
    """Connect, load, aggregate."""
    from flows.cli.progress import load_display
    from rooftune.engines.launch import connect
    from rooftune.engines.prompt_lengths import with_counted_lengths
    from rooftune.evidence.aggregate import aggregate
    from rooftune.loadgen.client import run_load
    from rooftune.loadgen.summary import LoadOptions
    from rooftune.trial_order import TrialOrder
    from rooftune.vllm_rules.config import EngineConfig
    from rooftune.workloads.draw import draw

    server = await connect(target, trial)
    version = server.effective.engine_version or "unknown"
    target = target.model_copy(update={"model": server.model, "engine_version": version})
    asked = {
        "url": server.url,
        "model": server.model,
        "endpoint": spec.endpoint,
        "vocab_size": server.vocab_size,
        "time_scale": server.time_scale,
        "ends": "planned" if server.simulated else "model",
    }
    named = {name: value for name, value in client.items() if value is not None}
    load_options = LoadOptions.model_validate({**asked, **named})
    spec = with_counted_lengths(spec, trial.path / LENGTHS, server.model, server.url, simulated=server.simulated)
    plan = draw(spec)
    for note in plan.notes:
        terminal.note(f"{note}.")
    with load_display(f"loading {server.url}") as shown:
        await run_load(spec, plan, load_options, trial, progress=shown)
    config = EngineConfig(model=target.model)
    order = TrialOrder(candidate="endpoint", n=1, position=0, config=config, seed=spec.seed, phase="")
    return aggregate(trial, order, spec, target)


def flat(trial: TrialResult) -> dict[str, Any]:
    """A trial with its metrics at top level, for ``--json``."""
    rest = trial.model_dump(mode="json", exclude={"metrics", "flags", "candidate", "n", "position", "format", "within"})
    return {**trial.metrics, "believed": trial.believed, **rest}


def _why(trial: TrialResult) -> str:
    census = trial.census
    if census is None:
        return "nothing is known about them"
    parts = {"failed": census.failed, "refused": census.refused, "cut": census.cut, "never begun": census.never_begun}
    others = ", ".join(f"{n} {word}" for word, n in parts.items() if n)
    return f"of {census.scheduled} scheduled: {others or 'no other'}"


def _show(trial: TrialResult, spec: Workload, url: str, save: Path | None) -> None:
    simulated = " (simulated)" if trial.simulated else ""
    print(f"{spec.name} on {url}: {trial.model}{simulated}, vLLM {trial.engine_version}")
    if trial.window:
        start, end = number(trial.window.start_s), number(trial.window.end_s)
        print(f"window: {start} s to {end} s of the load, seed {trial.seed}\n")
    terminal.table(["Metric", "Measured", ""], metric_rows(trial.metrics, trial.withheld), right=(1,))
    if trial.adapters:
        print()
        terminal.table(["Adapter", *(m.title for m in OF_ADAPTERS)], adapter_rows(trial.adapters), right=(1, 2, 3, 4))
    if trial.census:
        rest = "all that were scheduled" if trial.census.completed == trial.census.scheduled else _why(trial)
        print(f"Requests: {trial.census.completed} completed, {rest}.")
    if trial.overloaded and trial.served_rate_per_s:
        print(f"Overloaded: the server serves about {rate(trial.served_rate_per_s, 'request')} of this workload.")
    for check in trial.checks:
        if check.status == "warn":
            print(f"Warning: {check.sentence}")
    if save is not None:
        print(f"Files: {save}")
