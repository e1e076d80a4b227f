"""How it was measured: window, order, trials, audit, clock; the predictions; the list of files."""

from __future__ import annotations

from statistics import median

from rooftune.evidence.comparison.compare import MOST_TRIALS, SMALLEST_EFFECT
from rooftune.formatting import NONE, change, number, percent, quantity
from rooftune.report.markup import code, joined, sentence, table
from rooftune.report.run_data import RunData

LARGE_GAP = 0.25
"""A measured value that differs from the prediction by more than this is a finding."""
MOST_SHOWN = 60
"""Trials listed in the order of the run."""
FILES = {
    "start_vllm.sh": "starts the recommended configuration",
    "run.json": "the command and its options",
    "hardware.json": "the hardware and its capabilities",
    "plan.json": "every candidate with its gates and expected effect",
    "decision.json": "verdicts and recommendation",
    "upgrade.json": "the predicted hardware upgrade path",
    "roofline.json": "ceilings and points of the roofline",
    "metrics.parquet": "one row per trial",
    "report.html": "this report with its figures in one file",
}


def measured(run: RunData) -> list[str]:
    """How the results were obtained."""
    lines = ["## How it was measured", ""]
    if any(t.status == "measured" for t in run.trials):
        lines += _load(run)
    runnable = sum(1 for p in run.plan.candidates[1:] if p.runnable)
    lines += [
        f"- Order: {_order(run)}. Alternatives run in palindromes around the incumbent, so a steady drift affects "
        "all of them equally. Each trial starts its own server. The trials of a pair send the same requests.",
        "- Metrics: throughput counts all tokens that arrived in the window, including those of unfinished "
        "requests. TTFT and E2EL start at the moment for which the arrival process scheduled the request.",
        "- Verdicts: the intervals shown are 95 % intervals. A verdict needs a stricter level, corrected for "
        f"{quantity(runnable, 'candidate')} and for a look after every second trial, up to {MOST_TRIALS}. A "
        f"difference below {percent(SMALLEST_EFFECT)} is treated as no difference. The unit of comparison is the "
        "trial, because the requests of one trial share a server and a queue.",
    ]
    if run.simulated:
        scale = max((t.time_scale for t in run.trials), default=1.0)
        lines.append(
            f"- Clock: the simulated engine and the client ran {number(scale)} times faster than real time. All "
            "times are in workload seconds."
        )
    used = run.plan.target.calibration
    if used is not None:
        lines.append(f"- Calibration: the predicted step times come from `{used.path}` (sha256 {used.sha256[:12]}).")
    return [*lines, "", "### Audit", "", *_audit(run), "", *predicted(run)]


def _load(run: RunData) -> list[str]:
    good = [t for t in run.trials if t.status == "measured"]
    windows = [t.window for t in good if t.window is not None]
    lines = []
    if windows:
        start, end = median(w.start_s for w in windows), median(w.end_s for w in windows)
        lines.append(f"- Window: {number(start)} s to {number(end)} s of the load; the time before it is warm-up.")
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
        lines.append(f"- Requests: {total:,} scheduled in {quantity(len(census), 'trial')}: {outcomes}.")
    seeds = joined([str(seed) for seed in sorted({t.seed for t in good})])
    lines.append(f"- Trials: {len(good)} measured, {len(run.trials) - len(good)} failed; seeds {seeds}.")
    return lines


def _order(run: RunData) -> str:
    names = [t.candidate for t in run.trials]
    return " → ".join(names if len(names) <= MOST_SHOWN else [*names[:MOST_SHOWN], "…"])


def _audit(run: RunData) -> list[str]:
    counts: dict[str, dict[str, int]] = {}
    warnings: dict[str, str] = {}
    for t in run.trials:
        for check in t.checks:
            if check.id == "simulated-clock" and not t.simulated:
                continue
            row = counts.setdefault(check.id, {"pass": 0, "warn": 0, "fail": 0, "no data": 0})
            row[check.status] += 1
            if check.status in ("warn", "fail"):
                warnings.setdefault(check.id, f"{code(f'{t.candidate}/{t.n}')}: {check.sentence}")
    if not counts:
        return ["No audit was recorded."]
    rows = [
        [name, *[str(row[k]) if row[k] else NONE for k in row], sentence(warnings.get(name, ""))]
        for name, row in counts.items()
    ]
    doubted = [f"{t.candidate}/{t.n}" for t in run.trials if t.status == "measured" and not t.believed]
    tail = (
        f"These trials failed the audit, and no result above uses them: {joined(doubted)}."
        if doubted
        else "Every measured trial passed the audit."
    )
    return [*table(["Check", "Pass", "Warn", "Fail", "No data", "First warning"], rows, right=1), "", tail]


def predicted(run: RunData) -> list[str]:
    """Measured and predicted values of the configurations that ran with the planned flags."""
    rows = []
    for p in run.measured:
        foreseen = run.plan.predicted.get(p.id)
        if not foreseen or run.config(p.id).flags() != p.config.flags():
            continue
        for metric in ("output_throughput", "median_tpot_ms"):
            ours, theirs = run.value(p.id, metric), foreseen.get(metric)
            if ours and theirs:
                gap = ours / theirs
                finding = "finding" if abs(gap - 1) > LARGE_GAP else ""
                rows.append([p.id, metric, number(ours), number(theirs), change(gap), finding])
    if not rows:
        return []
    lines = ["### Measured and predicted", ""]
    lines += table(["Configuration", "Metric", "Measured", "Predicted", "Difference", ""], rows, right=2)
    if run.simulated:
        lines += [
            "",
            "Both columns come from the same simulator, once over HTTP and once in virtual time. Their agreement "
            "checks the measurement, not the GPU.",
        ]
    elif any(r[-1] for r in rows):
        lines += [
            "",
            f"A difference above {percent(LARGE_GAP)} is a finding: either the simulator does not know this case "
            "(`rooftune calibrate` fits it to an engine), or the server does not run as it should.",
        ]
    return [*lines, ""]


def files(run: RunData, made: list[str]) -> list[str]:
    """The files of the run folder; ``made`` are those that the report itself wrote."""
    present = [*made, *(name for name in FILES if name not in made and (run.folder.path / name).is_file())]
    rows = [[code(name), FILES.get(name, "starts the configuration after that phase")] for name in present]
    rows.append(
        [
            code("trials/<candidate>/<n>/"),
            "server.json, server.log, requests.parquet, ticks.parquet, trial.json, result.json",
        ]
    )
    return ["## Files", "", *table(["File", "What it is"], rows), ""]
