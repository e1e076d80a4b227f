"""``predict --sweep``: one flag varied in virtual time, as a table and a figure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.cli import terminal
from rooftune.formatting import number

if TYPE_CHECKING:
    from rooftune.engines.target import CalibrationFile
    from rooftune.simulator.virtual.sweep import FlagSweep, SweepRow
    from rooftune.workloads.spec import Workload

HEADS = ["", "Tokens/s", "Served req/s", "TPOT p50 ms", "TPOT p99 ms", "TTFT p50 ms", "In SLO req/s", "Bottleneck"]


def swept(
    workload: Workload,
    server: tuple[str, str, str, dict[str, Any]],
    asked: str,
    figure: Path | None,
    as_json: bool,
    calibration: CalibrationFile | None = None,
) -> None:
    """Predict every value, print the table and what is best and why, and draw throughput against TPOT."""
    from rooftune.simulator.calibration.files import opened
    from rooftune.simulator.virtual.sweep import sweep
    from rooftune.simulator.virtual.sweep_figure import draw_sweep

    gpu, model, version, flags = server
    found = sweep(
        workload,
        gpu=gpu,
        model=model,
        engine_version=version,
        flags=flags,
        asked=asked,
        calibration=opened(calibration),
    )
    path = figure or Path(f"predict-{workload.name}-{found.flag}.png")
    title = f"{workload.name} on a simulated {gpu}, {model}, vLLM {version}"
    draw_sweep(found, title, path)
    if as_json:
        about = {"workload": workload.name, "gpu": gpu, "model": model, "figure": str(path)}
        about["calibration"] = calibration.model_dump() if calibration else None
        terminal.print_json({**_json(found), **about})
        return
    print(f"{title}\nflags: {' '.join(f'{k}={v}' for k, v in flags.items()) or 'none'}; every figure is simulated\n")
    terminal.table([found.flag, *HEADS[1:]], [_cells(row) for row in found.rows], right=tuple(range(7)))
    if found.best is not None:
        print(f"\nBest by {found.metric}: {found.flag}={found.best.value}.")
    for sentence in found.why:
        print(sentence)
    print(f"Figure: {path}")


def _cells(row: SweepRow) -> list[str]:
    if row.prediction is None:
        return [str(row.value), *["–"] * 6, f"would not start: {row.refusal}"]
    m = row.prediction.metrics
    served = row.prediction.served_rate_per_s if row.prediction.overloaded else None
    names = ("median_tpot_ms", "p99_tpot_ms", "median_ttft_ms", "request_goodput")
    said = row.prediction.bottleneck.split(";")[0]
    return [
        str(row.value),
        number(m["output_throughput"]),
        number(served if served is not None else m["request_throughput"]),
        *[number(m.get(name)) for name in names],
        ("overloaded; " if row.prediction.overloaded else "") + said,
    ]


def _json(found: FlagSweep) -> dict[str, Any]:
    rows = []
    for row in found.rows:
        p = row.prediction
        more = (
            {"refusal": row.refusal}
            if p is None
            else {**p.metrics, "overloaded": p.overloaded, "bottleneck": p.bottleneck}
        )
        rows.append({found.flag: row.value, **more})
    best = found.best.value if found.best else None
    return {"flag": found.flag, "rows": rows, "metric": found.metric, "best": best, "why": found.why, "simulated": True}
