"""``rooftune explain``: what a knob of the engine does, what it may cost, and which values are tried."""

from __future__ import annotations

from typing import Annotated

from typer import Argument, Option

from flows.cli import terminal
from flows.inputs import options

KnobName = Annotated[
    str | None, Argument(metavar="[KNOB]", help="A knob or a vLLM flag, for example weights or max_num_seqs.")
]
Workload = Annotated[str | None, Option("--workload", help="With --gpu: the workload that the values are for.")]


def explain(
    knob: KnobName = None,
    gpu: options.Gpu = None,
    model: options.Model = None,
    engine_version: options.EngineVersion = None,
    workload: Workload = None,
    as_json: options.Json = False,
) -> None:
    """Explain a knob: what it relieves, needs and excludes, its traps and sources. Without KNOB, list all knobs.

    [bold]Examples[/bold]

      rooftune explain

      rooftune explain kv_cache_dtype --gpu T4 --model llama-3.1-8b --engine-version 0.32.0
    """
    from rooftune.errors import InputError
    from rooftune.knobs import entry, explanation

    asked = [value for value in (model, engine_version, workload) if value is not None]
    if asked and gpu is None:
        raise InputError(
            "--model, --engine-version and --workload say what the values are for; name the GPU with --gpu."
        )
    if knob is None:
        _list_all(explanation.HEADS, explanation.overview(), as_json=as_json)
        return
    found = entry.knob(knob)
    here = None
    if gpu is not None:
        context = explanation.context_of(
            gpu,
            model or explanation.REFERENCE_MODEL,
            workload or explanation.REFERENCE_WORKLOAD,
            engine_version or explanation.REFERENCE_VERSION,
        )
        here = explanation.values_here(found, context)
    if as_json:
        terminal.print_json({**found.model_dump(mode="json"), "here": here.model_dump(mode="json") if here else None})
        return
    terminal.markdown(explanation.text(found))
    if here is not None:
        terminal.markdown(explanation.here_text(here))


def _list_all(heads: list[str], rows: list[list[str]], *, as_json: bool) -> None:
    if as_json:
        keys = ["name", "relieves", "changes_outputs", "state"]
        terminal.print_json({"knobs": [dict(zip(keys, row, strict=True)) for row in rows]})
        return
    terminal.table(heads, rows)
    print("\nrooftune explain KNOB says more about one of them.")
