"""The section on other hardware: the capacity that the simulator predicts for this workload and model there."""

from __future__ import annotations

from rooftune.formatting import NONE, multiple, number, percent, quantity, rate
from rooftune.report.capacity_run.answer import LIMITED_BY
from rooftune.report.markup import table
from rooftune.report.run_data import RunData
from rooftune.report.upgrade_path import hardware_cells, price_sources
from rooftune.tuning.upgrade import UpgradePath, UpgradeRow


def upgrade_section(run: RunData) -> list[str]:
    """The hardware upgrade path, and the least expensive way to serve the asked rate."""
    lines = ["## Hardware upgrade path", ""]
    path = run.upgrade
    if path is None:
        return [*lines, "There is no prediction, because the simulator does not know this hardware or model.", ""]
    head = [
        "GPU",
        "Memory",
        "Bandwidth",
        "FP8",
        "Configuration",
        "Capacity (req/s)",
        "Of this GPU's",
        "Limited by",
        "Error",
    ]
    if path.asked_rate_per_s:
        asked = rate(path.asked_rate_per_s, "request", 3)
        head += [f"Servers for {asked}", "Their price per hour"]
    head.append("Per 1M output tokens")
    lines += [*table(head, [_row(r, bool(path.asked_rate_per_s)) for r in path.rows], right=1), ""]
    return [*lines, _explanation(run, path), "", *_cheapest(path)]


def _row(r: UpgradeRow, asked: bool) -> list[str]:
    cells = hardware_cells(r)
    after = 4 if asked else 2
    if r.impossible:
        return [*cells, f"cannot run it: {r.impossible}", *[NONE] * (3 + after)]
    count, price = r.accelerators_needed, total_price(r)
    cost = r.usd_per_million_output_tokens
    servers = [NONE if count is None else number(count), NONE if price is None else f"${price:,.2f}"] if asked else []
    return [
        *cells,
        r.configuration,
        number(r.capacity_per_s),
        NONE if r.current or r.change is None else multiple(r.change),
        LIMITED_BY.get(r.limited_by, NONE),
        NONE if r.error_band is None else f"± {percent(r.error_band)}",
        *servers,
        NONE if cost is None else f"${cost:,.2f}",
    ]


def total_price(r: UpgradeRow) -> float | None:
    """Price per hour of the servers for the asked rate."""
    if r.usd_per_hour is None or r.accelerators_needed is None:
        return None
    return r.accelerators_needed * r.usd_per_hour


def _explanation(run: RunData, path: UpgradePath) -> str:
    own = run.capacity(run.decision.incumbent)
    current = next((r for r in path.rows if r.current), None)
    measured = ""
    if own is not None and own.estimate > 0 and current is not None and current.capacity_per_s is not None:
        measured = (
            f" That row says {number(current.capacity_per_s)} requests/s, and {number(own.estimate)} were measured, "
            "so compare the rows with each other and not with the measurement."
        )
    band = f" Not modelled, so errors are unknown: {', '.join(path.unmodelled)}." if path.unmodelled else ""
    return (
        f"The simulator predicts every row for {path.workload} and {path.model}, including the row of this run's "
        f'GPU.{measured}{band} "Error" is that of the predicted throughput in published measurements of similar cases. '
        f"Weights in 16 bit, FP8 and 4 bit do not generate the same text. {price_sources(path)}"
    )


def _cheapest(path: UpgradePath) -> list[str]:
    """The least expensive way to serve the asked rate within the SLO."""
    if not path.asked_rate_per_s:
        return []
    asked = rate(path.asked_rate_per_s, "request", 3)
    prices = {r.gpu: price for r in path.rows if (price := total_price(r)) is not None}
    if not prices:
        return [f"No GPU with a known price serves {asked} within the SLO, by this prediction.", ""]
    best = min(prices, key=lambda gpu: prices[gpu])
    row = next(r for r in path.rows if r.gpu == best)
    servers = quantity(row.accelerators_needed or 1, f"{best} server")
    return [
        f"By this prediction, the least expensive way to serve {asked} within the SLO is {servers} at "
        f"${prices[best]:,.2f} per hour.",
        "",
    ]
