"""How it was measured: windows, order, trials, audit, clock; measured against predicted; the list of files."""

from __future__ import annotations

from statistics import median

from rooftune.evidence.comparison.compare import MOST_TRIALS
from rooftune.report.contents import Contents
from rooftune.report.text import joined, number, plain_change, sentence, table

LARGE_GAP = 0.25
"""A measured figure that differs more than this from the prediction is a finding."""


def measured(c: Contents) -> list[str]:
    """How the figures came about."""
    lines = ["## How it was measured", ""]
    good = [t for t in c.trials if t.status == "measured"]
    if good:
        lines += _load(c)
    lines += [
        f"- Order: {_order(c)}. Alternatives run in palindromes around the incumbent, so that a steady drift weighs on "
        "all of them alike; each trial has a server of its own, and the trials of a pair draw the same requests.",
        "- Figures: throughput counts the tokens that arrived in the window, also those of unfinished requests; TTFT "
        "and E2EL count from the moment at which the arrival process scheduled the request.",
    ]
    runnable = sum(1 for p in c.plan.candidates[1:] if p.runnable)
    lines.append(
        f"- Verdicts: intervals shown are 95 %. A verdict needs more than that: the level that decides is corrected for "
        f"{runnable} candidates and for looking after every second trial up to {MOST_TRIALS}, and a difference below 2 % "
        "counts as none. The unit is the trial, since requests of one trial share server and queue."
    )
    if c.simulated:
        scale = max((t.time_scale for t in c.trials), default=1.0)
        lines.append(
            f"- Clock: the simulated engine ran {scale:g} times faster than real time and the client with it; all times "
            "are given in workload seconds."
        )
    used = c.plan.target.calibration
    if used is not None:
        lines.append(f"- Calibration: predicted step times come from `{used.path}` (sha256 {used.sha256[:12]}).")
    lines += ["", "### Audit", "", *_audit(c), ""]
    return lines + predicted(c)


def _load(c: Contents) -> list[str]:
    good = [t for t in c.trials if t.status == "measured"]
    windows = [t.window for t in good if t.window is not None]
    lines = []
    if windows:
        start, end = median(w.start_s for w in windows), median(w.end_s for w in windows)
        lines.append(f"- Window: from {number(start)} s to {number(end)} s of the load; what came before is warm-up.")
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
        told = joined([f"{v:,} {k}" for k, v in parts.items() if v])
        lines.append(f"- Requests: {total:,} scheduled in {len(census)} trials: {told}.")
    seeds = sorted({t.seed for t in good})
    lines.append(
        f"- Trials: {len(good)} measured, {len(c.trials) - len(good)} failed; seeds {joined([str(s) for s in seeds])}."
    )
    return lines


def _order(c: Contents) -> str:
    names = [t.candidate for t in c.trials]
    return " → ".join(names) if len(names) <= 60 else " → ".join([*names[:60], "…"])


def _audit(c: Contents) -> list[str]:
    counts: dict[str, dict[str, int]] = {}
    said: dict[str, str] = {}
    for t in c.trials:
        for check in t.checks:
            if check.id == "simulated-clock" and not t.simulated:
                continue
            row = counts.setdefault(check.id, {"pass": 0, "warn": 0, "fail": 0, "no data": 0})
            row[check.status] += 1
            if check.status in ("warn", "fail") and check.id not in said:
                said[check.id] = f"`{t.candidate}/{t.n}`: {check.sentence}"
    if not counts:
        return ["No audit was recorded."]
    rows = [
        [
            name,
            *[str(row[k]) if row[k] else "–" for k in ("pass", "warn", "fail", "no data")],
            sentence(said.get(name, "")),
        ]
        for name, row in counts.items()
    ]
    doubted = [f"{t.candidate}/{t.n}" for t in c.trials if t.status == "measured" and not t.believed]
    tail = (
        f"Not believed, and in no figure above: {joined(doubted)}." if doubted else "Every measured trial is believed."
    )
    return [*table(["Check", "Pass", "Warn", "Fail", "No data", "First warning"], rows, right=1), "", tail]


def predicted(c: Contents) -> list[str]:
    """Measured against predicted, for configurations of the plan that were measured on the planned flags."""
    rows = []
    for p in c.measured:
        foreseen = c.plan.predicted.get(p.id)
        if not foreseen or c.config(p.id).flags() != p.config.flags():
            continue
        for metric in ("output_throughput", "median_tpot_ms"):
            ours, theirs = c.value(p.id, metric), foreseen.get(metric)
            if ours and theirs:
                gap = ours / theirs
                finding = "finding" if abs(gap - 1) > LARGE_GAP else ""
                rows.append([p.id, metric, number(ours), number(theirs), plain_change(gap), finding])
    if not rows:
        return []
    lines = ["### Measured against predicted", ""]
    lines += table(["Configuration", "Metric", "Measured", "Predicted", "Measured / predicted", ""], rows, right=2)
    if c.simulated:
        lines += [
            "",
            "Both sides are the same simulator, once over HTTP and once in virtual time: this checks the path, not the GPU.",
        ]
    elif any(r[-1] for r in rows):
        lines += [
            "",
            "A gap above 25 % is a finding: either the simulator does not know this case (`rooftune calibrate` "
            "fits it to an engine), or the server is not as it should be.",
        ]
    return [*lines, ""]


def files(c: Contents, made: list[str]) -> list[str]:
    """The files of the run folder."""
    known = {
        "start_vllm.sh": "starts the recommended configuration",
        "run.json": "what was asked",
        "hardware.json": "what serves, and what it can do",
        "plan.json": "every candidate with its gates and expected effect",
        "decision.json": "verdicts and recommendation",
        "upgrade.json": "the hardware upgrade path, predicted",
        "roofline.json": "ceilings and points",
        "metrics.parquet": "one row a trial",
        "report.html": "this report with its figures in one file",
    }
    rows = []
    for name in made:
        if name.startswith("figures/"):
            continue
        rows.append(
            [
                f"`{name}`",
                known.get(name, "starts the configuration after that phase" if name.startswith("start_vllm_") else ""),
            ]
        )
    rows += [[f"`{n}`", w] for n, w in known.items() if n not in made and (c.run.path / n).is_file()]
    rows.append(
        [
            "`trials/<candidate>/<n>/`",
            "server.json, server.log, requests.parquet, ticks.parquet, trial.json, result.json",
        ]
    )
    return ["## Files", "", *table(["File", "What it is"], rows), ""]
