"""One section per phase: the command after it, what was tried and why, and what each load of its trials showed."""

from __future__ import annotations

from rooftune.evidence.records.capacity import RateStep
from rooftune.formatting import NONE, number, percent
from rooftune.report.explanation import why
from rooftune.report.markup import table
from rooftune.report.phases import command_lines, optimizations, starting_point
from rooftune.report.run_data import RunData

HEAD = ["Configuration", "Load (req/s)", "Requests judged", "Within the SLO", "TTFT p50 / p99 (ms)"]
HEAD += ["TPOT p50 / p99 (ms)", "Queue"]


def phase_section(run: RunData, phase: str, place: int) -> list[str]:
    """The whole section of a phase."""
    after = run.incumbent_after(phase)
    lines = [f"## Phase {place}: {phase}", "", "### Command", "", *command_lines(run, phase, after), ""]
    candidates = [p for p in run.plan.candidates if p.phase == phase]
    if phase != "baseline":
        lines += ["### Optimizations", "", *optimizations(run, candidates, after), ""]
    lines += ["### Performance", "", *loads(run, [p.id for p in candidates]), ""]
    if phase == "baseline":
        return [*lines, "### Starting point", "", *starting_point(run), ""]
    tried = [p for p in candidates if run.of(p.id)]
    if tried:
        lines += ["### Why it did or did not help", ""]
        lines += [
            "Each configuration ran near its own capacity, so the figures before and after are at different rates."
        ]
        lines += ["", *[f"- **{p.id}**: {why(run, p)}" for p in tried], ""]
    return lines


def loads(run: RunData, names: list[str]) -> list[str]:
    """The table of all loads that these configurations had, by rate."""
    rows = []
    for name in names:
        found = [_row(step) for step in run.rate_steps(name)]
        found += [_alone(run, name)] if any(t.capacity and t.capacity.lone for t in run.of(name)) else []
        rows += [[name if not place else "", *cells] for place, cells in enumerate(found)]
    if not rows:
        return ["No configuration of this phase was measured."]
    return table(HEAD, rows, right=1)


def _row(step: RateStep) -> list[str]:
    return [
        number(step.rate_per_s),
        f"{step.requests:,}",
        percent(step.attainment, 3),
        _pair(step.latencies, "ttft_ms"),
        _pair(step.latencies, "tpot_ms"),
        "grew" if step.queue_grew else "steady",
    ]


def _alone(run: RunData, name: str) -> list[str]:
    """The requests that were sent one at a time, of the last trial that sent any."""
    lone = next(t.capacity.lone for t in reversed(run.of(name)) if t.capacity and t.capacity.lone)
    return ["one at a time", f"{lone.requests:,}", percent(lone.attainment, 3), NONE, NONE, NONE]


def _pair(latencies: dict[str, float], name: str) -> str:
    return " / ".join(number(latencies.get(f"{word}_{name}")) for word in ("median", "p99"))
