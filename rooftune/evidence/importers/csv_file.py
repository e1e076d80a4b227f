"""Reads a CSV with one request a row, as many home-made clients write it."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rooftune.errors import InputError, RooftuneError, nearest
from rooftune.evidence.records.columns import Requests, requests_from
from rooftune.evidence.records.evidence import Evidence

COLUMNS: dict[str, tuple[str, ...]] = {
    "sent_s": ("sent_s", "start_s", "start_time", "start", "sent", "timestamp"),
    "scheduled_s": ("scheduled_s", "arrival_s", "arrival_time", "due_s"),
    "first_token_s": ("first_token_s", "first_token_time", "first_token"),
    "last_token_s": ("last_token_s", "end_s", "end_time", "finish_time", "last_token", "end"),
    "ttft_s": ("ttft_s", "ttft"),
    "ttft_ms": ("ttft_ms",),
    "e2el_s": ("e2el_s", "latency_s", "e2el", "latency"),
    "e2el_ms": ("e2el_ms", "latency_ms"),
    "prompt_id": ("prompt_id", "prompt_index", "prompt"),
    "prompt_tokens": ("prompt_tokens", "input_tokens", "prompt_len", "input_len"),
    "output_tokens": ("output_tokens", "completion_tokens", "generated_tokens", "output_len"),
    "prompt_chars": ("prompt_chars",),
    "output_chars": ("output_chars", "response_chars"),
    "error": ("error", "error_message"),
    "status": ("status",),
}
"""Our name -> names that files use for it. Times are seconds on one clock; an empty cell did not happen."""
SPANS = (("first_token_s", "ttft_s", 1.0), ("first_token_s", "ttft_ms", 1e-3), ("last_token_s", "e2el_s", 1.0), ("last_token_s", "e2el_ms", 1e-3))  # fmt: skip
"""Times that may be given as latencies from the send: time, latency, seconds in its unit."""
GOOD = ("", "ok", "200", "success", "completed", "true")


def read(path: Path, duration_s: float | None, map: Mapping[str, str] | None = None) -> Evidence:
    """The requests of a CSV.

    Raises:
        InputError: a needed column is missing, or ``map`` names one that is not there.
        RooftuneError: the file has no rows or a cell is no number.
    """
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        reader = csv.DictReader(file)
        names = list(reader.fieldnames or [])
        rows = list(reader)
    if not rows:
        raise RooftuneError(f"{path} has no rows.")
    where = _columns(names, map or {}, path)
    if "sent_s" not in where and "scheduled_s" in where:
        where["sent_s"] = where["scheduled_s"]
    given = {*where, *(time for time, span, _ in SPANS if span in where)}
    for needed in ("sent_s", "last_token_s"):
        if needed not in given:
            raise InputError(f"{path} has no column for {needed}; name it with --map {needed}=COLUMN (it has {', '.join(names)}).")  # fmt: skip
    requests = _requests(rows, where, path, duration_s)
    characters = "output_chars" in where and "output_tokens" not in where
    return Evidence("csv", path.name, requests, duration_s=duration_s, characters=characters)


def _columns(names: list[str], given: Mapping[str, str], path: Path) -> dict[str, str]:
    """Our name -> the file's column."""
    for ours, theirs in given.items():
        if ours not in COLUMNS:
            raise InputError(f"--map knows no column {ours!r}{nearest(ours, list(COLUMNS))}; it knows {', '.join(COLUMNS)}.")  # fmt: skip
        if theirs not in names:
            raise InputError(f"{path} has no column {theirs!r}{nearest(theirs, names)}.")
    found = {ours: next((n for n in known if n in names), "") for ours, known in COLUMNS.items()}
    return {**{k: v for k, v in found.items() if v}, **given}


def _requests(rows: list[dict[str, str]], where: dict[str, str], path: Path, duration_s: float | None) -> Requests:
    columns: dict[str, Any] = {
        name: np.array([_number(row.get(where[name]), path, i, where[name]) for i, row in enumerate(rows, 2)])
        for name in ("sent_s", "scheduled_s", "first_token_s", "last_token_s", "prompt_tokens", "output_tokens", *(span for _, span, _ in SPANS))
        if name in where
    }  # fmt: skip
    for time, span, unit in SPANS:
        if span in columns:
            columns.setdefault(time, columns["sent_s"] + unit * columns.pop(span))
    columns.setdefault("scheduled_s", columns["sent_s"])
    origin = float(np.nanmin(columns["scheduled_s"]))
    for name in ("sent_s", "scheduled_s", "first_token_s", "last_token_s"):
        if name in columns:
            columns[name] = columns[name] - origin
    if duration_s is not None:
        columns["last_token_s"] = np.where(columns["last_token_s"] > duration_s + 1.0, np.nan, columns["last_token_s"])
    ended, begun = np.isfinite(columns["last_token_s"]), np.isfinite(columns.get("first_token_s", np.full(len(rows), np.nan)))  # fmt: skip
    status = np.where(ended, "completed", np.where(begun, "cut", "never_begun")).astype(object)
    errors = [row.get(where.get("error", ""), "") or "" for row in rows]
    said = [(row.get(where.get("status", ""), "") or "").strip().lower() for row in rows]
    wrong = np.array([bool(e.strip()) or s not in GOOD for e, s in zip(errors, said, strict=True)])
    status[wrong] = "failed"
    columns |= {"status": status, "error_class": errors, "end_s": columns["last_token_s"]}
    key = np.array([row.get(where["prompt_id"], "") for row in rows], dtype=object) if "prompt_id" in where else None
    return requests_from(columns, prompt_key=key, counted="output_tokens" in where)


def _number(cell: str | None, path: Path, line: int, column: str) -> float:
    if cell is None or not cell.strip():
        return math.nan
    try:
        return float(cell)
    except ValueError:
        raise RooftuneError(f"{path}, line {line}: {cell!r} in column {column} is no number of seconds or tokens.") from None  # fmt: skip
