"""How many servers the asked rate takes: one fewer, as many as needed, one more."""

from __future__ import annotations

from dataclasses import dataclass

from rooftune.capacity.replicas import needed
from rooftune.capacity.result import ReplicaRow, Replicas
from rooftune.capacity.sentences import NAMES
from rooftune.formatting import NONE, change_range, number, percent, rate
from rooftune.report.page.model import Picture, Section, section, table, text
from rooftune.report.run_data import RunData
from rooftune.tuning.plan import CapacityFigures


@dataclass(frozen=True)
class _Count:
    """A number of servers, with its row of the simulation where there is one."""

    servers: int
    simulated: ReplicaRow | None


def servers(run: RunData, pictures: list[Picture | Section]) -> Section | None:
    """Headroom, price, and what breaks, by number of servers; without a rate, only how one server takes the load."""
    found, figures = run.decision.replicas, run.decision.capacity
    if found is None or figures is None:
        return section("How one server takes the load", *pictures)
    counts = _counts(found, figures)
    head = ["Servers", "Load of each (req/s)", "Headroom", "Requests within the SLO", "Price per hour"]
    head.append("Per 1M output tokens")
    asked = rate(found.asked_rate_per_s, "request", 3)
    rows = [_row(run, count, found, figures) for count in counts]
    note = "Headroom is the capacity of that many servers over the asked rate, with its 95 % interval."
    if any(count.simulated is not None for count in counts):
        note += " Shares of requests are simulated at the measured speed, with the load split evenly."
    return section(f"Servers for {asked}", table(f"Numbers of servers for {asked}", head, rows), text(note), *pictures)


def _counts(found: Replicas, figures: CapacityFigures) -> list[_Count]:
    rows = {row.replicas: row for row in found.rows}
    least = needed(found.asked_rate_per_s, figures.estimate)
    numbers = sorted({*rows, *(n for n in (least - 1, least, least + 1, found.at_low) if n >= 1)})
    return [_Count(n, rows.get(n)) for n in numbers]


def _row(run: RunData, count: _Count, found: Replicas, figures: CapacityFigures) -> list[str]:
    asked, n, row = found.asked_rate_per_s, count.servers, count.simulated
    middle, low, high = (n * each / asked for each in (figures.estimate, figures.low, figures.high))
    name = f"**{n}**" if n == found.at_estimate else str(n)
    cells = [name, number(asked / n), change_range(middle, low, high), _kept(run, row, figures)]
    each = run.decision.usd_per_hour
    tokens = row.usd_per_million_output_tokens if row is not None and each is not None else None
    return [*cells, NONE if each is None else f"${n * each:,.2f}", NONE if tokens is None else f"${tokens:,.2f}"]


def _kept(run: RunData, row: ReplicaRow | None, figures: CapacityFigures) -> str:
    """Whether the SLO is kept, and what breaks."""
    if row is None:
        return "not simulated"
    if row.overloaded:
        return "**SLO broken**: the queue grows without end"
    share = percent(row.attainment, 3)
    if row.attainment < run.plan.objective.slo_share:
        first = f"; {NAMES[figures.limited_by]} breaks first" if figures.limited_by in NAMES else ""
        return f"**SLO broken**: {share}{first}"
    return f"kept: {share}"
