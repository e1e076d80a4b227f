"""``probe``, ``plan``, ``optimize``: from what is here to the best configuration."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli import options, terminal
from rooftune.formatting import number

if TYPE_CHECKING:
    from rooftune.engines.target import Target
    from rooftune.hardware.accelerator import Hardware
    from rooftune.tuning.plan import Plan


def probe(
    engine: Annotated[
        str | None,
        typer.Option("--engine", help="simulated, vllm or endpoint. [default: simulated with --gpu, else vllm]"),
    ] = None,
    gpu: options.Gpu = None,
    engine_version: options.EngineVersion = None,
    vllm_python: options.VllmPython = None,
    measure: Annotated[
        bool, typer.Option("--measure/--no-measure", help="Measure memory and matrix ceilings (seconds).")
    ] = True,
    as_json: options.Json = False,
) -> None:
    """Show what is here, and what it can and cannot do, each with its reason.

    [bold]Examples[/bold]

      rooftune probe                                  (this machine)
      rooftune probe --gpu H100 --engine-version 0.32.0  (from the catalogue)
    """
    from flows.inputs.targets import engine_kind
    from rooftune.hardware.probe import probe as look
    from rooftune.tuning.case import CURRENT_VERSION
    from rooftune.vllm_rules.capabilities import with_capabilities

    named = gpu is not None and gpu.strip().lower() != "cpu"
    kind = engine_kind(engine or ("simulated" if named else "vllm"))
    version = engine_version or _vllm_here(vllm_python) or CURRENT_VERSION
    interpreter = _interpreter_here(vllm_python) if kind == "vllm" else None
    probed = look(engine=kind, gpu=gpu, engine_version=version, vllm_python=interpreter, measure=measure)
    found = with_capabilities(probed)
    if as_json:
        terminal.print_json(found.model_dump(mode="json"))
        return
    _show_hardware(found)


def _interpreter_here(named: str | None) -> str | None:
    """The interpreter that has vLLM, if there is one; its torch measures what numpy cannot."""
    from rooftune.engines.interpreter import installed, vllm_python
    from rooftune.errors import InputError

    try:
        return installed(vllm_python(named)).python
    except InputError:
        if named is not None:
            raise
        return None


def _vllm_here(named: str | None) -> str | None:
    """Version of the vLLM that is installed, if there is one."""
    from rooftune.engines.interpreter import installed

    python = _interpreter_here(named)
    return installed(python).version.split("+")[0] if python else None


def _show_hardware(found: Hardware) -> None:
    a = found.accelerator
    simulated = " (simulated: from the catalogue, not in this machine)" if found.simulated else ""
    print(f"{found.count} x {a.name}{simulated}, vLLM {found.engine_version}")
    print(f"memory {a.memory_bytes / 2**30:.1f} GiB, bandwidth {a.bandwidth_bytes_per_s / 1e9:,.0f} GB/s ({a.source})")
    rates = ", ".join(f"{kind} {number(rate / 1e12)}" for kind, rate in a.flops_per_s.items())
    print(f"TFLOP/s: {rates or 'not known'}")
    limits = [
        f"driver {found.driver}" if found.driver else "",
        f"power limit {found.power_limit_watts:g} W" if found.power_limit_watts else "",
        f"SM clock up to {found.max_sm_clock_mhz:g} MHz" if found.max_sm_clock_mhz else "",
        f"memory clock up to {found.max_memory_clock_mhz:g} MHz" if found.max_memory_clock_mhz else "",
    ]
    if any(limits):
        print(", ".join(word for word in limits if word))
    for ceiling in found.ceilings:
        unit = "GB/s" if ceiling.unit == "bytes/s" else f"G{ceiling.unit}"
        print(f"measured {ceiling.name}: {ceiling.value / 1e9:,.1f} {unit} ({ceiling.how})")
    for name, value in found.host.items():
        print(f"{name}: {value}")
    print()
    rows = [["yes" if c.available else "no", c.name, c.reason] for c in found.capabilities]
    terminal.table(["Can", "Feature", "Why"], rows)


def plan(
    workload: options.WorkloadName,
    engine: options.Engine = "simulated",
    gpu: options.Gpu = None,
    model: options.Model = None,
    engine_version: options.EngineVersion = None,
    flags: options.Flags = None,
    url: options.Url = None,
    vllm_python: options.VllmPython = None,
    playbook: options.Playbook = None,
    candidates: options.Own = None,
    calibration: options.Calibration = None,
    as_json: options.Json = False,
) -> None:
    """Show what would be tried, and why: dry and quick, no server is started.

    [bold]Examples[/bold]

      rooftune plan chat-medium
      rooftune plan chat-medium --gpu L4 --model llama-3.1-8b --engine-version 0.32.0 --set max_num_seqs=64
    """
    from flows.inputs.targets import target_of, workload_with
    from rooftune.hardware.probe import probe as look
    from rooftune.tuning.playbook import build_plan, default_playbook, load_playbook, with_candidates
    from rooftune.vllm_rules.capabilities import with_capabilities

    spec = workload_with(workload)
    named = {"engine": engine, "gpu": gpu, "model": model, "engine_version": engine_version, "flags": flags}
    target = asyncio.run(target_of(**named, url=url, vllm_python=vllm_python, calibration=calibration))
    book = with_candidates(
        load_playbook(playbook) if playbook else default_playbook(), candidates or [], target.engine_version
    )
    hardware = look(
        engine=target.engine,
        gpu=target.gpu,
        engine_version=target.engine_version,
        vllm_python=vllm_python,
        measure=False,
    )
    found = build_plan(spec, target, with_capabilities(hardware), _facts(target), book)
    if as_json:
        terminal.print_json(found.model_dump(mode="json"))
    else:
        show_plan(found)


def _facts(target: Target) -> Any:
    from rooftune.errors import RooftuneError
    from rooftune.models.catalogue import model_facts

    quantization = target.flags.get("quantization")
    try:
        return model_facts(target.model, quantization=str(quantization) if quantization else None)
    except RooftuneError:
        return None


def show_plan(found: Plan) -> None:
    """The plan as a table, with the baseline's command line."""
    where = f"{found.target.gpu or 'this machine'}{' (simulated)' if found.target.simulated else ''}"
    print(f"Plan for {found.workload} on {where}, {found.target.model}, vLLM {found.target.engine_version}")
    if found.target.calibration is not None:
        used = found.target.calibration
        print(f"predictions calibrated with {used.path} (sha256 {used.sha256[:12]})")
    print(f"objective: {found.objective.metric}, {found.objective.direction} is better\n")
    print(f"baseline: {found.candidate('baseline').command}\n")
    rows = []
    for c in found.candidates:
        gate = next((g for g in c.gates if g.verdict not in ("open", "trap")), None)
        state = gate.verdict if gate else "to measure"
        told = gate.reason if gate else (c.expected.sentence if c.expected else c.hypothesis)
        rows.append([c.phase, c.id, _change(c.change), state, told])
    terminal.table(["Phase", "Candidate", "Change", "State", "Expected, or why not"], rows)


def _change(change: dict[str, Any]) -> str:
    from rooftune.tuning.configuration import describe

    return describe(change) if change else "–"


def optimize(
    workload: options.WorkloadName,
    engine: options.Engine = "simulated",
    gpu: options.Gpu = None,
    model: options.Model = None,
    engine_version: options.EngineVersion = None,
    flags: options.Flags = None,
    url: options.Url = None,
    vllm_python: options.VllmPython = None,
    budget: options.Budget = None,
    playbook: options.Playbook = None,
    candidates: options.Own = None,
    duration: options.Duration = None,
    warmup: options.Warmup = None,
    rate: options.Rate = None,
    seed: options.Seed = None,
    time_scale: options.TimeScale = None,
    client_processes: options.ClientProcesses = None,
    ready_timeout: options.ReadyTimeout = None,
    calibration: options.Calibration = None,
    resume: options.Resume = None,
    artifacts: options.Artifacts = options.ARTIFACTS,
    as_json: options.Json = False,
) -> None:
    """Find the configuration that serves a workload best: measure, decide, explain, write the start script.

    [bold]Examples[/bold]

      rooftune optimize chat-medium                       (a simulated T4, about six minutes)
      rooftune optimize chat-medium --gpu L4 --model llama-3.1-8b --budget 10m
      rooftune optimize chat-low --engine vllm --model ./my-model --candidate eager=enforce_eager=true
      rooftune optimize chat-medium --resume chat-medium/latest

    Needs nothing running: a Prefect server is started for the length of the run, on the same history as `make up`.
    """
    from flows.cli.optimize_run import run_optimize

    parameters = {
        "workload": workload,
        "engine": engine,
        "gpu": gpu,
        "model": model,
        "engine_version": engine_version,
        "flags": flags,
        "url": url,
        "vllm_python": vllm_python,
        "budget": budget,
        "playbook": str(playbook) if playbook else None,
        "candidates": candidates,
        "duration_s": duration,
        "warmup_s": warmup,
        "rate_per_s": rate,
        "seed": seed,
        "time_scale": time_scale,
        "client_processes": client_processes,
        "ready_timeout_s": ready_timeout,
        "artifacts": str(artifacts),
        "calibration": calibration,
        "resume": resume,
    }
    outcome = run_optimize(parameters, show=not as_json)
    _show_outcome(Path(outcome.run), outcome, as_json)


def _show_outcome(run: Path, outcome: Any, as_json: bool) -> None:
    from rooftune.files import read_json

    decision = read_json(run / "decision.json")
    if as_json:
        terminal.print_json({**outcome.model_dump(), **decision})
        return
    rows = [[v["phase"], v["candidate"], v["verdict"], _ratio(v), v["reason"]] for v in decision["verdicts"]]
    terminal.table(["Phase", "Candidate", "Verdict", "Against the incumbent", "Why"], rows)
    print(f"\n{outcome.first_sentence}\n\nRecommended: {outcome.incumbent}\n{outcome.command}\n")
    print(f"Report: {run / 'report.md'} (and report.html, start_vllm.sh beside it)")


def _ratio(verdict: dict[str, Any]) -> str:
    found = verdict["ratios"].get(verdict["metric"])
    if not found:
        return ""
    low, middle, high = (100 * (found[k] - 1) for k in ("low", "estimate", "high"))
    return f"{middle:+.1f} % ({low:+.1f} to {high:+.1f})"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    panel = "Measure and tune"
    for command in (probe, plan, optimize):
        app.command(rich_help_panel=panel)(command)
