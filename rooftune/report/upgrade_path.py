"""The section on other hardware: what the simulator predicts for this workload and model there."""

from __future__ import annotations

from rooftune.formatting import NONE, change, gibibytes, gigabytes_per_s, number, percent, rate
from rooftune.report.markup import table
from rooftune.report.run_data import RunData
from rooftune.tuning.upgrade import UpgradePath, UpgradeRow

HEAD = ["GPU", "Memory", "Bandwidth", "FP8", "Configuration", "Output tok/s", "Can serve (req/s)", "Change"]
HEAD += ["SLO met", "Price per hour", "Per 1M output tokens"]


def upgrade_section(run: RunData) -> list[str]:
    """The hardware upgrade path, and the least expensive GPU that serves the load."""
    lines = ["## Hardware upgrade path", ""]
    path = run.upgrade
    if path is None:
        return [*lines, "There is no prediction, because the simulator does not know this hardware or model.", ""]
    lines += [*table(HEAD, [_row(r) for r in path.rows], right=1), ""]
    return [*lines, _explanation(path), "", *_cheapest(run, path)]


def _row(r: UpgradeRow) -> list[str]:
    price = f"${r.usd_per_hour:.2f}" if r.usd_per_hour else NONE
    cells = hardware_cells(r)
    if r.impossible:
        return [*cells, f"cannot run it: {r.impossible}", NONE, NONE, NONE, NONE, price, NONE]
    slo = NONE if r.slo_share is None else percent(r.slo_share)
    cost = f"${r.usd_per_million_output_tokens:.2f}" if r.usd_per_million_output_tokens else NONE
    return [
        *cells,
        r.configuration,
        number(r.output_throughput),
        number(r.served_rate_per_s),
        NONE if r.current else change(r.change),
        "overloaded" if r.overloaded else slo,
        price,
        cost,
    ]


def hardware_cells(r: UpgradeRow) -> list[str]:
    """The GPU with its memory, bandwidth, and whether it has FP8."""
    return [
        f"**{r.gpu}** (this run)" if r.current else r.gpu,
        gibibytes(r.memory_bytes, 2),
        gigabytes_per_s(r.bandwidth_bytes_per_s),
        "yes" if r.fp8 else "no",
    ]


def price_sources(path: UpgradePath) -> str:
    """Where the prices come from."""
    found = "; ".join(f"{r.gpu}: {r.price_source}" for r in path.rows if r.price_source)
    return f"Prices are list prices: {found}."


def _explanation(path: UpgradePath) -> str:
    band = f" Where they could be checked, their error is about {percent(path.error_band)}." if path.error_band else ""
    if path.unmodelled:
        band = f" Not modelled, so no error is given: {', '.join(path.unmodelled)}."
    return (
        f"The simulator predicts every row for {path.workload} and {path.model}, including the row of this run's "
        f"GPU.{band} "
        '"Output tok/s" is at the load of this workload. "Can serve" is the rate that fills the server, and "Change" '
        "compares that rate. The cost is the on-demand price of the GPU's machine at this load. Weights in 16 bit, "
        f"FP8 and 4 bit do not generate the same text. {price_sources(path)}"
    )


def _cheapest(run: RunData, path: UpgradePath) -> list[str]:
    """The least expensive GPU that serves the whole load, if there is one."""
    asked, share = path.asked_rate_per_s, run.plan.objective.slo_share
    if not asked:
        return []
    prices = {r.gpu: r.usd_per_hour for r in path.rows if not r.current and r.usd_per_hour and serves(r, asked, share)}
    within = " within the SLO" if any(r.slo_share is not None for r in path.rows) else ""
    if not prices:
        return [f"The simulator predicts that none of these GPUs alone serves the whole load{within}.", ""]
    best = min(prices, key=lambda gpu: prices[gpu])
    return [
        f"The least expensive GPU that alone serves {rate(asked, 'request', 3)}{within}, by this prediction, is the "
        f"{best} at ${prices[best]:.2f} per hour.",
        "",
    ]


def serves(row: UpgradeRow, asked_rate_per_s: float, slo_share: float) -> bool:
    """Whether the GPU serves the asked rate and enough requests meet the SLO.

    The test for overload sees only a short window and misses a queue that grows slowly, so the rate that fills the
    server must reach the asked rate as well.
    """
    if row.overloaded is not False or (row.served_rate_per_s or 0.0) < asked_rate_per_s:
        return False
    return row.slo_share is None or row.slo_share >= slo_share
