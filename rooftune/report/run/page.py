"""The report of a run as one page: the answer first, then how it came about, details folded."""

from __future__ import annotations

from pathlib import Path

from rooftune.report.page.model import Block, Page, Paragraph
from rooftune.report.run.answer import answer, facts
from rooftune.report.run.answer_quality import answer_quality
from rooftune.report.run.deployment import deployment
from rooftune.report.run.evidence import evidence
from rooftune.report.run.files import files
from rooftune.report.run.hardware import hardware
from rooftune.report.run.levers import levers
from rooftune.report.run.limits import limits
from rooftune.report.run.method import method
from rooftune.report.run.naming import names_of
from rooftune.report.run.pictures import EVIDENCE, LIMITS, LOAD, PROGRESSION, TRADE_OFFS, Pictures
from rooftune.report.run.progression import progression
from rooftune.report.run.prompts import prompts
from rooftune.report.run.question import question, simulated_words
from rooftune.report.run.request_kinds import adapters, reasoning
from rooftune.report.run.scenarios import scenarios
from rooftune.report.run.servers import servers
from rooftune.report.run.speculation import speculation
from rooftune.report.run.trade_offs import trade_offs
from rooftune.report.run_data import RunData
from rooftune.tuning.decision import place_of


def page_of(run: RunData, pictures: Pictures, scripts: list[Path]) -> Page:
    """The whole report.

    Args:
        pictures: the figures that were drawn.
        scripts: the start scripts that were written.
    """
    names = names_of(run)
    opening: list[Block] = [Paragraph(simulated_words(run), "warning")] if run.simulated else []
    opening += [Paragraph(question(run)), answer(run, names)]
    known = facts(run, names)
    opening += [known] if known.rows else []
    sections = (
        deployment(run, names, pictures.first),
        levers(run, names),
        servers(run, pictures.of(LOAD)),
        progression(run, names, pictures.of(PROGRESSION)),
        trade_offs(run, names, pictures.of(TRADE_OFFS)),
        speculation(run, names),
        answer_quality(run, names),
        scenarios(run, names),
        prompts(run, names),
        reasoning(run, names),
        adapters(run, names),
        hardware(run),
        limits(run, names, pictures.of(LIMITS)),
        evidence(run, names, pictures.of(EVIDENCE)),
        method(run, names),
        files(run, scripts),
    )
    title = f"{run.plan.workload} on {place_of(run.plan, run.trials)}"
    return Page(title, tuple(opening), tuple(s for s in sections if s is not None))
