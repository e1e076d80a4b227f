"""Speed and answers side by side: every configuration that may change the answers, with what a check found."""

from __future__ import annotations

from rooftune.evidence.records.quality import MeasureName, Quality
from rooftune.formatting import NONE, number, percent, quantity
from rooftune.quality.guard import NO_TEXTS
from rooftune.quality.judge import THRESHOLDS, value_words
from rooftune.quality.key import may_change_answers
from rooftune.report.markup import joined, sentence
from rooftune.report.page.model import Section, section, table, text
from rooftune.report.run.changes import another_kernel
from rooftune.report.run.merit import deciding_metric, from_baseline, heading, level, merit
from rooftune.report.run.naming import Names
from rooftune.report.run_data import RunData
from rooftune.tuning.metrics import metric_name, unit_of

HEADING = "What happens to the answers"
COLUMNS: dict[MeasureName, str] = {
    "top-1 disagreement": "Other top token",
    "KL divergence": "KL divergence",
    "ln perplexity ratio": "Perplexity",
    "ln length ratio": "Length",
    "lost ends": "Lost ends",
    "not greedy": "Not greedy",
    "greedy difference": "Greedy answers differ",
}
BY_HAND = "Compare its answers with the baseline's before you deploy it."
NO_CHECK = "no trial that started its server looked promising"


def answer_quality(run: RunData, names: Names) -> Section | None:
    """One row for each measured configuration that may change the answers; one sentence where none was checked.

    The section about the prompts says it where there are none.
    """
    ids = sorted(checked_or_due(run), key=lambda id: -merit(run, id))
    if not ids or (run.floor is None and not _has_texts(run)):
        return None
    if run.floor is None:
        shown = joined(list(map(names.explained, ids)))
        words = f"{shown} may change the answers, but this was not judged: {why_not_judged(run)}"
        return section(HEADING, text(sentence(words)))
    head = ["Configuration", heading(deciding_metric(run)), "Compared with the baseline", "Answers"]
    head += [*COLUMNS.values(), "Your evaluation", "Why"]
    rows = []
    for id in ids:
        found = run.quality(id)
        name = f"**{names.plain(id)}**" if id == run.decision.incumbent else names.plain(id)
        cells = [_measure(found, measure) for measure in COLUMNS]
        rows.append([
            name, level(run, id), from_baseline(run, id), found.verdict if found else "not judged", *cells,
            _evaluation(found), sentence(found.reason if found else why_not_judged(run)),
        ])  # fmt: skip
    return section(HEADING, text(_headline(run), _floor(run)), table("Speed and answers", head, rows), text(_note(run)))


def known_answers(run: RunData, id: str) -> str:
    """What is known about a configuration's answers, in sentences; empty where they are the baseline's up to rounding.

    It is beside every recommendation: on the first screen, at the end of the command, and in the start script.
    """
    found = run.quality(id)
    if found is None and not _may_differ(run, id):
        return ""
    if found is None or found.verdict == "not judged":
        return sentence(f"not checked: {found.reason if found is not None else why_not_judged(run)}") + f" {BY_HAND}"
    accepted = "; --accept-quality-loss allowed it to win" if found.verdict == "spoilt" and run.accepts_loss else ""
    return sentence(f"{found.verdict}{' (simulated)' if found.simulated else ''}: {found.reason}{accepted}")


def _may_differ(run: RunData, id: str) -> bool:
    """Whether a configuration's answers can differ from the baseline's by more than rounding."""
    config, base = run.config_of(id), run.config_of("baseline")
    if another_kernel({"quantization": config.quantization}, base):
        config = config.with_change({"quantization": base.quantization})
    return may_change_answers(config, base)


def unchecked_answers(run: RunData) -> str:
    """A warning where the answers of the recommended configuration may differ and were not checked; else empty."""
    own = run.decision.incumbent
    words = known_answers(run, own) if run.of(own) else ""
    found = run.quality(own)
    judged = found is not None and found.verdict != "not judged"
    return (
        ""
        if judged or not words
        else f"The answers of the recommended configuration were {words[0].lower()}{words[1:]}"
    )


def checked_or_due(run: RunData) -> list[str]:
    """Measured configurations that may change the answers, or that a check judged."""
    ids = [p.id for p in run.measured if p.id != "baseline"]
    return [id for id in ids if run.quality(id) is not None or run.changes_answers(id)]


def answers_cell(run: RunData, id: str, *, may_change: bool) -> str:
    """What is known about a configuration's answers, in a cell."""
    found = run.quality(id)
    if found is not None and found.verdict != "not judged":
        return found.verdict
    return "may change" if may_change else "the same"


def rejected(run: RunData, names: Names) -> str:
    """The best configuration that was not chosen because it spoils the answers; empty without one."""
    own = run.decision.incumbent
    spoilt = [v.candidate for v in run.decision.verdicts if v.verdict == "spoilt" and run.of(v.candidate)]
    better = [id for id in spoilt if merit(run, id) > (merit(run, own) if run.of(own) else 0.0)]
    if not better:
        return ""
    best = max(better, key=lambda id: merit(run, id))
    found = run.quality(best)
    why = f": {found.reason}" if found is not None else ""
    label = " (simulated)" if found is not None and found.simulated else ""
    metric = deciding_metric(run)
    words = sentence(
        f"{names.explained(best)} has {metric_name(metric)} {level(run, best)} {unit_of(metric)}, but was not chosen "
        f"because it spoils the answers{label}{why}"
    )
    return f"{words} To let it win, resume the run with --accept-quality-loss; its trials are kept."


def why_not_judged(run: RunData) -> str:
    """Why a configuration that may change the answers has no verdict."""
    floor = run.floor
    if floor is not None:
        return floor.reason or NO_CHECK
    return "the baseline's answers were not collected" if _has_texts(run) else NO_TEXTS


def _has_texts(run: RunData) -> bool:
    return run.workload is not None and run.workload.prompts is not None


def _headline(run: RunData) -> str:
    """What holds for the recommended configuration."""
    own = run.decision.incumbent
    found = run.quality(own)
    if own == "baseline":
        return ""
    if found is not None:
        label = "By simulated answers, the" if found.simulated else "The"
        words = f"{label} answers of the recommended configuration are {found.verdict}: {found.reason}"
        accepted = "; --accept-quality-loss allowed it to win" if found.verdict == "spoilt" else ""
        return sentence(words + accepted)
    if own in checked_or_due(run):
        return sentence(f"the answers of the recommended configuration are not judged: {why_not_judged(run)}")
    return "The recommended configuration leaves the answers as the baseline gives them, up to rounding."


def _floor(run: RunData) -> str:
    floor = run.floor
    if floor is None or not floor.prompts:
        return ""
    other, kl = floor.values.get("top-1 disagreement", 0.0), floor.values.get("KL divergence", 0.0)
    differs = f"{value_words('top-1 disagreement', other)} of top tokens and by {value_words('KL divergence', kl)}"
    toy = "The answers are those of a toy distribution, which the simulated engine plays. "
    label = toy if floor.simulated else ""
    return (
        f"{label}The baseline compared with itself over {quantity(floor.prompts, 'prompt')} and "
        f"{floor.tokens:,} tokens differs in {differs}; only what exceeds this is shown."
    )


def _note(run: RunData) -> str:
    if run.floor is None or not run.floor.prompts:
        return ""
    checks = [found for p in run.measured if (found := run.quality(p.id)) is not None]
    shown = [name for name in COLUMNS if any(found.measure(name) is not None for found in checks)]
    if not shown:
        return ""
    limits = "; ".join(f"{COLUMNS[name]}: {value_words(name, THRESHOLDS[name])}" for name in shown)
    return (
        "Values are means over prompts, with intervals whose level of 95 % holds for all measures of a check together. "
        f"A configuration that exceeds the floor by more than a threshold is spoilt. {limits}."
    )


def _measure(found: Quality | None, name: MeasureName) -> str:
    m = found.measure(name) if found is not None else None
    if m is None:
        return NONE
    low, high = value_words(name, m.low).rpartition(" ")[0], value_words(name, m.high)
    return f"{value_words(name, m.excess)} ({low} to {high})"


def _evaluation(found: Quality | None) -> str:
    e = found.evaluation if found is not None else None
    if e is None:
        return NONE
    return f"{number(e.candidate)} and {number(e.baseline)} for the baseline: loss {percent(e.loss)}"
