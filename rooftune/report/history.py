"""The trials of a workload over time: the text of ``rooftune history WORKLOAD``."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from typing import Any

from rooftune.evidence.history import run_to_run
from rooftune.formatting import NONE, change, number
from rooftune.report.markup import change_words, table
from rooftune.workloads.spec import CAPACITY

THROUGHPUT = "output_throughput"
COLUMNS = {
    "output_throughput": "Output tok/s",
    "request_goodput": "Goodput req/s",
    "median_tpot_ms": "TPOT p50 ms",
    "median_ttft_ms": "TTFT p50 ms",
}


def history_text(workload: str, rows: Sequence[Mapping[str, Any]], last: int = 40) -> str:
    """The newest trials, each with the change since the previous trial of the same configuration.

    Trials that measured a capacity are compared by it, the others by their throughput.

    ``rows`` come from the history dataset in any order. They have started_at, candidate, gpu, engine, engine_version,
    simulated, believed, and metrics by name.
    """
    if not rows:
        return f"The history has no trial of {workload} yet. Run: rooftune optimize {workload}\n"
    ordered = sorted(rows, key=lambda r: float(r.get("started_at") or 0))
    decided = {_decides(row) for row in ordered}
    columns = {CAPACITY: "Capacity req/s"} if CAPACITY in decided else {}
    columns |= COLUMNS if THROUGHPUT in decided else {}
    before: dict[tuple[Any, ...], float] = {}
    lines = []
    for row in ordered:
        metric = _decides(row)
        key = (metric, *(str(row.get(k)) for k in ("candidate", "gpu", "engine", "engine_version", "model", "flags")))
        rate = _metric(row, metric)
        earlier = before.get(key)
        since = change(rate / earlier if rate and earlier else None)
        if rate and _believed(row):
            before[key] = rate
        cells = [number(_metric(row, m)) if _shown(m, metric) else NONE for m in columns]
        lines.append([*_about(row), *cells, since, "yes" if _believed(row) else "no"])
    changed = {frozenset({CAPACITY}): "Capacity change", frozenset({THROUGHPUT}): "Throughput change"}
    words = changed.get(frozenset(decided), "Change")
    head = ["When (UTC)", "Configuration", "Where", *columns.values(), words, "Trusted"]
    kept = lines[-last:]
    note = (
        f"The newest {len(kept)} of {len(lines)} trials of {workload}."
        if len(lines) > len(kept)
        else f"All {len(lines)} trials of {workload}."
    )
    by_capacity = [row for row in rows if _decides(row) == CAPACITY]
    others = [row for row in rows if _decides(row) == THROUGHPUT]
    changes = [*_changes(by_capacity, CAPACITY, "Capacity"), *_changes(others, THROUGHPUT, "Output throughput")]
    return "\n".join([note, "", *table(head, kept, right=3), *changes, *_configurations(ordered[-last:])]) + "\n"


def _configurations(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the names stand for: the flags of each configuration, once."""
    found: dict[str, list[str]] = {}
    for row in rows:
        words = _flags(row.get("flags"))
        known = found.setdefault(str(row.get("candidate", NONE)), [])
        if words and words not in known:
            known.append(words)
    lines = [[name, words] for name, several in found.items() for words in several]
    if not lines:
        return []
    return ["", "The flags of each configuration:", "", *table(["Configuration", "Flags"], lines)]


def _flags(stored: object) -> str:
    """The flags of a row as command-line words; empty where it has none or an older version left them out."""
    if not isinstance(stored, str):
        return ""
    return change_words(json.loads(stored))


def _decides(row: Mapping[str, Any]) -> str:
    """The metric that compares a trial with others."""
    return THROUGHPUT if _metric(row, CAPACITY) is None else CAPACITY


def _shown(column: str, decides: str) -> bool:
    """Whether a column says something about the trial: at a load near the capacity, only the capacity does."""
    return (column == CAPACITY) == (decides == CAPACITY)


def _changes(rows: Sequence[Mapping[str, Any]], metric: str, name: str) -> list[str]:
    """The newest run of each configuration compared with the previous one, with intervals."""
    found = run_to_run(rows, metric)
    if not found:
        return []
    lines = []
    for c in found:
        k = c.comparison
        interval = f"{change(k.low)} to {change(k.high)}"
        versions = " (different engine version)" if c.engine_version != c.engine_version_before else ""
        trials = f"{k.trials_a} and {k.trials_b}"
        lines.append([c.configuration + versions, change(k.estimate), interval, trials, k.answer])
    head = ["Configuration", name, "95 % interval", "Trials", "Answer"]
    return [
        "",
        "The newest run of each configuration compared with the previous one:",
        "",
        *table(head, lines, right=1),
    ]


def _about(row: Mapping[str, Any]) -> list[str]:
    at = float(row.get("started_at") or 0)
    when = dt.datetime.fromtimestamp(at, dt.timezone.utc).strftime("%Y-%m-%d %H:%M") if at else NONE
    where = f"{row.get('gpu') or row.get('engine') or NONE}, vLLM {row.get('engine_version') or NONE}"
    return [when, str(row.get("candidate", NONE)), where + (" (simulated)" if row.get("simulated") else "")]


def _metric(row: Mapping[str, Any], name: str) -> float | None:
    metrics = row.get("metrics")
    value = metrics.get(name) if isinstance(metrics, Mapping) else row.get(name)
    return float(value) if isinstance(value, (int, float)) and value == value else None


def _believed(row: Mapping[str, Any]) -> bool:
    value = row.get("believed")
    return bool(value) if value is not None else row.get("status") == "measured"
