"""What supports the result: the audit of every trial, and what was predicted beside what was measured."""

from __future__ import annotations

from rooftune.evidence.records.trial import Check, TrialResult
from rooftune.formatting import NONE, change, number, percent, quantity
from rooftune.report.markup import code, joined, sentence
from rooftune.report.page.model import Paragraph, Picture, Section, Table, bullets, section, table, text
from rooftune.report.run.changes import changes
from rooftune.report.run.naming import FirstMentions, Names
from rooftune.report.run_data import RunData
from rooftune.tuning.metrics import metric_name
from rooftune.workloads.spec import CAPACITY, lower_is_better

LARGE_GAP = 0.25
"""A measured value that differs from the prediction by more than this is a finding."""
HEADING = "Audit and predictions"
STATUSES = ("pass", "warn", "fail", "no data")


def evidence(run: RunData, names: Names, figures: list[Picture | Section]) -> Section | None:
    """The audit in a sentence, its checks folded; predictions that missed."""
    counts = _counts(run)
    checks = _checks(run, names, counts)
    predicted = _predicted(run, names)
    return section(
        HEADING,
        Paragraph(_summary(run, counts)),
        bullets(surprises(run, names)),
        *figures,
        section("Every check of the audit", checks, folded=True) if checks.rows else None,
        section("Measured and predicted", predicted, text(_gaps(run, predicted)), folded=True),
    )


def doubts(run: RunData, names: Names) -> str:
    """Which trials failed the audit, and what that means."""
    measured = [t for t in run.trials if t.status == "measured"]
    doubted = [t for t in measured if not t.believed]
    if not doubted:
        return "Every measured trial passed the audit."
    known, places = FirstMentions(names), dict[str, list[str]]()
    for t in doubted:
        places.setdefault(t.candidate, []).append(str(t.n))
    shown = [f"{'trial' if len(n) == 1 else 'trials'} {joined(n)} of {known.of(id)}" for id, n in places.items()]
    checks = dict.fromkeys(code(c.id) for t in doubted for c in t.checks if c.status == "fail")
    because = f" ({joined(list(checks))})" if checks else ""
    return (
        f"{len(doubted)} of {quantity(len(measured), 'trial')} failed the audit{because}, so no result uses "
        f"{'it' if len(doubted) == 1 else 'them'}: {joined(shown)}."
    )


def _concerns(check: Check, trial: TrialResult) -> bool:
    """Whether a check looks at trials of this kind."""
    kinds = {"simulated-clock": trial.simulated, "switched-limits": trial.switched is not None}
    return kinds.get(check.id, True)


def _counts(run: RunData) -> dict[str, dict[str, int]]:
    """How many trials each check passed, warned about and failed."""
    counts: dict[str, dict[str, int]] = {}
    for t in run.trials:
        for check in t.checks:
            if _concerns(check, t):
                counts.setdefault(check.id, dict.fromkeys(STATUSES, 0))[check.status] += 1
    return counts


def _summary(run: RunData, counts: dict[str, dict[str, int]]) -> str:
    if not counts:
        return "No audit was recorded."
    trials = quantity(sum(1 for t in run.trials if t.checks), "trial")
    words = f"{quantity(len(counts), 'check')} examined {trials}."
    for status, verb in (("fail", "failed in"), ("warn", "warned about"), ("no data", "had no data in")):
        found = [f"{code(name)} {verb} {row[status]}" for name, row in counts.items() if row[status]]
        words += f" {sentence(joined(found))}" if found else ""
    return words


def _checks(run: RunData, names: Names, counts: dict[str, dict[str, int]]) -> Table:
    warnings: dict[str, str] = {}
    known = FirstMentions(names)
    for t in run.trials:
        for check in t.checks:
            if _concerns(check, t) and check.status in ("warn", "fail") and check.id not in warnings:
                trial = f"trial {t.n} of {known.of(t.candidate)}"
                warnings[check.id] = sentence(f"{trial}: {sentence(names.shorten(check.sentence))}")
    rows = [
        [code(name), *[str(row[k]) if row[k] else NONE for k in row], warnings.get(name, "")]
        for name, row in counts.items()
    ]
    return table("Checks of the audit", ["Check", "Pass", "Warn", "Fail", "No data", "First warning"], rows)


def _predicted(run: RunData, names: Names) -> Table:
    """Measured and predicted values of the configurations that ran with the planned flags."""
    rows = []
    for p in run.measured:
        foreseen = run.plan.predicted.get(p.id)
        if not foreseen or run.config(p.id).flags() != p.config.flags():
            continue
        for metric in (CAPACITY,) if run.by_capacity else ("output_throughput", "median_tpot_ms"):
            ours, theirs = _level(run, p.id, metric), foreseen.get(metric)
            if ours and theirs:
                finding = "finding" if abs(ours / theirs - 1) > LARGE_GAP else ""
                what = [names.plain(p.id), changes(run, p.id), metric_name(metric)]
                rows.append([*what, number(ours), number(theirs), change(ours / theirs), finding])
    head = ["Configuration", "Changes from the baseline", "Metric", "Measured", "Predicted", "Difference", "Note"]
    return table("Measured and predicted values", head, rows)


def _level(run: RunData, id: str, metric: str) -> float | None:
    if metric != CAPACITY:
        return run.value(id, metric)
    found = run.capacity(id)
    return found.estimate if found is not None else None


def _gaps(run: RunData, predicted: Table) -> str:
    if not predicted.rows:
        return ""
    if run.simulated:
        return (
            "Both columns come from the same simulator, once over HTTP and once in virtual time. Their agreement "
            "checks the measurement, not the GPU."
        )
    if any("finding" in row for row in predicted.rows):
        return (
            f"A difference above {percent(LARGE_GAP)} is a finding: either the simulator does not know this case "
            "(`rooftune calibrate` fits it to an engine), or the server does not run as it should."
        )
    return ""


def surprises(run: RunData, names: Names) -> list[str]:
    """Gains over the baseline outside the range that the plan expected, and known traps that occurred."""
    lines, known = [], FirstMentions(names)
    for v in run.decision.verdicts:
        expected, found = run.plan.candidate(v.candidate).expected, v.ratios.get(v.metric)
        if found is None or v.against != "baseline":
            continue
        trap = any(g.verdict == "trap" for g in run.plan.candidate(v.candidate).gates)
        if trap:
            worse, better = found.high < 1, found.low > 1
            if lower_is_better(v.metric):
                worse, better = better, worse
            words = "occurred" if worse else "did not occur" if better else "could not be confirmed"
            lines.append(f"The known trap of {known.of(v.candidate)} {words} here.")
        if expected is None or expected.ratio is None or expected.metric != v.metric:
            continue
        low, high = expected.low or expected.ratio, expected.high or expected.ratio
        if found.high < low or found.low > high:
            lines.append(
                f"{known.of(v.candidate)} was predicted to gain {change(expected.ratio)} ({expected.source}) and "
                f"gained {change(found.estimate)}. Its interval does not explain the difference."
            )
    return lines
