"""``predict``, ``steptime``, ``simulate``, ``calibrate``: the emulated engine, without Prefect."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli import options, terminal
from rooftune.formatting import number, rate

if TYPE_CHECKING:
    from rooftune.engines.target import CalibrationFile

SHOWN = (
    ("output_throughput", "Output throughput", "tokens/s"),
    ("request_throughput", "Requests completed", "requests/s"),
    ("request_goodput", "Within the SLO", "requests/s"),
    ("median_ttft_ms", "TTFT p50", "ms"),
    ("p99_ttft_ms", "TTFT p99", "ms"),
    ("median_tpot_ms", "TPOT p50", "ms"),
    ("p99_tpot_ms", "TPOT p99", "ms"),
    ("median_itl_ms", "ITL p50", "ms"),
    ("median_e2el_ms", "E2EL p50", "ms"),
    ("p99_e2el_ms", "E2EL p99", "ms"),
)


def predict(
    workload: options.WorkloadName,
    gpu: options.Gpu = None,
    model: options.Model = None,
    engine_version: options.EngineVersion = None,
    flags: options.Flags = None,
    calibration: options.Calibration = None,
    sweep: Annotated[
        str | None,
        typer.Option(
            "--sweep",
            metavar="FLAG=VALUES",
            help="Vary one flag: max_num_seqs=8,16,32 or max_num_seqs=1:256 (doubling steps and their halves).",
        ),
    ] = None,
    figure: Annotated[
        Path | None, typer.Option("--figure", help="With --sweep: draw throughput against TPOT into this PNG.")
    ] = None,
    duration: options.Duration = None,
    warmup: options.Warmup = None,
    rate: options.Rate = None,
    seed: options.Seed = None,
    as_json: options.Json = False,
) -> None:
    """Foresee the metrics of a workload in virtual time: no server, well under a second.

    [bold]Examples[/bold]

      rooftune predict chat-medium
      rooftune predict chat-medium --gpu L4 --model llama-3.1-8b --set max_num_seqs=64
      rooftune predict chat-medium --gpu T4 --model llama-2-7b --engine-version 0.15.1 \\
          --set quantization=awq --set enforce_eager=true --sweep max_num_seqs=1:256

    Every figure is simulated; the error that was found for such a case is printed with it.
    """
    from flows.inputs.targets import named_server, workload_with
    from rooftune.simulator.fastpath import compilation as compiled

    compiled.announce = terminal.note
    load = workload_with(workload, duration_s=duration, warmup_s=warmup, rate_per_s=rate, seed=seed)
    server = named_server(gpu, model, engine_version, flags)
    used = _calibration(calibration, server[0])
    if sweep is not None:
        from flows.cli.predict_sweep import swept

        swept(load, server, sweep, figure, as_json, used)
        return
    from rooftune.simulator.calibration.files import opened
    from rooftune.simulator.virtual.predict import predict as foresee

    found = foresee(
        load,
        gpu=server[0],
        model=server[1],
        engine_version=server[2],
        flags=server[3],
        seed=seed,
        calibration=opened(used),
    )
    about = _about(load.name, server, used)
    if as_json:
        terminal.print_json({**found.metrics, **about, **_rest(found)})
        return
    print(_heading(about))
    rows = [[words, number(found.metrics.get(name)), unit] for name, words, unit in SHOWN]
    terminal.table(["Metric", "Predicted", ""], [r for r in rows if r[1] != "–"], right=(1,))
    for line in _sentences(found):
        print(line)


def _calibration(named: str | None, gpu: str) -> CalibrationFile | None:
    """The calibration to use; which one is printed on standard error."""
    from flows.inputs.calibrations import chosen, sentence

    used = chosen(named, gpu)
    if used is not None:
        terminal.note(sentence(used, named))
    return used


def _about(
    workload: str, server: tuple[str, str, str, dict[str, Any]], calibration: CalibrationFile | None
) -> dict[str, Any]:
    gpu, model, version, flags = server
    return {
        "workload": workload,
        "gpu": gpu,
        "model": model,
        "engine_version": version,
        "flags": flags,
        "simulated": True,
        "calibration": calibration.model_dump() if calibration else None,
    }


def _rest(found: Any) -> dict[str, Any]:
    """What a prediction tells besides its metrics."""
    names = ("bottleneck", "kv_cache_tokens", "served_rate_per_s", "overloaded", "error_band", "withheld", "notes")
    rest = {n: getattr(found, n) for n in names if hasattr(found, n)}
    return {k: v for k, v in rest.items() if k not in found.metrics}


def _heading(about: dict[str, Any]) -> str:
    flags = " ".join(f"{k}={v}" for k, v in about["flags"].items()) or "none"
    return f"{about['workload']} on a simulated {about['gpu']}, {about['model']}, vLLM {about['engine_version']}\nflags: {flags}\n"


def _sentences(found: Any) -> list[str]:
    lines = []
    if found.overloaded:
        served = f"; it serves about {rate(found.served_rate_per_s, 'request')}" if found.served_rate_per_s else ""
        lines.append(f"Overloaded: the queue grows for as long as the load lasts{served}.")
    lines.append(f"Bottleneck: {found.bottleneck}.")
    lines.append(f"KV cache: {found.kv_cache_tokens:,} tokens.")
    if isinstance(found.error_band, (int, float)):
        lines.append(f"Simulated: on cases like this one the error was within {100 * found.error_band:.0f} %.")
    elif found.error_band:
        lines.append(f"Simulated: {found.error_band}.")
    return [*lines, *(f"Note: {note}." for note in found.notes)]


def steptime(
    gpu: options.Gpu = None,
    model: options.Model = None,
    quantization: Annotated[
        str | None,
        typer.Option("--quantization", help="awq, awq_marlin, gptq, fp8, int8 ...; like --set quantization=."),
    ] = None,
    engine_version: options.EngineVersion = None,
    flags: options.Flags = None,
    calibration: options.Calibration = None,
    batch: Annotated[str, typer.Option("--batch", help="Decoding sequences, separated by commas.")] = "1,8,32,64,128",
    context: Annotated[
        str, typer.Option("--context", help="Tokens of context of each sequence, separated by commas.")
    ] = "512",
    prefill: Annotated[
        str, typer.Option("--prefill", help="Prompt lengths whose prefill to time, separated by commas.")
    ] = "",
    as_json: options.Json = False,
) -> None:
    """How long one engine step takes, by batch and context, and what bounds it.

    [bold]Examples[/bold]

      rooftune steptime --gpu L4 --model llama-3-8b --quantization awq --batch 1,8,64 --context 512
      rooftune steptime --gpu T4 --model llama-2-7b --engine-version 0.15.1 --quantization awq --prefill 256,1024
    """
    from flows.inputs.targets import named_server
    from rooftune.simulator.calibration.files import opened
    from rooftune.simulator.steptime.table import steptime_table

    wanted = [*(flags or []), *([f"quantization={quantization}"] if quantization else [])]
    server = named_server(gpu, model, engine_version, wanted)
    used = _calibration(calibration, server[0])
    found = steptime_table(
        gpu=server[0],
        model=server[1],
        engine_version=server[2],
        flags=server[3],
        batches=_numbers(batch, "--batch"),
        contexts=_numbers(context, "--context"),
        prefills=_numbers(prefill, "--prefill") if prefill else [],
        calibration=opened(used),
    )
    if as_json:
        terminal.print_json({**found, "calibration": used.model_dump() if used else None})
        return
    print(_heading({**_about("one step", server, used)}))
    rows = [
        [
            f"{r['batch']}",
            f"{r['context']:,}",
            number(r["step_ms"], 4),
            r["bound"],
            number(r["intensity_flop_per_byte"]),
        ]
        for r in found["decode"]
    ]
    terminal.table(["Batch", "Context", "Step ms", "Bound by", "FLOP/byte"], rows, right=(0, 1, 2, 4))
    if found.get("prefill"):
        rows = [[f"{r['tokens']:,}", number(r["ms"])] for r in found["prefill"]]
        terminal.table(["Prefill tokens", "ms"], rows, right=(0, 1))
    for line in found["notes"]:
        print(f"Mind: {line}.")


def _numbers(text: str, option: str) -> list[int]:
    from rooftune.errors import InputError

    try:
        found = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        found = []
    if not found or min(found) < 1:
        raise InputError(f"{option} {text!r}: give whole numbers from 1, separated by commas, for example 1,8,64.")
    return found


def simulate(
    gpu: options.Gpu = None,
    model: options.Model = None,
    engine_version: options.EngineVersion = None,
    flags: options.Flags = None,
    calibration: options.Calibration = None,
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port to listen on.")] = 8000,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    served_model_name: Annotated[
        str | None, typer.Option("--served-model-name", help="Name that requests give. [default: the model]")
    ] = None,
    time_scale: Annotated[
        float, typer.Option("--time-scale", min=1.0, max=100.0, help="Run its clock this much faster.")
    ] = 1.0,
    noise: Annotated[float, typer.Option("--noise", min=0.0, max=1.0, help="Relative noise of a step's time.")] = 0.01,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the noise.")] = 0,
    as_json: options.Json = False,
) -> int:
    """Serve the emulated engine over HTTP, with vLLM's API, metrics and log lines, until Ctrl-C.

    [bold]Examples[/bold]

      rooftune simulate --gpu T4 --model llama-2-7b --port 8000
      rooftune simulate --gpu L4 --model qwen2.5-7b --set max_num_seqs=64 --time-scale 10
      curl http://127.0.0.1:8000/metrics

    With --json one line is printed on standard output once it serves; the log goes to standard error.
    """
    from flows.inputs.targets import named_server
    from rooftune.engines.launch_spec import choose_port
    from rooftune.simulator.front.__main__ import main

    name, of, version, flags = named_server(gpu, model, engine_version, flags)
    choose_port(port, host)
    words = ["--gpu", name, "--model", of, "--engine-version", version, "--host", host, "--port", str(port)]
    words += ["--time-scale", f"{time_scale:g}", "--noise", f"{noise:g}", "--seed", str(seed)]
    words += ["--served-model-name", served_model_name] if served_model_name else []
    used = _calibration(calibration, name)
    words += ["--calibration", used.path, "--calibration-sha256", used.sha256] if used else []
    words += [w for k, v in flags.items() for w in ("--set", f"{k}={_text(v)}")]
    if as_json:
        _announce(host, port, {"model": served_model_name or of, **_about("", (name, of, version, flags), used)})
    return main(words)


def _announce(host: str, port: int, about: dict[str, Any]) -> None:
    """Print one JSON line as soon as the server answers."""
    import json
    import os
    import sys
    import threading
    import time
    import urllib.request

    url = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"

    def wait() -> None:
        for _ in range(600):
            try:
                with urllib.request.urlopen(f"{url}/health", timeout=1) as answer:
                    if answer.status == 200:
                        break
            except OSError:
                time.sleep(0.1)
        del about["workload"]
        sys.stdout.write(json.dumps({"url": url, "pid": os.getpid(), **about}) + "\n")
        sys.stdout.flush()

    threading.Thread(target=wait, daemon=True).start()


def _text(value: Any) -> str:
    import json

    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value) if isinstance(value, dict) else str(value)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    panel = "Foresee (simulated, no server)"
    app.command(rich_help_panel=panel)(predict)
    app.command(rich_help_panel=panel)(steptime)
    app.command(rich_help_panel=panel)(simulate)
