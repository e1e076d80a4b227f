"""``rooftune workload``: make a workload from a log, and look at one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

from typer import Argument, Option

from flows.cli import terminal
from flows.cli.workload.shape_lines import shape_lines, shape_values
from flows.inputs import options
from flows.inputs.flat import flat_command
from flows.inputs.parameters import WorkloadOptions
from rooftune.formatting import number, percent

if TYPE_CHECKING:
    from rooftune.workloads.logs.making import LogOptions, MadeWorkload
    from rooftune.workloads.logs.written import WrittenFiles
    from rooftune.workloads.shape import WorkloadShape
    from rooftune.workloads.spec import Workload

HELP = "Make a workload from a log, or draw one."
Log = Annotated[Path, Argument(help="Log of vLLM, JSON lines, or CSV; plain or gzipped.", show_default=False)]
Figure = Annotated[Path | None, Option("--figure", help="Also draw it into this file: .svg or .png.")]
MOST_LINES = 3
"""At most this many lines are named for one reason."""


@dataclass(frozen=True)
class FromLogOptions:
    """How a log is read, and what is made of it."""

    name: Annotated[str | None, Option("--name", help="Name of the workload. Default: that of the file.")] = None
    out: Annotated[Path, Option("--out", help="Folder for the workload and its trace.")] = Path("workloads")
    redact: Annotated[bool, Option("--redact", help="Keep lengths, arrivals and shared prefixes; drop texts.")] = False
    columns: Annotated[
        list[str] | None,
        Option(
            "--column",
            metavar="FIELD=COLUMN",
            help="Where a record has a field: arrival=ts, prompt_tokens=usage.in (a dot enters an object). Repeatable.",
        ),
    ] = None
    log_format: Annotated[
        str | None,
        Option("--format", help="What the log is: vllm, openai (JSON lines) or csv. Default: by its content."),
    ] = None
    time_unit: Annotated[
        str | None,
        Option("--time-unit", help="Unit of times that are numbers: s, ms, us or ns. Default: by name and size."),
    ] = None
    window: Annotated[
        str | None,
        Option("--window", help="Length of the busiest stretch to take: 10m, 1h, or all. Default: 10m."),
    ] = None
    arrivals: Annotated[
        str,
        Option("--arrivals", help="replay: as logged. poisson: at the mean rate, which a capacity can vary."),
    ] = "replay"
    rate: Annotated[
        float | None, Option("--rate", help="Requests per second of Poisson arrivals. Default: the mean of the log.")
    ] = None
    slo: options.Slo = None
    prompt_tokens: Annotated[
        int | None,
        Option("--prompt-tokens", min=1, help="Length of prompts that have neither a length nor a text in the log."),
    ] = None
    output_tokens: Annotated[
        int | None,
        Option("--output-tokens", min=1, help="Length of answers that have neither a length nor a text in the log."),
    ] = None
    force: Annotated[bool, Option("--force", help="Replace files that exist.")] = False


@flat_command
def from_log(file: Log, asked: FromLogOptions, as_json: options.Json = False) -> None:
    """Make a workload from a log: arrivals, lengths, shared prefixes, and the texts unless you redact them.

    [bold]Examples[/bold]

      rooftune workload from-log vllm.log.gz --redact
      rooftune workload from-log requests.jsonl --name support --slo ttft_ms=1000 --arrivals poisson
      rooftune workload from-log usage.csv --column arrival=ts --column prompt_tokens=in --column output_tokens=out

    It prints what it found, each line that it left out with the reason, and what the log does not say.
    """
    from rooftune.workloads.logs.making import make_workload
    from rooftune.workloads.logs.written import write_workload

    with terminal.busy(f"Reading {file}"):
        made = make_workload(file, _options(asked))
        files = write_workload(made, asked.out, replace=asked.force)
    if as_json:
        terminal.print_json(_as_json(made, files))
    else:
        _print(made, files)


def _options(asked: FromLogOptions) -> LogOptions:
    """The options in the domain's terms.

    Raises:
        InputError: one of them is not what it must be.
    """
    from flows.inputs.durations import seconds
    from flows.inputs.workloads import slo_limits
    from rooftune.errors import InputError
    from rooftune.workloads.logs.entries import LogFormat
    from rooftune.workloads.logs.fields import parse_columns
    from rooftune.workloads.logs.lengths import Assumed
    from rooftune.workloads.logs.making import Arrivals, LogOptions
    from rooftune.workloads.spec import TimeUnit

    choices = {"--format": LogFormat, "--time-unit": TimeUnit, "--arrivals": Arrivals}
    chosen = {"--format": asked.log_format, "--time-unit": asked.time_unit, "--arrivals": asked.arrivals}
    for option, value in chosen.items():
        if value is not None and value not in (known := get_args(choices[option])):
            raise InputError(f"{option} is one of {', '.join(known)}, not {value!r}.")
    if asked.rate is not None and asked.rate <= 0:
        raise InputError(f"--rate must be a positive number of requests per second, not {number(asked.rate)}.")
    window = None
    if asked.window is not None:
        window = float("inf") if asked.window == "all" else seconds(asked.window)
        if window <= 0:
            raise InputError(f"--window must be a positive length of time, not {asked.window!r}.")
    return LogOptions(
        name=asked.name,
        format=cast("LogFormat | None", asked.log_format),
        columns=parse_columns(asked.columns or []),
        time_unit=cast("TimeUnit | None", asked.time_unit),
        redact=asked.redact,
        window_s=window,
        arrivals=cast("Arrivals", asked.arrivals),
        rate_per_s=asked.rate,
        slo=slo_limits(asked.slo) if asked.slo else {},
        assumed=Assumed(asked.prompt_tokens, asked.output_tokens),
    )


def _as_json(made: MadeWorkload, files: WrittenFiles) -> dict[str, object]:
    skipped = [{"reason": s.reason, "lines": list(s.lines[:100]), "count": len(s.lines)} for s in made.skipped]
    return {
        "name": made.name,
        "files": [str(path) for path in files.paths()],
        "format": made.format,
        "found": made.found,
        "requests": len(made.requests),
        "skipped": skipped,
        "notes": [f"{note}." for note in made.notes],
        "fields": dict(made.fields),
        "texts": made.texts,
        "sharing_requests": made.shared,
    }


def _print(made: MadeWorkload, files: WrittenFiles) -> None:
    from rooftune.workloads.logs.entries import TITLES

    print(
        f"Read as a {TITLES[made.format]}: {made.found:,} requests, of which the workload has {len(made.requests):,}."
    )
    if made.fields:
        print("Fields: " + ", ".join(f"{ours} from {theirs}" for ours, theirs in made.fields.items()) + ".")
    for words, values in (("Prompts", [r.prompt_tokens or 0 for r in made.requests]),
                          ("Answers", [r.output_tokens or 0 for r in made.requests])):  # fmt: skip
        print(f"{words}: {_quantiles(values)} tokens.")
    print(f"Prefixes: {percent(made.shared / len(made.requests))} of the requests begin like an earlier one.")
    for skipped in made.skipped:
        lines = ", ".join(f"{line:,}" for line in skipped.lines[:MOST_LINES])
        more = f" and {len(skipped.lines) - MOST_LINES:,} more" if len(skipped.lines) > MOST_LINES else ""
        print(f"Left out: line{'s' if len(skipped.lines) > 1 else ''} {lines}{more}: {skipped.reason}.")
    for note in made.notes:
        print(f"Note: {note}.")
    print("Written: " + ", ".join(str(path) for path in files.paths()))
    print(f"Next: rooftune workload show {files.workload}")


def _quantiles(values: Sequence[int]) -> str:
    ordered = sorted(values)
    median, high = ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    return f"median {number(median)}, p95 {number(high)}, longest {number(ordered[-1])}"


@flat_command
def show(
    workload: options.WorkloadName,
    changes: WorkloadOptions,
    figure: Figure = None,
    as_json: options.Json = False,
) -> None:
    """Draw a workload: lengths, arrivals over time, and what prompts share.

    [bold]Examples[/bold]

      rooftune workload show chat-medium
      rooftune workload show support.yaml --figure support.svg
      rooftune workload show rag-medium --rate 5 --seed 7 --json
    """
    from flows.inputs.workloads import changed_workload
    from rooftune.workloads.draw import draw
    from rooftune.workloads.shape import shape_of

    spec = changed_workload(workload, changes)
    with terminal.busy(f"Drawing {spec.name}"):
        shape = shape_of(draw(spec), spec.total_s)
    if figure is not None:
        _draw(spec, shape, figure)
    if as_json:
        terminal.print_json(shape_values(spec, shape))
        return
    print("\n".join(shape_lines(spec, shape)))
    if figure is not None:
        print(f"\nFigure: {figure}")


def _draw(spec: Workload, shape: WorkloadShape, path: Path) -> None:
    """Write the figure, as what its name says.

    Raises:
        InputError: neither SVG nor PNG.
    """
    from rooftune.errors import InputError
    from rooftune.report.figures.saving import save_one
    from rooftune.report.figures.workload_shape import workload_shape

    if path.suffix not in (".svg", ".png"):
        raise InputError(f"--figure takes a name that ends in .svg or .png, not {str(path)!r}.")
    save_one(workload_shape(spec, shape), path)
