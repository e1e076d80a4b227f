"""``predict --sweep`` and ``--by-streams``: one flag, or the load of speculative decoding, varied in virtual time."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.cli import terminal
from flows.cli.emulated import description, heading
from rooftune.errors import InputError
from rooftune.formatting import change, number, quantity

if TYPE_CHECKING:
    from flows.inputs.targets import EmulatedServer
    from rooftune.simulator.virtual.sweep import FlagSweep, SweepRow
    from rooftune.speculation.acceptance import AcceptanceLike
    from rooftune.workloads.spec import Workload

STREAM_HEADS = ["Streams", "Tokens/s", "With speculation", "Gain", "TPOT p50 ms", "With speculation"]
HEADS = ["", "Tokens/s", "Served req/s", "TPOT p50 ms", "TPOT p99 ms", "TTFT p50 ms", "Goodput req/s", "Bottleneck"]


def predict_sweep(
    workload: Workload,
    server: EmulatedServer,
    asked: str,
    acceptance: AcceptanceLike,
    figure: Path | None,
    as_json: bool,
) -> None:
    """Predict every value, print the table with the best value and why, and draw throughput against TPOT."""
    from rooftune.report.figures.sweep import draw_sweep
    from rooftune.simulator.calibration.files import opened
    from rooftune.simulator.virtual.sweep import sweep

    with terminal.busy(f"Predicting {workload.name} for {asked}"):
        found = sweep(
            workload,
            gpu=server.gpu,
            model=server.model,
            engine_version=server.engine_version,
            flags=server.flags,
            asked=asked,
            acceptance=acceptance,
            calibration=opened(server.calibration),
        )
    path = figure or Path(f"predict-{workload.name}-{found.flag}.png")
    above = heading(workload.name, server)
    draw_sweep(found, above.splitlines()[0], path)
    if as_json:
        about = {"workload": workload.name, "figure": str(path)}
        terminal.print_json({**_json(found), **about, **description(server)})
        return
    print(f"{above}Every figure is simulated.\n")
    terminal.table([found.flag, *HEADS[1:]], [_cells(row) for row in found.rows], right=tuple(range(7)))
    for sentence in _refusals(found):
        print(f"\n{sentence}")
    if found.best is not None:
        print(f"\nBest by {found.metric}: {found.flag}={found.best.value}.")
    for sentence in found.why:
        print(sentence)
    print(f"Figure: {path}")


def _refusals(found: FlagSweep) -> list[str]:
    """One sentence for each rule that refuses values, with the words for the first of them."""
    by_rule: dict[str, list[SweepRow]] = {}
    for row in found.rows:
        if row.prediction is None:
            by_rule.setdefault(row.rule, []).append(row)
    return [
        f"Would not start ({rule}) with {', '.join(str(row.value) for row in rows)}: {rows[0].refusal}"
        for rule, rows in by_rule.items()
    ]


def _cells(row: SweepRow) -> list[str]:
    if row.prediction is None:
        return [str(row.value), *["–"] * 6, f"would not start ({row.rule})"]
    m = row.prediction.metrics
    served = row.prediction.served_rate_per_s if row.prediction.overloaded else None
    names = ("median_tpot_ms", "p99_tpot_ms", "median_ttft_ms", "request_goodput")
    bottleneck = row.prediction.bottleneck.split(";")[0]
    return [
        str(row.value),
        number(m["output_throughput"]),
        number(served if served is not None else m["request_throughput"]),
        *[number(m.get(name)) for name in names],
        ("overloaded; " if row.prediction.overloaded else "") + bottleneck,
    ]


def _json(found: FlagSweep) -> dict[str, Any]:
    rows = []
    for row in found.rows:
        p = row.prediction
        more = (
            {"rule": row.rule, "refusal": row.refusal}
            if p is None
            else {**p.metrics, "overloaded": p.overloaded, "bottleneck": p.bottleneck}
        )
        rows.append({found.flag: row.value, **more})
    best = found.best.value if found.best else None
    return {"flag": found.flag, "rows": rows, "metric": found.metric, "best": best, "why": found.why}


def predict_drafts(
    workload: Workload, server: EmulatedServer, acceptance: AcceptanceLike, asked: str, as_json: bool
) -> None:
    """Predict each number of streams without and with speculation, and say up to where it gains."""
    from rooftune.simulator.calibration.files import opened
    from rooftune.simulator.virtual.draft_gain import draft_gains, worth_up_to
    from rooftune.simulator.virtual.predict import start_of
    from rooftune.speculation.acceptance import words
    from rooftune.vllm_rules.speculation import speculation

    with terminal.busy(f"Predicting {workload.name} with 1 to many streams"):
        rows = draft_gains(
            workload,
            gpu=server.gpu,
            model=server.model,
            engine_version=server.engine_version,
            flags=server.flags,
            acceptance=acceptance,
            streams=streams_of(asked),
            calibration=opened(server.calibration),
        )
    resolved = start_of(server.gpu, server.model, server.engine_version, server.flags).resolved
    notes = list(resolved.notes) if resolved is not None else []
    spec = speculation(server.config)
    notes += [words(acceptance, spec.tokens)] if spec is not None else []
    if as_json:
        found = [{**asdict(row), "gain": row.gain} for row in rows]
        terminal.print_json({"workload": workload.name, "streams": found, "notes": notes, **description(server)})
        return
    noted = "".join(f" Note: {note}." for note in notes)
    print(f"{heading(workload.name, server)}Every figure is simulated.{noted}\n")
    cells = [
        [
            str(row.streams), number(row.plain.tokens_per_s), number(row.drafting.tokens_per_s), change(row.gain),
            number(row.plain.tpot_ms), number(row.drafting.tpot_ms),
        ]
        for row in rows
    ]  # fmt: skip
    terminal.table(STREAM_HEADS, cells, right=tuple(range(6)))
    most = worth_up_to(rows)
    if most is None:
        print("\nSpeculation gains at no load that was predicted.")
    elif most == rows[-1].streams:
        print(f"\nSpeculation gains at every load that was predicted, up to {quantity(most, 'stream')}.")
    else:
        print(f"\nSpeculation gains up to {quantity(most, 'stream')} and loses beyond.")


def streams_of(asked: str) -> list[int]:
    """Numbers of streams: 1,4,40, or 1:64 for doubling steps.

    Raises:
        InputError: the text has neither form.
    """
    try:
        if ":" not in asked:
            return sorted({int(word) for word in asked.split(",")})
        first, last = (int(word) for word in asked.split(":"))
    except ValueError:
        raise InputError(f"{asked!r} is not a list of streams; write 1,4,40 or 1:64.") from None
    if not 1 <= first <= last:
        raise InputError(f"{asked!r} is not a range of streams; write 1:64.")
    found = []
    while first < last:
        found.append(first)
        first *= 2
    return [*found, last]
