"""What the recommended configuration gives up: the front of capacity and TPOT, or the metrics that got worse."""

from __future__ import annotations

from dataclasses import dataclass

from rooftune.engines.price import price_of, usd_per_hour
from rooftune.formatting import NONE, change, number
from rooftune.report.markup import joined, sentence
from rooftune.report.page.model import Picture, Section, section, table, text
from rooftune.report.run.answer_quality import answers_cell
from rooftune.report.run.changes import changes
from rooftune.report.run.naming import Names
from rooftune.report.run_data import RunData
from rooftune.tuning.metrics import lower_is_better, metric_name
from rooftune.tuning.plan import Verdict

SMALLEST = 0.02
"""A change smaller than this is listed neither as an improvement nor as a trade-off."""
HEADING = "Trade-offs"


def trade_offs(run: RunData, names: Names, figures: list[Picture | Section]) -> Section | None:
    """Capacity against TPOT where the capacity decides, else what each configuration improved and what it cost."""
    if run.by_capacity:
        return _front(run, names, figures)
    rows = []
    for p in run.measured:
        found = better_and_worse(run.verdict(p.id))
        if p.id != "baseline" and (found.better or found.worse):
            against = names.of(run.verdict(p.id).against or "baseline")
            better, worse = joined(found.better) or NONE, joined(found.worse) or NONE
            rows.append([names.plain(p.id), changes(run, p.id), against, better, worse])
    head = ["Configuration", "Changes from the baseline", "Compared with", "Better", "Worse"]
    note = "Only changes whose interval excludes 0 % are listed." if rows else ""
    return section(
        HEADING, table("What each configuration improved and what it cost", head, rows), text(note), *figures
    )


def _front(run: RunData, names: Names, figures: list[Picture | Section]) -> Section | None:
    """Configurations that no other beats in both capacity and TPOT."""
    search = run.decision.search
    if search is None or not search.front:
        return section(HEADING, *figures) if figures else None
    price = price_of(run.plan.target)
    rows, prices = [], set()
    for row in search.front:
        cost = usd_per_hour(price, run.config_of(row.option).flags())
        prices.add(cost)
        name = names.plain(row.option)
        rows.append([
            f"**{name}**" if row.option == run.decision.incumbent else name,
            changes(run, row.option),
            number(row.capacity),
            number(row.tpot_ms),
            NONE if cost is None else f"${cost:,.2f}",
            answers_cell(run, row.option, may_change=row.changes_outputs),
            "measured" if row.measured else "predicted",
        ])  # fmt: skip
    if len(prices) == 1:
        rows = [[*row[:4], "", *row[5:]] for row in rows]
    if len({row[5] for row in rows}) == 1:
        rows = [[*row[:5], "", row[6]] for row in rows]
    same_price = len(prices) == 1 and None not in prices
    head = ["Configuration", "Changes from the baseline", "Capacity (req/s)", "TPOT p50 there (ms)", "Price per hour"]
    head += ["Answers", "Capacity is"]
    note = (
        "No other configuration has both more capacity and a lower TPOT. Capacities follow from the model and all "
        "trials together, so they differ a little from those measured; TPOT is predicted."
    )
    price_note = "They run on servers of the same price, so the highest capacity also costs least per request."
    listed = table("Capacity against TPOT", head, rows)
    front = section("Capacity against TPOT, by configuration", listed, text(note), folded=True)
    return section(HEADING, text(_price_of_tpot(run, names), price_note if same_price else ""), *figures, front)


def _price_of_tpot(run: RunData, names: Names) -> str:
    """What a lower time per token costs in capacity, at both ends of the front and in its middle."""
    assert run.decision.search is not None
    front = run.decision.search.front
    if len(front) < 2:
        return "One configuration has both the highest capacity and the lowest TPOT."
    picked = dict.fromkeys((0, len(front) // 2, len(front) - 1))
    words = [
        f"{names.explained(row.option)} has a TPOT of {number(row.tpot_ms)} ms at {number(row.capacity)} requests/s"
        for row in (front[i] for i in picked)
    ]
    return sentence(f"a lower time per token costs capacity: {joined(words)}")


@dataclass(frozen=True)
class BetterAndWorse:
    """Metrics whose interval excludes no change, in words."""

    better: list[str]
    worse: list[str]


def better_and_worse(v: Verdict) -> BetterAndWorse:
    """What a candidate improved and what it cost. A p99 is listed only if it moves the other way than its median."""
    found = BetterAndWorse([], [])
    for metric, interval in v.ratios.items():
        median = v.ratios.get(metric.replace("p99_", "median_"))
        repeats = metric.startswith("p99_") and median is not None and (median.estimate > 1) == (interval.estimate > 1)
        if metric in ("request_throughput", "median_itl_ms") or repeats:
            continue
        if abs(interval.estimate - 1) < SMALLEST or interval.low <= 1 <= interval.high:
            continue
        better = (interval.estimate > 1) != lower_is_better(metric)
        (found.better if better else found.worse).append(f"{metric_name(metric)} {change(interval.estimate)}")
    return found
