"""What a run that ended early did not settle, and which of it carries, or may carry, more than the recommendation."""

from __future__ import annotations

from rooftune.formatting import multiple, quantity
from rooftune.report.markup import joined, sentence
from rooftune.report.run.merit import deciding_metric
from rooftune.report.run.naming import Names
from rooftune.report.run_data import RunData
from rooftune.tuning.capacity_figures import interval_words
from rooftune.tuning.metrics import metric_name
from rooftune.workloads.spec import CAPACITY, lower_is_better

MOST_NAMED = 3
"""Candidates that are named one by one; of more, only the number is said."""


def unsettled(run: RunData, names: Names) -> str:
    """Nothing where every candidate has its verdict and none carried more without being confirmed."""
    missing = _missing(run, names)
    return f"{missing} {_ahead(run, names)}".strip() if missing else _carried_more(run, names)


def _missing(run: RunData, names: Names) -> str:
    """Which candidates did not run, and which have no verdict yet."""
    skipped = [v.candidate for v in run.decision.verdicts if v.verdict == "not run"]
    search = run.decision.search
    if search is not None and not run.decision.complete:
        return _open_search(run, names)
    if run.decision.complete or not skipped:
        return ""
    begun = [name for name in skipped if run.of(name)]
    parts = [
        f"{quantity(len(found), 'candidate')} {words}{_named(names, found)}"
        for found, words in (
            ([name for name in skipped if name not in begun], "did not run"),
            (begun, "ran without a verdict"),
        )
        if found
    ]
    return " ".join(map(sentence, parts))


def _named(names: Names, found: list[str]) -> str:
    """Which candidates these are; a table further down lists more than a few."""
    return f": {joined([names.explained(id) for id in found])}" if len(found) <= MOST_NAMED else ""


def _open_search(run: RunData, names: Names) -> str:
    """What a search that ended early leaves open: whether there is a gain, or only which of the best is the best."""
    assert run.decision.search is not None
    ended = run.decision.search.reason == "the budget ended"
    confirmed = {v.candidate for v in run.decision.verdicts if v.verdict == "applied"} - {"baseline"}
    if run.decision.incumbent not in confirmed:
        if ended:
            return "The budget ended before a gain was confirmed."
        return f"No gain is confirmed yet: {names.explain(run.decision.search.reason)}."
    start = f"The {'budget' if ended else 'run'} ended before the trials showed whether"
    close = [v for v in run.decision.verdicts if v.verdict == "more trials needed"]
    if not close:
        return f"{start} another of the best configurations is better still."
    others = joined([names.explained(v.candidate) for v in close])
    so_far = [f.as_change for v in close if (f := v.ratios.get(v.metric)) is not None and v.against != "baseline"]
    verb, differences = ("is", "difference is") if len(close) == 1 else ("are", "differences are")
    differ = f" So far the {differences} {joined(so_far)}." if len(so_far) == len(close) else ""
    return f"{start} {others} {verb} better than the recommended configuration.{differ}"


def _ahead(run: RunData, names: Names) -> str:
    """What to do before the deployment, if something else carried or may carry more."""
    own = run.capacity_if_measured(run.decision.incumbent) if run.by_capacity else None
    if own is None:
        return ""
    skipped = [v.candidate for v in run.decision.verdicts if v.verdict == "not run"]
    more = _more(run)
    carried = _carried_more(run, names)
    if carried:
        return carried
    foreseen = _foreseen(run, names)
    if foreseen:
        return f"**{more}: {foreseen}.**"
    expected = {n: each for n in skipped if not run.of(n) and (each := run.plan.predicted.get(n, {}).get(CAPACITY))}
    base = run.plan.predicted.get(run.decision.incumbent, {}).get(CAPACITY)
    best = max(expected, key=lambda name: expected[name], default="")
    if base and expected.get(best, 0.0) > base:
        return (
            f"**{more}: the simulator expects {multiple(expected[best] / base)} the capacity from "
            f"{names.explained(best)}.**"
        )
    return ""


def _carried_more(run: RunData, names: Names) -> str:
    """What carried clearly more than the recommendation in its trials, but has no verdict."""
    own = run.capacity_if_measured(run.decision.incumbent) if run.by_capacity else None
    open_ones = [v.candidate for v in run.decision.verdicts if v.verdict in ("not run", "more trials needed")]
    carried = {name: c for name in open_ones if (c := run.capacity(name)) is not None}
    better = {name: c for name, c in carried.items() if own is not None and c.low > own.high}
    if not better:
        return ""
    best = max(better, key=lambda name: better[name].estimate)
    trials = quantity(len(run.of(best)), "trial")
    return f"**{_more(run)}: {names.explained(best)} carried {interval_words(better[best])} in {trials}.**"


def _more(run: RunData) -> str:
    """How to go on."""
    if run.decision.search is not None:
        return "Continue the run with --resume and a larger --budget before you deploy"
    return "Repeat the run with a larger --budget before you deploy"


def _foreseen(run: RunData, names: Names) -> str:
    """What a search that kept the baseline predicts to carry more, but did not measure."""
    found = {v.candidate: v.predicted for v in run.decision.verdicts if v.predicted is not None and not v.trials}
    search = run.decision.search
    found |= {p.option: p.ratio for p in search.phases if not p.measured} if search is not None else {}
    if not found or run.decision.incumbent != "baseline":
        return ""
    metric = deciding_metric(run)
    if lower_is_better(metric):
        better = {name: each for name, each in found.items() if 0 < each.high < 1}
        best = min(better, key=lambda name: better[name].high, default="")
        if not best:
            return ""
        words = f"a change in {metric_name(metric)} of {better[best].as_change}, and was not measured"
        return f"{names.explained(best)} is predicted to bring {words}"
    best = max(found, key=lambda name: found[name].low)
    if found[best].low <= 1:
        return ""
    return (
        f"{names.explained(best)} is predicted to carry {multiple(found[best].estimate)} as much, and was not measured"
    )
