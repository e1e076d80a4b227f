"""``rooftune steptime``: how long one engine step takes, and what bounds it."""

from __future__ import annotations

from typing import Annotated, Any

from typer import Option

from flows.cli import terminal
from flows.cli.emulated import chosen_server, description, heading
from flows.inputs import options
from flows.inputs.flat import flat_command
from flows.inputs.parameters import ServerOptions
from rooftune.formatting import number

Quantization = Annotated[
    str | None, Option("--quantization", help="awq, awq_marlin, gptq, fp8, int8 ...; short for --set quantization=.")
]
Batch = Annotated[str, Option("--batch", help="Numbers of decoding sequences, separated by commas.")]
Context = Annotated[str, Option("--context", help="Context of each sequence in tokens, separated by commas.")]
Prefill = Annotated[str, Option("--prefill", help="Prompt lengths whose prefill to time, separated by commas.")]


@flat_command
def steptime(
    server: ServerOptions,
    quantization: Quantization = None,
    batch: Batch = "1,8,32,64,128",
    context: Context = "512",
    prefill: Prefill = "",
    as_json: options.Json = False,
) -> None:
    """Show how long one engine step takes by batch and context, and what bounds it.

    [bold]Examples[/bold]

      rooftune steptime --gpu L4 --model llama-3-8b --quantization awq --batch 1,8,64 --context 512
      rooftune steptime --gpu T4 --model llama-2-7b --engine-version 0.15.1 --quantization awq --prefill 256,1024
    """
    from rooftune.simulator.calibration.files import opened
    from rooftune.simulator.steptime.table import steptime_table

    chosen = chosen_server(server, [f"quantization={quantization}"] if quantization else [])
    found = steptime_table(
        gpu=chosen.gpu,
        model=chosen.model,
        engine_version=chosen.engine_version,
        flags=chosen.flags,
        batches=_numbers(batch, "--batch"),
        contexts=_numbers(context, "--context"),
        prefills=_numbers(prefill, "--prefill") if prefill else [],
        calibration=opened(chosen.calibration),
    )
    if as_json:
        terminal.print_json({**found, "calibration": description(chosen)["calibration"]})
        return
    print(heading("One step", chosen))
    _show(found)


def _show(found: dict[str, Any]) -> None:
    heads = ["Batch", "Context", "Step ms", "Bound by", "FLOP/byte"]
    terminal.table(heads, [_cells(step) for step in found["decode"]], right=(0, 1, 2, 4))
    if found["prefill"]:
        rows = [[f"{r['tokens']:,}", number(r["ms"])] for r in found["prefill"]]
        terminal.table(["Prefill tokens", "ms"], rows, right=(0, 1))
    for line in found["notes"]:
        print(f"Note: {line}.")


def _cells(step: dict[str, Any]) -> list[str]:
    return [
        f"{step['batch']}",
        f"{step['context']:,}",
        number(step["step_ms"], 4),
        step["bound"],
        number(step["intensity_flop_per_byte"]),
    ]


def _numbers(text: str, option: str) -> list[int]:
    from rooftune.errors import InputError

    try:
        found = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        found = []
    if not found or min(found) < 1:
        raise InputError(f"{option} {text!r}: give whole numbers from 1, separated by commas, for example 1,8,64.")
    return found
