"""From the baseline over the easy wins to the medium term: what each phase gave, and everything that was tried."""

from __future__ import annotations

from rooftune.formatting import number, quantity
from rooftune.report.page.model import Picture, Section, Table, section, table, text
from rooftune.report.run.attempts import loads_section, measured_section, untried_section
from rooftune.report.run.changes import changes
from rooftune.report.run.explanation import reasons_section
from rooftune.report.run.merit import besides, deciding_metric, from_baseline, heading, level, verdict_words
from rooftune.report.run.naming import Names
from rooftune.report.run_data import RunData
from rooftune.tuning.plan import PhaseBest


def progression(run: RunData, names: Names, figures: list[Picture | Section]) -> Section | None:
    """What each phase gave; folded below it, every configuration and candidate."""
    ids = [p.id for p in run.measured]
    return section(
        "Progression",
        _phases(run, names, besides(run, ids).metrics),
        text(_note(run), besides(run, ids).note if not ids else ""),
        *figures,
        measured_section(run, names),
        reasons_section(run, names),
        untried_section(run, names),
        loads_section(run, names),
        summary=True,
    )


def _phases(run: RunData, names: Names, metrics: tuple[str, ...]) -> Table:
    """One row per phase: the best configuration after it."""
    search = run.decision.search
    bests = {p.phase: p for p in search.phases} if search is not None else {}
    rows, before = [], ""
    for phase in run.phases:
        best = bests.get(phase)
        id = run.incumbent_after(phase)
        rows.append(_unchanged(run, names, phase, id, metrics) if id == before else
                    _row(run, names, phase, id, best, metrics))  # fmt: skip
        before = id
    head = ["Phase", "Best configuration", "Changes from the baseline", heading(deciding_metric(run))]
    head += [*map(heading, metrics), "Compared with the baseline", "Verdict"]
    return table("The best configuration after each phase", head, rows)


def _name(run: RunData, names: Names, id: str) -> str:
    return f"**{names.plain(id)}**" if id == run.decision.incumbent else names.plain(id)


def _unchanged(run: RunData, names: Names, phase: str, id: str, metrics: tuple[str, ...]) -> list[str]:
    """A phase after which the best configuration is the one before."""
    tried = [p for p in run.plan.candidates if p.phase == phase and run.of(p.id)]
    why = f"{quantity(len(tried), 'candidate')} measured, none better" if tried else "no candidate was measured"
    return [phase, _name(run, names, id), "as before", *[""] * (len(metrics) + 2), why]


def _row(
    run: RunData, names: Names, phase: str, id: str, best: PhaseBest | None, metrics: tuple[str, ...]
) -> list[str]:
    name = _name(run, names, id)
    if not run.of(id):
        gain, how = (best.ratio.as_change, "predicted") if best is not None and id != "baseline" else ("", "no result")
        return [phase, name, changes(run, id), "not measured", *[""] * len(metrics), gain, how]
    values = [number(run.value(id, metric)) for metric in metrics]
    gain = from_baseline(run, id)
    if best is not None and id != "baseline" and "(" not in gain:
        gain = best.ratio.as_change
    return [phase, name, changes(run, id), level(run, id), *values, gain, _verdict(run, names, id)]


def _verdict(run: RunData, names: Names, id: str) -> str:
    """The verdict, and for a later step what it gave over the step before."""
    words = verdict_words(run, id)
    if id == "baseline":
        return words
    verdict = run.verdict(id)
    found = verdict.ratios.get(verdict.metric)
    if found is not None and verdict.against not in (None, "baseline"):
        words += f"; {found.as_change} compared with {names.of(verdict.against or '')}"
    return words


def _note(run: RunData) -> str:
    """What the columns mean."""
    if not run.by_capacity:
        return "Brackets have 95 % intervals." + (
            " The server was overloaded, so throughput is its maximum." if run.decision.overloaded else ""
        )
    return "Capacity is the rate that one server carries within the SLO. Brackets have 95 % intervals."
