"""``calibrate``: fit the emulated engine to one's own, without Prefect."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli import options, terminal
from rooftune.formatting import number

if TYPE_CHECKING:
    from rooftune.engines.server import ServerInfo
    from rooftune.engines.target import Target
    from rooftune.simulator.calibration.fit import Calibrated, Observation, Served

MOST_ERROR = 0.25
"""Median error on the points held back from which on a fit is not kept."""

FromRuns = Annotated[
    list[str] | None,
    typer.Option(
        "--from",
        metavar="RUN",
        help="Fit to trials of this run, or of history, instead of measuring. May be repeated.",
    ),
]
Output = Annotated[
    Path | None, typer.Option("--output", help="File to write. [default: in $ROOFTUNE_HOME/calibrations]")
]


def calibrate(
    url: Annotated[
        str | None, typer.Option("--url", help="Measure this server; without it one is started here (--engine).")
    ] = None,
    engine: Annotated[
        str, typer.Option("--engine", help="What to start: vllm, or simulated (to try it out).")
    ] = "vllm",
    gpu: options.Gpu = None,
    model: options.Model = None,
    engine_version: options.EngineVersion = None,
    flags: options.Flags = None,
    vllm_python: options.VllmPython = None,
    runs: FromRuns = None,
    output: Output = None,
    repeats: Annotated[
        int, typer.Option("--repeats", min=1, max=20, help="Measurements of each point; the median counts.")
    ] = 3,
    as_json: options.Json = False,
) -> None:
    """Fit the step-time model to an engine: a sweep of batches, contexts and prompts of about a minute.

    [bold]Examples[/bold]

      rooftune calibrate --url http://127.0.0.1:8000 --gpu L40S --model llama-3.1-8b
      rooftune calibrate --model path/to/model --set max_num_seqs=64
      rooftune calibrate --from chat-medium/latest --output l40s.yaml

    The server must be idle. Afterwards predict, steptime and simulate use the file by themselves for that accelerator;
    --calibration FILE names another, --calibration none leaves it out. The error is printed on points that the fit has not seen.
    """
    from flows.inputs.calibrations import folder
    from rooftune.simulator.calibration.files import save
    from rooftune.simulator.calibration.fit import calibrate as fitted

    if runs:
        from flows.cli.calibration_trials import from_runs

        served, observed = from_runs(runs, gpu=gpu, model=model, engine_version=engine_version, flags=flags)
    else:
        wanted = {
            "gpu": gpu,
            "model": model,
            "engine_version": engine_version,
            "flags": flags,
            "vllm_python": vllm_python,
        }
        served, observed = asyncio.run(_measured("endpoint" if url else engine, url, repeats, as_json, wanted))
    found = fitted(served, observed)
    c = found.calibration
    if c.error_after > MOST_ERROR:
        _refuse(served, c.error_after, told=bool(url))
    path = output or folder() / f"{_word(c.gpu)}-{c.kernel}-{_word(c.engine.removeprefix('vLLM '))}.yaml"
    save(c, path)
    if as_json:
        terminal.print_json({**c.model_dump(), "file": str(path), "rows": _rows(found, every=True)})
        return
    _show(found, path)


def _refuse(served: Served, error: float, *, told: bool) -> None:
    from rooftune.errors import RooftuneError

    r = served.resolved()
    taken = f"{r.kernel} kernels, {'CUDA graphs' if r.cuda_graphs else 'no CUDA graphs'}, max_num_seqs={r.max_num_seqs}"
    way_out = "give the server's flags with --set (enforce_eager=true, quantization, max_num_seqs), for it does not tell them all"
    raise RooftuneError(
        f"the model does not fit these measurements: after the fit the points held back are still off by {error:.0%} (median), with "
        f"{taken} taken as given; {way_out if told else 'was the machine busy with something else?'}. Nothing was written."
    )


async def _measured(
    engine: str, url: str | None, repeats: int, quiet: bool, wanted: dict[str, Any]
) -> tuple[Served, Sequence[Observation]]:
    from flows.inputs.targets import target_of
    from rooftune.engines.launch import connect, start, stop
    from rooftune.errors import InputError
    from rooftune.runfolder import TrialFolder
    from rooftune.vllm_rules.config import EngineConfig

    named = wanted["model"]
    if engine == "endpoint":
        wanted = {**wanted, "model": None}
    elif engine not in ("vllm", "simulated"):
        raise InputError(f"--engine is vllm or simulated, not {engine!r}; for a server that runs already, give --url.")
    say = (lambda _text: None) if quiet else terminal.note
    target = await target_of(engine=engine, url=url, **wanted)
    if engine == "endpoint" and target.gpu is None:
        raise InputError(
            "name the accelerator of that server with --gpu, for example --gpu L40S; the fit is kept for it."
        )
    config = EngineConfig(model=target.model).with_change(target.flags)
    with tempfile.TemporaryDirectory(prefix="rooftune-") as scratch:
        if engine == "endpoint":
            server = await connect(target)
        else:
            server = await start(
                target.model_copy(update={"time_scale": 1.0}), config, TrialFolder(Path(scratch)), say=say
            )
        try:
            served = _served(target, config, server, named)
            return served, await _sweep(served, server, repeats, say)
        finally:
            await stop(server)


def _served(target: Target, config: Any, server: ServerInfo, named: str | None) -> Served:
    from rooftune.hardware.named import accelerator
    from rooftune.hardware.probe import present
    from rooftune.models.catalogue import model_facts
    from rooftune.simulator.calibration.fit import Served

    told = server.effective
    known = {
        "max_num_seqs": told.max_num_seqs,
        "max_num_batched_tokens": told.max_num_batched_tokens,
        "max_model_len": told.max_model_len,
        "enforce_eager": True if told.enforce_eager else None,
    }
    unset = {k: v for k, v in known.items() if v is not None and getattr(config, k) is None}
    config = config.with_change(unset)
    quantization = config.quantization or told.quantization
    facts = model_facts(named or target.model, quantization=quantization if named or config.quantization else None)
    here = target.gpu is None or target.gpu.lower() == "cpu"
    return Served(
        present() if here else accelerator(target.gpu or ""),
        facts,
        config,
        told.engine_version or target.engine_version,
    )


async def _sweep(served: Served, server: ServerInfo, repeats: int, say: Any) -> Sequence[Observation]:
    from rooftune.simulator.calibration.measure import grid_for, measure
    from rooftune.vllm_rules.memory import kv_cache_tokens

    r = served.resolved()
    tokens = server.effective.kv_cache_tokens or kv_cache_tokens(served.gpu, served.facts, r)
    length = server.effective.max_model_len or r.max_model_len
    vocabulary = min(server.vocab_size or served.facts.vocab_size, served.facts.vocab_size)
    sweep = grid_for(r.max_num_seqs, length, tokens, repeats)
    return await measure(server.url, server.model, vocabulary, sweep, tokens, time_scale=server.time_scale, say=say)


def _word(text: str) -> str:
    return "".join(ch if ch.isalnum() or ch in ".-" else "-" for ch in text.lower())


def _rows(found: Calibrated, every: bool = False) -> list[dict[str, Any]]:
    chosen = [r for r in found.rows if every or r.held_back]
    return [
        {
            "kind": r.observation.kind, "batch": r.observation.batch, "context": r.observation.context, "held_back": r.held_back,
            "measured_ms": 1000 * r.observation.seconds, "before_ms": 1000 * r.before_s, "after_ms": 1000 * r.after_s,
            "error_before": r.error(r.before_s), "error_after": r.error(r.after_s),
        }
        for r in chosen
    ]  # fmt: skip


def _show(found: Calibrated, path: Path) -> None:
    c = found.calibration
    print(
        f"{c.engine}, {c.model} on {c.gpu}{f' ({c.accelerator_notes})' if c.accelerator_notes else ''}: {c.points} points\n"
    )
    rows = [
        [
            "a step" if r["kind"] == "decode" else "a prompt", number(r["batch"]), number(r["context"]),
            number(r["measured_ms"]), f"{r['error_before']:+.0%}", f"{r['error_after']:+.0%}",
        ]
        for r in _rows(found)
    ]  # fmt: skip
    terminal.table(
        ["Held back", "Batch", "Tokens", "Measured ms", "Error before", "Error after"], rows, right=(1, 2, 3, 4, 5)
    )
    print(
        f"Median error on the {c.held_back} points held back: {c.error_before:.1%} before, {c.error_after:.1%} after."
    )
    print(f"Written: {path}\nFrom now on predictions for {c.gpu} use it; --calibration none leaves it out.")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Foresee (simulated, no server)")(calibrate)
