"""The section on what the verdicts teach: what helped, what cost, what could not be decided."""

from __future__ import annotations

from rooftune.formatting import change
from rooftune.report.markup import code, joined, sentence
from rooftune.report.phases import trade_off
from rooftune.report.run_data import RunData
from rooftune.tuning.metrics import metric_name
from rooftune.tuning.plan import Verdict, VerdictName
from rooftune.workloads.spec import CAPACITY


def learnings_section(run: RunData) -> list[str]:
    """One line per verdict, then known traps and surprises."""
    groups: dict[VerdictName, list[Verdict]] = {}
    for v in run.decision.verdicts:
        groups.setdefault(v.verdict, []).append(v)

    def lines_of(name: VerdictName, words: str) -> list[str]:
        return [f"- **{v.candidate} {words}**: {sentence(v.reason)}" for v in groups.get(name, [])]

    lines = [f"- **{v.candidate} helped**: {sentence(_ratio_words(v))}" for v in groups.get("applied", []) if v.against]
    lines += lines_of("outdone", "would help too")
    lines += [f"- **{v.candidate} was worse**: {sentence(v.reason)}{_gained(v)}" for v in groups.get("no gain", [])]
    names = [code(v.candidate) for v in groups.get("no measurable difference", [])]
    if names:
        lines.append(f"- **No measurable difference**: {joined(names)}.")
    lines += lines_of("more trials needed", "is undecided")
    lines += lines_of("already on", "was already on")
    for v in groups.get("not supported", []):
        words = "was not measured" if v.lacks_artifact else "is not supported here"
        lines.append(f"- **{v.candidate} {words}**: {sentence(v.reason)}")
    lines += lines_of("failed", "failed")
    lines += lines_of("not trusted", "is not trusted")
    return ["## Learnings", "", *lines, *traps(run), *surprises(run), ""]


def traps(run: RunData) -> list[str]:
    """Whether the known traps of the candidates occurred here."""
    lines = []
    for p in run.plan.candidates:
        v = run.verdict(p.id)
        metric = CAPACITY if run.by_capacity else "output_throughput"
        found = v.ratios.get(metric)
        if found is None or not any(g.verdict == "trap" for g in p.gates):
            continue
        words = "occurred" if found.high < 1 else "did not occur" if found.low > 1 else "could not be confirmed"
        lines.append(
            f"- **The known trap of {p.id} {words} here**: {metric_name(metric)} {found.as_change} compared "
            f"with {v.against}."
        )
    return lines


def _ratio_words(v: Verdict) -> str:
    found = v.ratios.get(v.metric)
    return f"{metric_name(v.metric)} {found.as_change} compared with {v.against}" if found else v.reason


def _gained(v: Verdict) -> str:
    """What a rejected change would have improved."""
    better = trade_off(v).better
    return f" In return: {joined(better)}." if better else ""


def surprises(run: RunData) -> list[str]:
    """Results outside the range that the plan expected."""
    lines = []
    for v in run.decision.verdicts:
        expected = run.plan.candidate(v.candidate).expected
        found = v.ratios.get(v.metric)
        if expected is None or expected.ratio is None or found is None or expected.metric != v.metric:
            continue
        if v.against != "baseline":
            continue
        low, high = expected.low or expected.ratio, expected.high or expected.ratio
        if found.high < low or found.low > high:
            lines.append(
                f"- **{v.candidate} differs from the prediction**: {metric_name(v.metric)} {found.as_change} was "
                f"measured, {change(expected.ratio)} was predicted ({expected.source})."
            )
    return lines
