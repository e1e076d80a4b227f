"""How the results were obtained: search, windows, order, trials, metrics, verdicts, clock."""

from __future__ import annotations

from statistics import median

from rooftune.evidence.comparison.compare import MOST_TRIALS, SMALLEST_EFFECT
from rooftune.formatting import number, percent, quantity
from rooftune.report.markup import code, joined, sentence
from rooftune.report.page.model import Fact, Facts, Section, section, text
from rooftune.report.run.naming import Names
from rooftune.report.run.question import hardware_words, objective_words
from rooftune.report.run_data import RunData
from rooftune.tuning.plan import SearchSummary

MOST_SHOWN = 60
"""Trials listed in the order of the run."""
HEADING = "How it was measured"


def method(run: RunData, names: Names) -> Section | None:
    """What was searched and how the trials were made; the details are folded."""
    rows = [*_about(run), *_load(run, names), *_rules(run, names)]
    details = section("Windows, order, metrics, verdicts", Facts(tuple(r for r in rows if r.text)), folded=True)
    return section(HEADING, text(_course(run, names)), details)


def _about(run: RunData) -> list[Fact]:
    """When, where and what."""
    target, about = run.plan.target, run.about
    model = target.model
    if run.config("baseline").model != model:
        model += f" as {run.config('baseline').model}"
    description = run.workload.description.rstrip(".") if run.workload is not None else ""
    used = target.calibration
    origin = f"the predicted step times come from {code(used.path)} (sha256 {used.sha256[:12]})" if used else ""
    return [
        Fact("Run", f"{about.get('run_id', run.folder.path.name)}, {str(about.get('created', ''))[:10]}"),
        Fact("Workload", "; ".join([run.plan.workload, *([description] if description else [])])),
        Fact("Objective", sentence(objective_words(run))),
        Fact("Hardware", hardware_words(run)),
        Fact("Model", model),
        Fact("Calibration", sentence(origin)),
    ]


def _course(run: RunData, names: Names) -> str:
    """What the search looked at, and how it ended."""
    search = run.decision.search
    trials = quantity(sum(1 for t in run.trials if t.status == "measured"), "measured trial")
    if search is None:
        failed = sum(1 for t in run.trials if t.status != "measured")
        return f"{trials[0].upper()}{trials[1:]}, {failed} failed." if failed else f"{trials[0].upper()}{trials[1:]}."
    words = f"The {search.method} search chose among {quantity(search.space, 'configuration')} that can start"
    words += f", of which {search.predicted:,} were predicted" if search.predicted else ""
    words += f" and {search.measured} measured in {trials}. {_ending(search, names)}"
    if search.chance_of_better is not None:
        words += (
            f" The chance that a configuration without a trial is clearly better is {percent(search.chance_of_better)}."
        )
    if search.confirmation:
        words += f" {sentence(_confirmation(search.confirmation, complete=run.decision.complete, names=names))}"
    return words


def _confirmation(said: str, *, complete: bool, names: Names) -> str:
    """What the confirmation ended with; of one that did not end, the trial that it asked for."""
    return f"Confirmation: {names.explain(said)}" if complete else f"The next trial would be {names.explain(said)}"


def _ending(search: SearchSummary, names: Names) -> str:
    if search.reason == "the budget ended":
        return "It ended when the budget ran out."
    return f"It ended because {names.explain(search.reason).rstrip('.')}."


def _load(run: RunData, names: Names) -> list[Fact]:
    """Windows, requests and seeds of the trials."""
    good = [t for t in run.trials if t.status == "measured"]
    windows = [t.window for t in good if t.window is not None]
    rows = []
    if windows and run.by_capacity:
        lasted = sorted(w.end_s - w.start_s for w in windows)
        span = number(lasted[0]) if lasted[0] == lasted[-1] else f"{number(lasted[0])} s to {number(lasted[-1])}"
        rows.append(Fact("Windows", f"{span} s, as long as the rate of each load needs; the time before is warm-up."))
    elif windows:
        start, end = median(w.start_s for w in windows), median(w.end_s for w in windows)
        rows.append(Fact("Window", f"{number(start)} s to {number(end)} s of the load; the time before is warm-up."))
    census = [t.census for t in good if t.census is not None]
    if census:
        total = sum(x.scheduled for x in census)
        parts = {
            "completed": sum(x.completed for x in census),
            "failed": sum(x.failed for x in census),
            "refused": sum(x.refused for x in census),
            "cut at the end of the drain": sum(x.cut for x in census),
            "never begun": sum(x.never_begun for x in census),
        }
        outcomes = joined([f"{v:,} {k}" for k, v in parts.items() if v])
        rows.append(Fact("Requests", f"{total:,} scheduled: {outcomes}."))
    seeds = joined([str(seed) for seed in sorted({t.seed for t in good})])
    failed = len(run.trials) - len(good)
    rows.append(Fact("Trials", f"{len(good)} measured, {failed} failed; seeds {seeds}."))
    return [*rows, Fact("Switched", _switched(run, names))]


def _switched(run: RunData, names: Names) -> str:
    """Which trials ran on a server that was started for another one."""
    found = [
        f"{code(f'{names.plain(t.candidate)}/{t.n}')} (server of {code(names.shorten(t.switched.server_of))})"
        for t in run.trials
        if t.switched
    ]
    if not found:
        return ""
    return (
        f"{joined(found)} ran on a server whose limits were lowered without a restart. The search compares these "
        "trials with each other; the confirmation started every server with the flags shown."
    )


def _order(run: RunData, names: Names) -> str:
    shown = [names.plain(t.candidate) for t in run.trials]
    return " → ".join(shown if len(shown) <= MOST_SHOWN else [*shown[:MOST_SHOWN], "…"])


def _rules(run: RunData, names: Names) -> list[Fact]:
    """Order, metrics, verdicts and clock."""
    runnable = sum(1 for p in run.plan.candidates[1:] if p.runnable)
    but = ", except those listed as switched" if any(t.switched for t in run.trials) else ""
    scale = max((t.time_scale for t in run.trials), default=1.0)
    clock = (
        f"The simulated engine and the client ran {number(scale)} times faster than real time. All times are in "
        "workload seconds."
    )
    return [
        Fact(
            "Order",
            f"{_order(run, names)}. “Progression” lists what each of them changes. Alternatives run in palindromes "
            "around the incumbent, so a steady drift affects all of them equally. Each trial starts its own server"
            f"{but}. The trials of a pair send the same requests.",
        ),
        *_metrics(run),
        Fact(
            "Verdicts",
            f"The intervals shown are 95 % intervals. A verdict needs a stricter level, corrected for "
            f"{quantity(runnable, 'candidate')} and for a look after every second trial, up to {MOST_TRIALS}. A "
            f"difference below {percent(SMALLEST_EFFECT)} is treated as no difference. The unit of comparison is the "
            "trial, because the requests of one trial share a server and a queue.",
        ),
        Fact("Clock", clock if run.simulated else ""),
    ]


def _metrics(run: RunData) -> list[Fact]:
    """What the metrics mean."""
    if not run.by_capacity:
        return [
            Fact(
                "Metrics",
                "Throughput counts all tokens that arrived in the window, including those of unfinished requests. TTFT "
                "and E2EL start at the moment for which the arrival process scheduled the request.",
            )
        ]
    server = next((t.capacity.reference for t in reversed(run.trials) if t.capacity and t.capacity.reference), "")
    return [
        Fact(
            "Capacity",
            "The highest rate of the arrival process at which the share of the SLO meets every limit. A trial loads "
            "its server where the capacity is expected, and once more where that was far off. The same requests go "
            "through a simulated reference, which shows how fast it would have to be to give the same times. Its "
            "long-run capacity at that speed is the figure. The interval covers the scatter of loads and starts, and "
            "an allowance for the shape of the reference.",
        ),
        Fact(
            "Times",
            "TTFT and E2EL start at the moment for which the arrival process scheduled the request. A request that "
            "failed or did not end has missed the SLO.",
        ),
        Fact("Reference", f"{server}, with the flags of each configuration." if server else ""),
    ]
