"""``rooftune calibrate``: fit the emulated engine to a real one, without Prefect."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from flows.cli import terminal
from flows.inputs import options
from rooftune.formatting import number

if TYPE_CHECKING:
    from flows.inputs.calibration_trials import Measured
    from flows.inputs.parameters import TargetOptions
    from rooftune.engines.server import ServerInfo
    from rooftune.engines.target import Target
    from rooftune.simulator.calibration.fit import Calibrated, Observation, ServedTrial
    from rooftune.vllm_rules.config import EngineConfig
    from tasks.run_lines import Interval

MOST_ERROR = 0.25
"""A fit whose median error on the held-out points is above this is not kept."""

FromRuns = Annotated[
    list[str] | None,
    Option("--from", metavar="RUN", help="Fit to trials of this run, or of history, instead of measuring. Repeatable."),
]
Output = Annotated[Path | None, Option("--output", help="File to write. Default: in $ROOFTUNE_HOME/calibrations.")]
Url = Annotated[str | None, Option("--url", help="Measure this server. Default: start one, see --engine.")]
Engine = Annotated[str, Option("--engine", help="What to start: vllm, or simulated (to try the command out).")]
Repeats = Annotated[
    int,
    Option(
        "--repeats",
        min=1,
        max=20,
        help="Rounds over all points, of which the median is used. An even number cancels a steady drift.",
    ),
]


def calibrate(
    url: Url = None,
    engine: Engine = "vllm",
    gpu: options.Gpu = None,
    model: options.Model = None,
    engine_version: options.EngineVersion = None,
    flags: options.Flags = None,
    vllm_python: options.VllmPython = None,
    runs: FromRuns = None,
    output: Output = None,
    repeats: Repeats = 4,
    as_json: options.Json = False,
) -> None:
    """Fit the step-time model to an engine, by a sweep of batches, contexts and prompts of about a minute.

    [bold]Examples[/bold]

      rooftune calibrate --url http://127.0.0.1:8000 --gpu L40S --model llama-3.1-8b
      rooftune calibrate --model path/to/model --set max_num_seqs=64
      rooftune calibrate --from chat-medium/latest --output l40s.yaml

    The server must be idle. The error is printed for points that were held out of the fit. From then on,
    predictions and simulations for this accelerator use the file. --calibration FILE names another one,
    --calibration none uses none.
    """
    from flows.inputs.calibration_trials import from_runs
    from flows.inputs.calibrations import folder
    from flows.inputs.parameters import TargetOptions
    from rooftune.simulator.calibration.files import save
    from rooftune.simulator.calibration.fit import calibrate as fitted

    if runs:
        with terminal.busy(f"Reading the trials of {', '.join(runs)}"):
            measured = from_runs(runs, gpu=gpu, model=model, engine_version=engine_version, flags=flags)
    else:
        kind: Any = "endpoint" if url else engine
        asked = TargetOptions(gpu, model, engine_version, flags, engine=kind, url=url, vllm_python=vllm_python)
        measured = asyncio.run(_measured(asked, repeats, terminal.note))
    with terminal.busy(f"Fitting the step times to {len(measured.points)} points"):
        found = fitted(measured.server, measured.points)
    c = found.calibration
    if c.error_after > MOST_ERROR:
        _refuse(measured.server, c.error_after, remote=bool(url))
    path = output or folder() / f"{_word(c.gpu)}-{c.kernel}-{_word(c.engine.removeprefix('vLLM '))}.yaml"
    save(c, path)
    if as_json:
        terminal.print_json({**c.model_dump(), "file": str(path), "rows": _rows(found, every=True)})
        return
    _show(found, path)


def _refuse(served: ServedTrial, error: float, *, remote: bool) -> None:
    from rooftune.errors import RooftuneError

    r = served.resolved()
    graphs = "CUDA graphs" if r.cuda_graphs else "no CUDA graphs"
    way_out = (
        "the server does not report all of its flags, so name them with --set (enforce_eager=true, quantization, "
        "max_num_seqs)"
        if remote
        else "check that nothing else uses the machine, and try again"
    )
    raise RooftuneError(
        f"the model does not fit these measurements: after the fit, the median error on the held-out points is still "
        f"{error:.0%}. Assumed: {r.kernel} kernels, {graphs}, max_num_seqs={r.max_num_seqs}. Nothing was written; "
        f"{way_out}."
    )


async def _measured(asked: TargetOptions, repeats: int, say: Callable[[str], None]) -> Measured:
    """Start or find the server, and measure the points."""
    from dataclasses import replace

    from flows.inputs.calibration_trials import Measured
    from flows.inputs.targets import resolve_target
    from rooftune.engines.launch import connect, start, stop
    from rooftune.errors import InputError
    from rooftune.runfolder import TrialFolder
    from rooftune.vllm_rules.config import EngineConfig
    from tasks.run_lines import Interval

    endpoint = asked.engine == "endpoint"
    if asked.engine not in ("vllm", "simulated") and not asked.url:
        raise InputError(f"--engine is vllm or simulated, not {asked.engine!r}; for a running server, give --url.")
    target = await resolve_target(replace(asked, model=None) if endpoint else asked)
    if endpoint and target.gpu is None:
        raise InputError(
            "name the accelerator of that server with --gpu, for example --gpu L40S; the fit is kept for it."
        )
    config = EngineConfig(model=target.model).with_change(target.flags)
    with tempfile.TemporaryDirectory(prefix="rooftune-") as scratch:
        if endpoint:
            server = await connect(target)
        else:
            real_time = target.model_copy(update={"time_scale": 1.0})
            starting = Interval()
            server = await start(
                real_time, config, TrialFolder(Path(scratch)), say=lambda line: _starts(line, starting, say)
            )
        try:
            served = _served(target, config, server, asked.model)
            return Measured(served, await _sweep(served, server, repeats, say))
        finally:
            await stop(server)


def _starts(line: str, interval: Interval, say: Callable[[str], None]) -> None:
    """The last line of the server's log, now and then."""
    if interval.due():
        say(f"the server starts: {line[:200]}")


def _served(target: Target, config: EngineConfig, server: ServerInfo, named: str | None) -> ServedTrial:
    from rooftune.hardware.named import accelerator
    from rooftune.hardware.probe import present
    from rooftune.models.catalogue import model_facts
    from rooftune.simulator.calibration.fit import ServedTrial

    effective = server.effective
    known = {
        "max_num_seqs": effective.max_num_seqs,
        "max_num_batched_tokens": effective.max_num_batched_tokens,
        "max_model_len": effective.max_model_len,
        "enforce_eager": True if effective.enforce_eager else None,
    }
    unset = {k: v for k, v in known.items() if v is not None and getattr(config, k) is None}
    config = config.with_change(unset)
    quantization = config.quantization or effective.quantization
    facts = model_facts(named or target.model, quantization=quantization if named or config.quantization else None)
    here = target.gpu is None or target.gpu.lower() == "cpu"
    return ServedTrial(
        present() if here else accelerator(target.gpu or ""),
        facts,
        config,
        effective.engine_version or target.engine_version,
    )


async def _sweep(
    served: ServedTrial, server: ServerInfo, repeats: int, say: Callable[[str], None]
) -> Sequence[Observation]:
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
            "kind": r.observation.kind, "batch": r.observation.batch, "context": r.observation.context,
            "held_back": r.held_back, "measured_ms": 1000 * r.observation.seconds, "before_ms": 1000 * r.before_s,
            "after_ms": 1000 * r.after_s, "error_before": r.error(r.before_s), "error_after": r.error(r.after_s),
        }
        for r in chosen
    ]  # fmt: skip


def _show(found: Calibrated, path: Path) -> None:
    c = found.calibration
    notes = f" ({c.accelerator_notes})" if c.accelerator_notes else ""
    print(f"{c.engine}, {c.model} on {c.gpu}{notes}: {c.points} points\n")
    rows = [
        [
            "one step" if r["kind"] == "decode" else "one prompt", number(r["batch"]), number(r["context"]),
            number(r["measured_ms"]), f"{r['error_before']:+.0%}", f"{r['error_after']:+.0%}",
        ]
        for r in _rows(found)
    ]  # fmt: skip
    terminal.table(
        ["Held out", "Batch", "Tokens", "Measured ms", "Error before", "Error after"], rows, right=(1, 2, 3, 4, 5)
    )
    print(f"Median error on the {c.held_back} held-out points: {c.error_before:.1%} before, {c.error_after:.1%} after.")
    print(f"Written: {path}\nPredictions for {c.gpu} now use it; --calibration none turns it off.")
