"""The hardware upgrade path: what the simulator predicts for this workload and model on other GPUs."""

from __future__ import annotations

from rooftune.formatting import (
    NONE,
    change,
    gibibytes,
    gigabytes_per_s,
    multiple,
    number,
    percent,
    quantity,
    rate,
)
from rooftune.report.page.model import Paragraph, Section, section, table, text
from rooftune.report.run.attempts import LIMITED_BY
from rooftune.report.run_data import RunData
from rooftune.tuning.upgrade import UpgradePath, UpgradeRow

HEADING = "Hardware upgrade path"
ABOUT = ["GPU", "Memory", "Bandwidth", "FP8", "Configuration"]


def hardware(run: RunData) -> Section | None:
    """The table of GPUs, and the least expensive way to serve the asked rate."""
    path = run.upgrade
    if path is None:
        words = "There is no prediction, because the simulator does not know this hardware or model."
        return section(HEADING, Paragraph(words))
    asked = bool(path.asked_rate_per_s)
    if run.by_capacity:
        head, rows = _capacity_head(path), [_about(r) + _by_capacity(r, asked) for r in path.rows]
        cheapest = _cheapest_servers(path)
    else:
        head, rows = [*ABOUT, *AT_LOAD], [_about(r) + _at_the_load(r) for r in path.rows]
        cheapest = _cheapest_alone(run, path)
    details = section("How these figures were made", text(*_explanation(run, path)), folded=True)
    return section(HEADING, text(cheapest), table("Predicted results on other GPUs", head, rows), details)


AT_LOAD = ["Output tok/s", "Can serve (req/s)", "Change", "SLO met", "Price per hour", "Per 1M output tokens"]


def _capacity_head(path: UpgradePath) -> list[str]:
    head = [*ABOUT, "Capacity (req/s)", "Of this GPU's", "Limited by", "Error"]
    if path.asked_rate_per_s:
        head += [f"Servers for {rate(path.asked_rate_per_s, 'request', 3)}", "Their price per hour"]
    return [*head, "Per 1M output tokens"]


def _about(r: UpgradeRow) -> list[str]:
    """The GPU with its memory, bandwidth, FP8 and the configuration that was predicted."""
    name = f"**{r.gpu}** (this run)" if r.current else r.gpu
    words = f"cannot run it: {r.impossible}" if r.impossible else r.configuration
    memory, bandwidth = gibibytes(r.memory_bytes, 2), gigabytes_per_s(r.bandwidth_bytes_per_s)
    return [name, memory, bandwidth, "yes" if r.fp8 else "no", words]


def _money(value: float | None) -> str:
    return f"${value:,.2f}" if value else NONE


def _by_capacity(r: UpgradeRow, asked: bool) -> list[str]:
    count = r.accelerators_needed
    servers = [NONE if count is None else number(count), _money(total_price(r))] if asked else []
    if r.impossible:
        return [NONE] * (5 + len(servers))
    return [
        number(r.capacity_per_s),
        NONE if r.current or r.change is None else multiple(r.change),
        LIMITED_BY.get(r.limited_by, NONE),
        NONE if r.error_band is None else f"± {percent(r.error_band)}",
        *servers,
        _money(r.usd_per_million_output_tokens),
    ]


def _at_the_load(r: UpgradeRow) -> list[str]:
    if r.impossible:
        return [NONE, NONE, NONE, NONE, _money(r.usd_per_hour), NONE]
    slo = NONE if r.slo_share is None else percent(r.slo_share)
    return [
        number(r.output_throughput),
        number(r.served_rate_per_s),
        NONE if r.current else change(r.change),
        "overloaded" if r.overloaded else slo,
        _money(r.usd_per_hour),
        _money(r.usd_per_million_output_tokens),
    ]


def total_price(r: UpgradeRow) -> float | None:
    """Price per hour of the servers for the asked rate."""
    if r.usd_per_hour is None or r.accelerators_needed is None:
        return None
    return r.accelerators_needed * r.usd_per_hour


def _explanation(run: RunData, path: UpgradePath) -> list[str]:
    """What is predicted, how far to trust it, and where the prices are from."""
    words = [f"The simulator predicts every row for {path.workload} and {path.model}, this run's GPU included."]
    if run.by_capacity:
        words += [_measured_here(run, path), '"Error" is that of the predicted throughput in published measurements.']
    else:
        if path.error_band and not path.unmodelled:
            words.append(f"Where they could be checked, their error is about {percent(path.error_band)}.")
        words.append(
            '"Output tok/s" is at the load of this workload. "Can serve" is the rate that fills the server, and '
            '"Change" compares that rate. The cost is the on-demand price of the GPU\'s machine at this load.'
        )
    if path.unmodelled:
        words.append(f"Not modelled, so errors are unknown: {', '.join(path.unmodelled)}.")
    words.append("Weights in 16 bit, FP8 and 4 bit do not generate the same text.")
    prices = "; ".join(f"{r.gpu}: {r.price_source}" for r in path.rows if r.price_source)
    return [*words, f"Prices are list prices: {prices}." if prices else ""]


def _measured_here(run: RunData, path: UpgradePath) -> str:
    own = run.capacity(run.decision.incumbent)
    current = next((r for r in path.rows if r.current), None)
    if own is None or own.estimate <= 0 or current is None or current.capacity_per_s is None:
        return ""
    return (
        f"For it {number(current.capacity_per_s)} requests/s are predicted and {number(own.estimate)} were measured, "
        "so compare the rows with each other and not with the measurement."
    )


def _cheapest_servers(path: UpgradePath) -> str:
    """The least expensive way to serve the asked rate within the SLO."""
    if not path.asked_rate_per_s:
        return ""
    asked = rate(path.asked_rate_per_s, "request", 3)
    prices = {r.gpu: price for r in path.rows if (price := total_price(r)) is not None}
    if not prices:
        return f"By the simulator's predictions, no GPU with a known price serves {asked} within the SLO."
    best = min(prices, key=lambda gpu: prices[gpu])
    row = next(r for r in path.rows if r.gpu == best)
    found = quantity(row.accelerators_needed or 1, f"{best} server")
    return (
        f"By the simulator's predictions, the least expensive way to serve {asked} within the SLO is {found} at "
        f"${prices[best]:,.2f} per hour."
    )


def _cheapest_alone(run: RunData, path: UpgradePath) -> str:
    """The least expensive GPU that serves the whole load, if there is one."""
    asked, share = path.asked_rate_per_s, run.plan.objective.slo_share
    if not asked:
        return ""
    prices = {r.gpu: r.usd_per_hour for r in path.rows if not r.current and r.usd_per_hour and serves(r, asked, share)}
    within = " within the SLO" if any(r.slo_share is not None for r in path.rows) else ""
    if not prices:
        return f"By the simulator's predictions, none of these GPUs alone serves the whole load{within}."
    best = min(prices, key=lambda gpu: prices[gpu])
    return (
        f"By the simulator's predictions, the least expensive GPU that alone serves {rate(asked, 'request', 3)}"
        f"{within} is the {best} at ${prices[best]:.2f} per hour."
    )


def serves(row: UpgradeRow, asked_rate_per_s: float, slo_share: float) -> bool:
    """Whether the GPU serves the asked rate and enough requests meet the SLO.

    The test for overload sees only a short window and misses a queue that grows slowly, so the rate that fills the
    server must reach the asked rate as well.
    """
    if row.overloaded is not False or (row.served_rate_per_s or 0.0) < asked_rate_per_s:
        return False
    return row.slo_share is None or row.slo_share >= slo_share
