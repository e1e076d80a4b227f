"""What figures call configurations and their objective, and the values that they show of them."""

from __future__ import annotations

from dataclasses import dataclass

from rooftune.formatting import change, number
from rooftune.report.figures.style import BLUE, GREY, OTHER
from rooftune.report.run_data import RunData
from rooftune.tuning.metrics import lower_is_better, metric_name, unit_of
from rooftune.workloads.spec import CAPACITY

BASELINE = "baseline"
UNITS = {"tok/s": "tokens/s", "req/s": "requests/s"}


@dataclass(frozen=True)
class Amount:
    """A value of one configuration with its interval."""

    value: float
    low: float
    high: float

    @property
    def words(self) -> str:
        """'6.74 (6.44 to 7.05)'."""
        if self.low == self.high:
            return number(self.value)
        return f"{number(self.value)} ({number(self.low)} to {number(self.high)})"


def called(name: str, short: str) -> str:
    """A configuration by its short name in the report, with its id: 'easy-wins-1 (awq_marlin+seqs96)'."""
    return f"{short} ({name})" if short and short != name else name


def colour_of(run: RunData, name: str) -> str:
    """Blue for the recommended configuration, dark grey for the baseline, light grey for all others."""
    if name == run.decision.incumbent:
        return BLUE
    return GREY if name == BASELINE else OTHER


def titled(run: RunData, text: str) -> str:
    """The title of a figure, which may be passed on without its report."""
    where = f"{run.plan.workload} on {run.hardware.accelerator.name}"
    return f"{text}: {where}" + (" (simulated)" if run.simulated else "")


def shown_metric(run: RunData) -> str:
    """The rate that figures compare configurations by: the objective, or the throughput where that is a latency."""
    if run.by_capacity:
        return CAPACITY
    o = run.plan.objective
    rates = [m for m in (o.metric, o.saturated_metric, "output_throughput") if not lower_is_better(m)]
    return next((m for m in rates if any(run.value(p.id, m) is not None for p in run.measured)), rates[0])


def unit(metric: str) -> str:
    """'requests/s' or 'tokens/s'."""
    found = unit_of(metric)
    return UNITS.get(found, found)


def axis_words(metric: str) -> str:
    """The name of a rate with its unit, for an axis."""
    if metric == CAPACITY:
        return "capacity of one server, requests/s within the SLO"
    return f"{metric_name(metric)}, {unit(metric)}"


def highlighted(run: RunData) -> list[str]:
    """The baseline and the recommended configuration, where they were measured."""
    return [n for n in dict.fromkeys((BASELINE, run.decision.incumbent)) if run.of(n)]


def role(run: RunData, name: str) -> str:
    """'baseline', 'recommended', or the name of the configuration."""
    if name == BASELINE:
        return BASELINE
    return "recommended" if name == run.decision.incumbent else name


def amount_of(run: RunData, name: str, metric: str) -> Amount | None:
    """The value of a measured configuration: with the interval of its capacity, or of its ratio to the baseline.

    The baseline of a throughput has the range of its trials.
    """
    if metric == CAPACITY:
        c = run.capacity_if_measured(name)
        return Amount(c.estimate, c.low, c.high) if c is not None else None
    value, base = run.value(name, metric), run.value(BASELINE, metric)
    if value is None:
        return None
    ratio = run.ratios(name, BASELINE).get(metric) if name != BASELINE else None
    if ratio is not None and base is not None:
        return Amount(value, base * ratio.low, base * ratio.high)
    trials = [t.metrics[metric] for t in run.of(name) if metric in t.metrics]
    return Amount(value, min(trials), max(trials))


def gain(run: RunData, value: float, metric: str) -> str:
    """The change from the baseline: '+447 %'; empty where it has no value."""
    base = amount_of(run, BASELINE, metric)
    return change(value / base.value) if base is not None and base.value > 0 else ""
