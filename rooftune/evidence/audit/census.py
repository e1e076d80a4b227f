"""Checks of the census: every scheduled request has one outcome, and metrics cover unfinished ones too."""

from __future__ import annotations

import math
from collections import Counter

from rooftune.evidence.audit.findings import failed, no_data, passed, warned
from rooftune.evidence.metrics.request_metrics import scheduled_in
from rooftune.evidence.records.evidence import Evidence
from rooftune.evidence.records.trial import Check
from rooftune.loadgen.schema import STATUSES

UNFINISHED_WARN, UNFINISHED_FAIL = 0.01, 0.05
"""Shares of scheduled requests without an end above which metrics over the others get a warning, and fail."""
BROKEN_WARN, BROKEN_FAIL = 0.001, 0.05
"""Shares of failed and refused requests."""


def census(e: Evidence) -> Check:
    """Completed + failed + refused + cut + never begun = scheduled, and few failed."""
    name = "census"
    if e.requests is None or len(e.requests) == 0:
        return _census_by_summary(e, name)
    counts = Counter(e.requests.status.tolist())
    scheduled = len(e.requests)
    if e.trial is not None and e.trial.census is not None:
        counts = Counter({s: getattr(e.trial.census, s) for s in STATUSES})
        scheduled = e.trial.census.scheduled
    figures = {"scheduled": scheduled, **{s: counts.get(s, 0) for s in STATUSES}}
    outcomes = ", ".join(f"{n:,} {s.replace('_', ' ')}" for s in STATUSES if (n := counts.get(s, 0)))
    if sum(counts[s] for s in STATUSES) != scheduled:
        return failed(
            name,
            f"{scheduled:,} requests were scheduled, but their outcomes do not add up to that: {outcomes}.",
            "Run the load again; records were lost.",
            figures,
        )
    claimed = e.quoted.get("completed") if not e.ours else None
    if isinstance(claimed, (int, float)) and claimed > counts["completed"]:
        return failed(
            name,
            f"The file claims {claimed:,.0f} completed requests, but its records show {counts['completed']:,}.",
            "Count a request as completed only after its last token.",
            figures,
        )
    broken = (counts["failed"] + counts["refused"]) / scheduled
    sentence = f"{scheduled:,} scheduled: {outcomes}."
    remedy = "Read the errors in the records and the server's log; lower the rate or fix the server."
    if broken > BROKEN_FAIL:
        return failed(name, f"{100 * broken:.1f} % of the requests failed or were refused. {sentence}", remedy, figures)
    if broken > BROKEN_WARN:
        return warned(name, f"{100 * broken:.1f} % of the requests failed or were refused. {sentence}", remedy, figures)
    return passed(name, sentence, figures)


def _census_by_summary(e: Evidence, name: str) -> Check:
    """Without single requests: the counts that the tool reports."""
    scheduled, completed = e.quoted.get("num_prompts"), e.quoted.get("completed")
    if not scheduled or completed is None or not math.isfinite(scheduled) or not 0 <= completed <= scheduled:
        return no_data(name, f"{e.no_requests}, so their outcomes are not known.")
    share = 1 - completed / scheduled
    figures = {"scheduled": scheduled, "completed": completed}
    sentence = f"{scheduled:,.0f} requests, of which {completed:,.0f} completed by the tool's own count."
    remedy = "Read the errors in the tool's output and the server's log; lower the rate or fix the server."
    if share > BROKEN_FAIL:
        return failed(name, f"{100 * share:.1f} % of the requests did not complete. {sentence}", remedy, figures)
    if share > BROKEN_WARN:
        return warned(name, f"{100 * share:.1f} % of the requests did not complete. {sentence}", remedy, figures)
    return passed(name, sentence, figures)


def unfinished(e: Evidence) -> Check:
    """Requests without an end: harmless where metrics include them as unfinished, fatal where they are left out."""
    name = "survivors"
    if e.requests is None or len(e.requests) == 0:
        return no_data(name, f"{e.no_requests}, so it is not known whether its metrics leave some out.")
    r = e.requests
    mine = scheduled_in(r, e.window) if e.window is not None else r.scheduled_s >= 0
    total, open_ones = int(mine.sum()), int((mine & ((r.status == "cut") | (r.status == "never_begun"))).sum())
    if total == 0:
        return failed(name, "No request was scheduled in the measured window.", "Measure longer, or raise the rate.")
    share = open_ones / total
    figures = {"scheduled": total, "unfinished": open_ones, "share": round(share, 4)}
    if e.ours:
        withheld = len(e.trial.withheld) if e.trial else 0
        unended = f"{open_ones:,} of the {total:,} requests scheduled in the window had not finished"
        if open_ones == 0:
            return passed(name, f"All {total:,} requests scheduled in the window ended.", figures)
        return passed(
            name,
            f"{unended}; they are counted as unfinished, and {withheld} metrics that depend on them are withheld.",
            figures,
        )
    sentence = (
        f"{open_ones:,} of {total:,} requests ({100 * share:.0f} %) had not finished when the "
        "client stopped waiting. Latencies and tokens of the others are biased: short and "
        "early requests finish first."
    )
    remedy = (
        "Wait for the answers, or count unfinished requests as longer than the measured time "
        "and their tokens as they arrive."
    )
    if share > UNFINISHED_FAIL:
        return failed(name, sentence, remedy, figures)
    if share > UNFINISHED_WARN:
        return warned(name, sentence, remedy, figures)
    return passed(
        name, f"{total - open_ones:,} of {total:,} requests ended, so metrics over them cover nearly all.", figures
    )
