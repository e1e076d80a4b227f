"""``predict --sweep``: one flag varied in virtual time, as a table and a figure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.cli import terminal
from flows.cli.emulated import description, heading
from rooftune.formatting import number

if TYPE_CHECKING:
    from flows.inputs.targets import EmulatedServer
    from rooftune.simulator.virtual.sweep import FlagSweep, SweepRow
    from rooftune.workloads.spec import Workload

HEADS = ["", "Tokens/s", "Served req/s", "TPOT p50 ms", "TPOT p99 ms", "TTFT p50 ms", "Goodput req/s", "Bottleneck"]


def predict_sweep(workload: Workload, server: EmulatedServer, asked: str, figure: Path | None, as_json: bool) -> None:
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
