"""``load``: measure any OpenAI-compatible server, without Prefect."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli import options, terminal
from flows.cli.predict import SHOWN
from rooftune.formatting import number, rate

if TYPE_CHECKING:
    from rooftune.evidence.records.trial import TrialResult
    from rooftune.workloads.spec import Workload

Drain = Annotated[
    float | None, typer.Option("--drain", help="Longest wait for answers after the last arrival, in seconds.")
]
Prompts = Annotated[
    str | None, typer.Option("--prompts", help="tokens (exact lengths) or text (for servers that take no token ids).")
]


def load(
    workload: options.WorkloadName,
    url: Annotated[str, typer.Option("--url", help="The server, for example http://127.0.0.1:8000.")],
    model: Annotated[str | None, typer.Option("--model", help="Name to send; needed when it serves several.")] = None,
    gpu: Annotated[str | None, typer.Option("--gpu", help="What it runs on, for the record.")] = None,
    duration: options.Duration = None,
    warmup: options.Warmup = None,
    drain: Drain = None,
    rate: options.Rate = None,
    seed: options.Seed = None,
    client_processes: options.ClientProcesses = None,
    prompts: Prompts = None,
    vocab_size: Annotated[
        int | None, typer.Option("--vocab-size", min=16, help="Token ids are drawn below this number.")
    ] = None,
    request_timeout: Annotated[
        float, typer.Option("--request-timeout", min=1, help="Seconds until a request is given up.")
    ] = 600.0,
    save: Annotated[
        Path | None, typer.Option("--save", help="Keep requests.parquet, ticks.parquet, trial.json ... here.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Load a server as the workload says, and print what it delivered, with the audit of the measurement.

    [bold]Examples[/bold]

      rooftune load chat-low --url http://127.0.0.1:8000
      rooftune load chat-medium --url https://llm.example.org --rate 5 --duration 60 --save here
      OPENAI_API_KEY=... rooftune load chat-low --url https://llm.example.org --json

    The load is open: requests go out when the workload says, however slow the answers are.
    """
    from flows.inputs.targets import workload_with
    from rooftune.errors import InputError, RooftuneError

    if prompts not in (None, "tokens", "text"):
        raise InputError(f"--prompts is tokens or text, not {prompts!r}.")
    spec = workload_with(workload, duration_s=duration, warmup_s=warmup, drain_s=drain, rate_per_s=rate, seed=seed)
    wishes = {"processes": client_processes, "prompt_format": prompts, "vocab_size": vocab_size}
    wishes["request_timeout_s"] = request_timeout
    if save is not None and (save / "trial.json").exists():
        raise InputError(f"{save} holds a trial already; name another folder with --save.")
    with tempfile.TemporaryDirectory(prefix="rooftune-") as scratch:
        folder = save or Path(scratch)
        trial = asyncio.run(_measure(spec, url, model, gpu, folder, {k: v for k, v in wishes.items() if v is not None}))
    if as_json:
        terminal.print_json(flat(trial))
    else:
        _show(trial, spec, url, save)
    census = trial.census
    if census is not None and census.completed == 0 and not (census.cut and trial.metrics.get("output_throughput")):
        raise RooftuneError(f"no request to {url} was answered in full; {_why(trial)}.")
    if not trial.believed:
        failed = "; ".join(c.sentence.rstrip(".") for c in trial.checks if c.status == "fail")
        terminal.note(f"rooftune: do not trust these figures: {failed}.")


async def _measure(
    spec: Workload, url: str, model: str | None, gpu: str | None, folder: Path, wishes: dict[str, Any]
) -> TrialResult:
    """Connect, load, aggregate."""
    from rooftune.engines.launch import connect
    from rooftune.engines.target import Target
    from rooftune.evidence.aggregate import aggregate
    from rooftune.loadgen.summary import LoadOptions
    from rooftune.runfolder import TrialFolder
    from rooftune.trial_order import TrialOrder
    from rooftune.vllm_rules.config import EngineConfig
    from rooftune.workloads.draw import draw

    trial = TrialFolder(folder)
    target = Target(engine="endpoint", model=model or "", engine_version="unknown", url=url, gpu=gpu)
    server = await connect(target, trial)
    target = target.model_copy(
        update={"model": server.model, "engine_version": server.effective.engine_version or "unknown"}
    )
    options_ = LoadOptions.model_validate(
        {
            "url": server.url,
            "model": server.model,
            "endpoint": spec.endpoint,
            "vocab_size": server.vocab_size,
            "time_scale": server.time_scale,
            **wishes,
        }
    )
    from flows.cli.progress import load_bar
    from rooftune.loadgen.client import run_load

    plan = draw(spec)
    with load_bar(f"loading {server.url}") as shown:
        await run_load(spec, plan, options_, trial, progress=shown)
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
        return "nothing is known of them"
    parts = {"failed": census.failed, "refused": census.refused, "cut": census.cut, "never begun": census.never_begun}
    others = ", ".join(f"{n} {word}" for word, n in parts.items() if n)
    return f"of {census.scheduled} scheduled: {others or 'no other'}"


def _show(trial: TrialResult, spec: Workload, url: str, save: Path | None) -> None:
    simulated = " (simulated)" if trial.simulated else ""
    print(f"{spec.name} on {url}: {trial.model}{simulated}, vLLM {trial.engine_version}")
    if trial.window:
        print(
            f"window: {number(trial.window.start_s)} s to {number(trial.window.end_s)} s of the load, seed {trial.seed}\n"
        )
    rows = []
    for name, words, unit in SHOWN:
        if name in trial.metrics:
            rows.append([words, number(trial.metrics[name]), unit])
        elif name in trial.withheld:
            rows.append([words, "withheld", trial.withheld[name]])
    terminal.table(["Metric", "Measured", ""], rows, right=(1,))
    if trial.census:
        rest = "all that were scheduled" if trial.census.completed == trial.census.scheduled else _why(trial)
        print(f"Requests: {trial.census.completed} completed, {rest}.")
    if trial.overloaded and trial.served_rate_per_s:
        print(f"Overloaded: the server serves about {rate(trial.served_rate_per_s, 'request')} of this workload.")
    for check in trial.checks:
        if check.status == "warn":
            print(f"Mind: {check.sentence}")
    if save is not None:
        print(f"Files: {save}")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Measure and tune")(load)
