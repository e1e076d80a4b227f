"""Reads the requests of a guidellm report as a trace: when each was sent and how long it was."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from rooftune.errors import InputError
from rooftune.workloads.traces.files import Record
from rooftune.workloads.traces.rows import TraceRow, count, finite
from rooftune.workloads.traces.tables import Reading
from rooftune.workloads.traces.units import Meaning


def is_report(record: Record) -> bool:
    """Whether this is ``benchmarks.json``."""
    return isinstance(record.get("benchmarks"), list)


def read_report(record: Record, path: Path) -> Reading:
    """The requests of the first benchmark, in Unix seconds.

    Raises:
        InputError: there are none.
    """
    benchmarks = record["benchmarks"]
    assert isinstance(benchmarks, list)
    try:
        rows = list(_rows(benchmarks[0])) if benchmarks and isinstance(benchmarks[0], dict) else []
    except ValueError as error:
        raise InputError(f"{path}: {error}.") from None
    if not rows:
        raise InputError(f"{path} is a guidellm report without requests; run guidellm with all requests saved.")
    more = (
        [f"only the first of the {len(benchmarks):,} benchmarks of {path.name} is used"] if len(benchmarks) > 1 else []
    )
    return Reading(rows, Meaning("guidellm", "s"), True, more)


def _rows(benchmark: Record) -> Iterator[TraceRow]:
    groups = _object(benchmark.get("requests"))
    for kind in ("successful", "incomplete", "errored"):
        for i, request in enumerate(_objects(groups.get(kind)), 1):
            at = _start(request)
            if math.isfinite(at) and request.get("prompt_tokens") and request.get("output_tokens"):
                prompt = count(request.get("prompt_tokens"), "prompt_tokens")
                yield TraceRow(at, prompt, count(request.get("output_tokens"), "output_tokens"), i)


def _start(request: Record) -> float:
    info = _object(request.get("info")) or _object(request.get("scheduler_info"))
    timings = _object(info.get("timings"))
    places = (
        timings.get("targeted_start"),
        info.get("targeted_start_time"),
        timings.get("request_start"),
        request.get("request_start_time"),
        request.get("start_time"),
    )
    found = next((p for p in places if isinstance(p, (int, float)) and not isinstance(p, bool)), None)
    return math.nan if found is None else finite(found, "start_time")


def _object(value: object) -> Record:
    return value if isinstance(value, dict) else {}


def _objects(value: object) -> list[Record]:
    return [v for v in value if isinstance(v, dict)] if isinstance(value, list) else []
