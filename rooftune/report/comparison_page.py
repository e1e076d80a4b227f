"""The page of ``rooftune compare RUN RUN``: which run is better, by how much, and what else differs."""

from __future__ import annotations

from pathlib import Path

from rooftune.files import write_text
from rooftune.formatting import NONE, number, quantity
from rooftune.report.compare import PairComparison, RunComparison, RunSide
from rooftune.report.markup import code, flag_code, interval_change, sentence
from rooftune.report.page.model import (
    Block,
    Fact,
    Facts,
    Page,
    Paragraph,
    Picture,
    Section,
    bullets,
    section,
    table,
    text,
)
from rooftune.report.page.to_html import html
from rooftune.report.page.to_markdown import markdown
from rooftune.tuning.metrics import metric_name

HEADLINES = {
    "better": "B is better",
    "worse": "B is worse",
    "no measurable difference": "There is no measurable difference",
    "more trials needed": "The trials do not decide it yet",
    "not run": "The runs cannot be compared",
    "not trusted": "The runs cannot be compared",
}
REPORT = "comparison.md"
FIGURE = "figures/two_runs"


def comparison_page(found: RunComparison) -> Page:
    """The answer about the recommended configurations first, then every configuration that both runs measured."""
    first, *others = found.pairs
    opening: list[Block] = []
    if found.a.simulated or found.b.simulated:
        both = found.a.simulated and found.b.simulated
        which = "Both runs are" if both else "Run A is" if found.a.simulated else "Run B is"
        opening.append(Paragraph(f"**Simulated.** {which} of rooftune's emulated engine; no GPU ran there.", "warning"))
    opening += [
        Paragraph(sentence(f"{HEADLINES.get(first.verdict, first.verdict)}: {_reason(first)}"), "answer"),
        Facts((Fact("A", _side(found.a)), Fact("B", _side(found.b)))),
    ]
    sections = (
        section(
            "The recommended configurations",
            _metrics(first),
            text(f"{quantity(first.trials[0], 'trial')} of A and {quantity(first.trials[1], 'trial')} of B."),
            Picture(FIGURE, "The change from A to B of every configuration that both runs measured"),
            summary=True,
        ),
        section("What else differs", bullets([sentence(caveat) for caveat in found.caveats]), summary=True),
        _others(others),
    )
    title = f"{found.a.workload}: {Path(found.a.run).name} and {Path(found.b.run).name}"
    return Page(title, tuple(opening), tuple(s for s in sections if s is not None))


def write_comparison(found: RunComparison, folder: Path) -> Path:
    """Write comparison.md, comparison.html and their figure into a folder; returns the path of the first."""
    from rooftune.report.figures.saving import save
    from rooftune.report.figures.two_runs import two_runs

    chart = two_runs(found)
    if chart is not None:
        save(chart, folder / f"{FIGURE}.png")
    page = comparison_page(found)
    path = folder / REPORT
    write_text(path, markdown(page, folder))
    write_text(path.with_suffix(".html"), html(page, folder))
    return path


def _reason(pair: PairComparison) -> str:
    """Why the verdict, with the name that the page gives to the first side."""
    return pair.reason.replace(f"compared with {pair.a}", "compared with A")


def _side(side: RunSide) -> str:
    """Where a run was made, and what it recommends."""
    chosen = "the baseline" if side.incumbent == "baseline" else ", ".join(map(flag_code, side.changes))
    where = f"{side.model} on {side.gpu}, vLLM {side.engine_version}"
    return f"{side.workload}, {where}. Recommended: {chosen}. Run: {code(side.run)}."


def _metrics(pair: PairComparison) -> Block:
    rows = [
        [_capital(metric_name(m)), number(values.a), number(values.b), interval_change(values.ratio)]
        for m, values in pair.metrics.items()
    ]
    return table("The metrics of both sides", ["Metric", "A", "B", "Change from A to B"], rows)


def _others(pairs: list[PairComparison]) -> Section | None:
    """One row per configuration that both runs measured."""
    rows = []
    for pair in pairs:
        metric = next(iter(pair.metrics), None)
        if metric is None:
            continue
        values = pair.metrics[metric]
        cells = [number(values.a), number(values.b), interval_change(values.ratio)]
        what = [code(pair.a), ", ".join(map(flag_code, pair.changes)) or NONE, _capital(metric_name(metric))]
        rows.append([*what, *cells, pair.verdict, sentence(_reason(pair))])
    head = ["Configuration", "Changes from the baseline", "Metric", "A", "B", "Change from A to B", "B is", "Reason"]
    found = table("Configurations that both runs measured", head, rows)
    return section(f"{quantity(len(rows), 'configuration')} measured in both runs", found, folded=True)


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]
