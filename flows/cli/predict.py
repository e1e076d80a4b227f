"""``rooftune predict``: the metrics of a workload in virtual time, without a server."""

from __future__ import annotations

import tempfile
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
from flows.inputs.parameters import ServerOptions, TextOptions, WorkloadOptions
from rooftune.capacity.units import amount, per_of, whole_users
from rooftune.formatting import number, rate

if TYPE_CHECKING:
    from flows.inputs.targets import EmulatedServer
    from rooftune.simulator.virtual.capacity import PredictedCapacity
    from rooftune.simulator.virtual.predict import EmulatedEngine, Prediction
    from rooftune.simulator.virtual.users import PredictedUsers
    from rooftune.speculation.acceptance import AcceptanceLike
    from rooftune.workloads.spec import Workload


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
ByStreams = Annotated[
    str | None,
    Option(
        "--by-streams",
        metavar="STREAMS",
        help="What speculative decoding gains against the load: 1,4,40 or 1:64 requests in flight.",
    ),
]
Figure = Annotated[
    Path | None, Option("--figure", help="With --sweep: file for the figure of throughput against TPOT (PNG).")
]


@flat_command
def predict(
    server: ServerOptions,
    changes: WorkloadOptions,
    texts: TextOptions,
    workload: options.TextWorkload = "",
    sweep: Sweep = None,
    figure: Figure = None,
    acceptance: options.Acceptance = None,
    by_streams: ByStreams = None,
    as_json: options.Json = False,
) -> None:
    """Predict the metrics of a workload in virtual time, without a server.

    [bold]Examples[/bold]

      rooftune predict chat-medium
      rooftune predict chat-medium --gpu L4 --model llama-3.1-8b --set max_num_seqs=64
      rooftune predict --prompts mine.jsonl --gpu L4 --model llama-3.1-8b --rate 4
      rooftune predict chat-medium --gpu T4 --model llama-2-7b --engine-version 0.15.1 \\
          --set quantization=awq --set enforce_eager=true --sweep max_num_seqs=1:256
      rooftune predict chat-medium --acceptance 0.8,0.6,0.4 --by-streams 1:64 \\
          --set speculative_config='{"method": "eagle3", "model": "head", "num_speculative_tokens": 3}'

    Every figure is simulated. The error that was found on similar cases is printed with it.
    """
    from flows.inputs.targets import emulated_for
    from flows.inputs.workloads import changed_workload
    from rooftune.engines.prompt_lengths import with_counted_lengths
    from rooftune.simulator.calibration.files import opened
    from rooftune.simulator.fastpath import compilation
    from rooftune.simulator.virtual.predict import predict as predicted

    compilation.announce = terminal.note
    load = changed_workload(workload, changes, prompts=texts.prompts)
    chosen = emulated_for(chosen_server(server), load)
    scratch = tempfile.TemporaryDirectory(prefix="rooftune-")
    load = with_counted_lengths(load, Path(scratch.name) / "prompt_lengths.json", chosen.model)
    drafts = _acceptance(acceptance, chosen)
    if by_streams is not None:
        from flows.cli.predict_sweep import predict_drafts

        predict_drafts(load, chosen, drafts, by_streams, as_json)
        return
    if sweep is not None:
        from flows.cli.predict_sweep import predict_sweep

        predict_sweep(load, chosen, sweep, drafts, figure, as_json)
        return
    with terminal.busy(f"Predicting {load.name}"):
        found = predicted(
            load,
            gpu=chosen.gpu,
            model=chosen.model,
            engine_version=chosen.engine_version,
            flags=chosen.flags,
            seed=changes.seed,
            acceptance=drafts,
            calibration=opened(chosen.calibration),
        )
        carries = _capacity(load, chosen, drafts)
    if as_json:
        about = {"workload": load.name, **description(chosen), **_rest(found)}
        terminal.print_json({**found.metrics, **about, "capacity": _as_json(carries)})
        return
    print(heading(load.name, chosen))
    terminal.table(["Metric", "Predicted", ""], metric_rows(found.metrics), right=(1,))
    for line in [*_capacity_sentence(carries), *_assumption(load), *_sentences(found)]:
        print(line)


def _acceptance(given: str | None, server: EmulatedServer) -> AcceptanceLike:
    from flows.inputs.drafts import acceptance_of
    from rooftune.speculation.acceptance import ASSUMED

    return ASSUMED if given is None else acceptance_of(given, server.config)


def _capacity(
    load: Workload, server: EmulatedServer, acceptance: AcceptanceLike
) -> PredictedCapacity | PredictedUsers | None:
    """What the server carries within the SLO: a rate, or users of a closed loop; None without an SLO or a rate to
    vary."""
    from rooftune.errors import InputError
    from rooftune.simulator.virtual.capacity import capacity, sample
    from rooftune.simulator.virtual.users import users_capacity, users_sample

    try:
        if per_of(load) == "users":
            users = users_sample(load)
            return users_capacity(_engine(server, users.plan(1).longest_request, acceptance), users)
        drawn = sample(load)
    except InputError:
        return None
    return capacity(_engine(server, drawn.plan.longest_request, acceptance), drawn)


def _engine(server: EmulatedServer, longest_request: int, acceptance: AcceptanceLike) -> EmulatedEngine:
    from rooftune.simulator.calibration.files import opened
    from rooftune.simulator.virtual.predict import engine_of

    return engine_of(
        server.gpu,
        server.model,
        server.engine_version,
        server.flags,
        acceptance,
        calibration=opened(server.calibration),
        longest_request=longest_request,
    )


def _as_json(found: PredictedCapacity | PredictedUsers | None) -> dict[str, Any] | None:
    if found is None:
        return None
    values = asdict(found)
    if "users" in values:
        return {"per": "users", **values, "users": whole_users(values["users"])}
    return {"per": "rate", **values}


def _assumption(load: Workload) -> list[str]:
    from rooftune.simulator.reasoning import ASSUMPTION

    return [ASSUMPTION] if load.slo.answer_ttft_ms is not None else []


def _capacity_sentence(found: PredictedCapacity | PredictedUsers | None) -> list[str]:
    from rooftune.capacity.sentences import NAMES
    from rooftune.simulator.virtual.users import PredictedUsers

    if found is None:
        return []
    name = NAMES.get(found.limited_by, "its queue")
    if isinstance(found, PredictedUsers):
        if whole_users(found.users) < 1:
            return [f"Capacity: none, because even a lone user breaks the limit of {name} (simulated)."]
        carries = "about " + amount(found.users, "users")
    elif found.rate_per_s <= 0:
        times = number(found.ratio_at_low_load, 2)
        return [f"Capacity: none, because even a lone request takes {times} times its limit of {name} (simulated)."]
    else:
        carries = "about " + amount(found.rate_per_s, "rate")
    return [f"Capacity: it carries {carries} within the SLO, limited by {name} (simulated)."]


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
