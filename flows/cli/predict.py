"""``rooftune predict``: the metrics of a workload in virtual time, without a server."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel
from typer import Option

from flows.cli import terminal
from flows.cli.emulated import chosen_server, description, heading
from flows.cli.metric_rows import metric_rows
from flows.inputs import options
from flows.inputs.flat import flat_command
from flows.inputs.parameters import ServerOptions, WorkloadOptions
from rooftune.formatting import number, rate

if TYPE_CHECKING:
    from flows.inputs.targets import EmulatedServer
    from rooftune.simulator.virtual.capacity import PredictedCapacity
    from rooftune.simulator.virtual.predict import Prediction
    from rooftune.workloads.spec import Workload

LIMITS = {"ttft_ms": "TTFT", "tpot_ms": "TPOT", "e2el_ms": "E2EL", "queue": "its queue"}

BESIDES_METRICS = (
    "bottleneck",
    "kv_cache_tokens",
    "memory",
    "context",
    "served_rate_per_s",
    "overloaded",
    "error_band",
    "error_bands",
    "unmodelled",
    "withheld",
    "notes",
)
Sweep = Annotated[
    str | None,
    Option(
        "--sweep",
        metavar="FLAG=VALUES",
        help="Vary one flag: max_num_seqs=8,16,32 or max_num_seqs=1:256 (doubling steps and their halves).",
    ),
]
Figure = Annotated[
    Path | None, Option("--figure", help="With --sweep: file for the figure of throughput against TPOT (PNG).")
]


@flat_command
def predict(
    workload: options.WorkloadName,
    server: ServerOptions,
    changes: WorkloadOptions,
    sweep: Sweep = None,
    figure: Figure = None,
    as_json: options.Json = False,
) -> None:
    """Predict the metrics of a workload in virtual time, in well under a second.

    [bold]Examples[/bold]

      rooftune predict chat-medium
      rooftune predict chat-medium --gpu L4 --model llama-3.1-8b --set max_num_seqs=64
      rooftune predict chat-medium --gpu T4 --model llama-2-7b --engine-version 0.15.1 \\
          --set quantization=awq --set enforce_eager=true --sweep max_num_seqs=1:256

    Every figure is simulated. The error that was found on similar cases is printed with it.
    """
    from flows.inputs.workloads import changed_workload
    from rooftune.simulator.calibration.files import opened
    from rooftune.simulator.fastpath import compilation
    from rooftune.simulator.virtual.predict import predict as predicted

    compilation.announce = terminal.note
    load, chosen = changed_workload(workload, changes), chosen_server(server)
    if sweep is not None:
        from flows.cli.predict_sweep import predict_sweep

        predict_sweep(load, chosen, sweep, figure, as_json)
        return
    found = predicted(
        load,
        gpu=chosen.gpu,
        model=chosen.model,
        engine_version=chosen.engine_version,
        flags=chosen.flags,
        seed=changes.seed,
        calibration=opened(chosen.calibration),
    )
    carries = _capacity(load, chosen)
    if as_json:
        about = {"workload": load.name, **description(chosen), **_rest(found)}
        terminal.print_json({**found.metrics, **about, "capacity": asdict(carries) if carries else None})
        return
    print(heading(load.name, chosen))
    terminal.table(["Metric", "Predicted", ""], metric_rows(found.metrics), right=(1,))
    for line in [*_capacity_sentence(carries), *_sentences(found)]:
        print(line)


def _capacity(load: Workload, server: EmulatedServer) -> PredictedCapacity | None:
    """The rate that the server carries within the SLO; None without an SLO or a rate to vary."""
    from rooftune.errors import InputError
    from rooftune.simulator.calibration.files import opened
    from rooftune.simulator.virtual.capacity import capacity, sample
    from rooftune.simulator.virtual.predict import engine_of

    try:
        drawn = sample(load)
    except InputError:
        return None
    engine = engine_of(
        server.gpu,
        server.model,
        server.engine_version,
        server.flags,
        calibration=opened(server.calibration),
        longest_request=drawn.plan.longest_request,
    )
    return capacity(engine, drawn)


def _capacity_sentence(found: PredictedCapacity | None) -> list[str]:
    if found is None:
        return []
    name = LIMITS[found.limited_by]
    if found.rate_per_s <= 0:
        times = number(found.ratio_at_low_load, 2)
        return [f"Capacity: none, because even a lone request takes {times} times its limit of {name} (simulated)."]
    carries = rate(found.rate_per_s, "request", 3)
    return [f"Capacity: it carries about {carries} within the SLO, limited by {name} (simulated)."]


def _rest(found: Prediction) -> dict[str, Any]:
    """What a prediction has besides its metrics."""
    values = {name: getattr(found, name) for name in BESIDES_METRICS if name not in found.metrics}
    return {k: v.model_dump(mode="json") if isinstance(v, BaseModel) else v for k, v in values.items()}


def _sentences(found: Prediction) -> list[str]:
    lines = []
    if found.overloaded:
        served = f" It serves about {rate(found.served_rate_per_s, 'request')}." if found.served_rate_per_s else ""
        lines.append(f"Overloaded: the queue grows until the load ends.{served}")
    lines.append(f"Bottleneck: {found.bottleneck}.")
    lines.append(f"KV cache: {found.kv_cache_tokens:,} tokens; {found.memory.sentence}.")
    if found.error_bands:
        names = {"throughput": "throughput", "tpot": "TPOT", "ttft": "TTFT"}
        parts = ", ".join(f"{names[q]} within {100 * band:.0f} %" for q, band in found.error_bands.items())
        lines.append(f"Simulated: of similar cases that the constants were not fitted to, 90 % had their {parts}.")
    elif found.error_band:
        lines.append(f"Simulated: {found.error_band}.")
    return [*lines, *(f"Note: {note}." for note in found.notes)]
