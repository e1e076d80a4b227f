"""How it was measured: window, order, trials, audit, clock; the predictions; the list of files."""

from __future__ import annotations

from statistics import median

from rooftune.evidence.comparison.compare import MOST_TRIALS, SMALLEST_EFFECT
from rooftune.evidence.records.trial import Check, TrialResult
from rooftune.formatting import NONE, change, number, percent, quantity
from rooftune.report.markup import code, joined, sentence, table
from rooftune.report.run_data import RunData
from rooftune.workloads.spec import CAPACITY

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
    "curves.json": "the simulated response of baseline and recommendation to the rate",
    "upgrade.json": "the predicted hardware upgrade path",
    "roofline.json": "ceilings and points of the roofline",
    "metrics.parquet": "one row per trial",
    "report.html": "this report with its figures in one file",
}

EXPORT = (
    "`rooftune export RUN --to all` writes the recommended configuration for `vllm serve --config`, Docker Compose, "
    "Kubernetes, Helm and systemd, with alerts for Prometheus and a Grafana dashboard."
)


def measured(run: RunData) -> list[str]:
    """How the results were obtained."""
    lines = ["## How it was measured", ""]
    if any(t.status == "measured" for t in run.trials):
        lines += _load(run)
    runnable = sum(1 for p in run.plan.candidates[1:] if p.runnable)
    but = ", except those listed as switched" if any(t.switched for t in run.trials) else ""
    lines += [
        f"- Order: {_order(run)}. Alternatives run in palindromes around the incumbent, so a steady drift affects "
        f"all of them equally. Each trial starts its own server{but}. The trials of a pair send the same requests.",
        *_metrics(run),
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


def _metrics(run: RunData) -> list[str]:
    """What the metrics mean."""
    if not run.by_capacity:
        return [
            "- Metrics: throughput counts all tokens that arrived in the window, including those of unfinished "
            "requests. TTFT and E2EL start at the moment for which the arrival process scheduled the request."
        ]
    server = next((t.capacity.reference for t in reversed(run.trials) if t.capacity and t.capacity.reference), "")
    lines = [
        "- Capacity: the highest rate of the arrival process at which the share of the SLO meets every limit. A trial "
        "loads its server where the capacity is expected, and once more where that was far off. The same requests go "
        "through a simulated reference, which shows how fast it would have to be to give the same times. Its long-run "
        "capacity at that speed is the figure. The interval covers the scatter of loads and starts, and an allowance "
        "for the shape of the reference.",
        "- Times: TTFT and E2EL start at the moment for which the arrival process scheduled the request. A request "
        "that failed or did not end has missed the SLO.",
    ]
    return [*lines, f"- Reference: {server}, with the flags of each configuration."] if server else lines


def _load(run: RunData) -> list[str]:
    good = [t for t in run.trials if t.status == "measured"]
    windows = [t.window for t in good if t.window is not None]
    lines = []
    if windows and run.by_capacity:
        lasted = sorted(w.end_s - w.start_s for w in windows)
        span = number(lasted[0]) if lasted[0] == lasted[-1] else f"{number(lasted[0])} s to {number(lasted[-1])}"
        lines.append(f"- Windows: {span} s, as long as the rate of each load needs; the time before it is warm-up.")
    elif windows:
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
    return lines + _switched(run)


def _switched(run: RunData) -> list[str]:
    """Which trials ran on a server that was started for another one."""
    names = [
        f"{code(f'{t.candidate}/{t.n}')} (server of {code(t.switched.server_of)})" for t in run.trials if t.switched
    ]
    if not names:
        return []
    return [
        f"- Switched: {joined(names)} ran on a server whose limits were lowered without a restart. The search compares "
        "these trials with each other; the confirmation started every server with the flags shown."
    ]


def _order(run: RunData) -> str:
    names = [t.candidate for t in run.trials]
    return " → ".join(names if len(names) <= MOST_SHOWN else [*names[:MOST_SHOWN], "…"])


def _concerns(check: Check, trial: TrialResult) -> bool:
    """Whether a check looks at trials of this kind."""
    kinds = {"simulated-clock": trial.simulated, "switched-limits": trial.switched is not None}
    return kinds.get(check.id, True)


def _audit(run: RunData) -> list[str]:
    counts: dict[str, dict[str, int]] = {}
    warnings: dict[str, str] = {}
    for t in run.trials:
        for check in t.checks:
            if not _concerns(check, t):
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
    return [*table(["Check", "Pass", "Warn", "Fail", "No data", "First warning"], rows, right=1), "", doubts(run)]


def doubts(run: RunData) -> str:
    """Which trials failed the audit, and what that means."""
    doubted = [f"{t.candidate}/{t.n}" for t in run.trials if t.status == "measured" and not t.believed]
    if not doubted:
        return "Every measured trial passed the audit."
    noun = "This trial" if len(doubted) == 1 else "These trials"
    return f"{noun} failed the audit, and no result uses {'it' if len(doubted) == 1 else 'them'}: {joined(doubted)}."


def predicted(run: RunData) -> list[str]:
    """Measured and predicted values of the configurations that ran with the planned flags."""
    rows = []
    for p in run.measured:
        foreseen = run.plan.predicted.get(p.id)
        if not foreseen or run.config(p.id).flags() != p.config.flags():
            continue
        for metric in (CAPACITY,) if run.by_capacity else ("output_throughput", "median_tpot_ms"):
            ours, theirs = _measured(run, p.id, metric), foreseen.get(metric)
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


def _measured(run: RunData, candidate: str, metric: str) -> float | None:
    if metric != CAPACITY:
        return run.value(candidate, metric)
    found = run.capacity(candidate)
    return found.estimate if found is not None else None


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
    lines = ["## Files", "", *table(["File", "What it is"], rows), ""]
    return lines if run.plan.target.engine == "endpoint" else [*lines, EXPORT, ""]
