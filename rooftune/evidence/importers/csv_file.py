"""Reads a CSV with one request per row, as many custom clients write it."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rooftune.errors import InputError, RooftuneError, nearest
from rooftune.evidence.importers.values import Json, parsed
from rooftune.evidence.records.columns import Floats, Requests, requests_from
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
TIMES = ("sent_s", "scheduled_s", "first_token_s", "last_token_s")


@dataclass(frozen=True)
class _Span:
    """A time that may be given as a latency from the send."""

    time: str
    column: str
    seconds: float
    """In one unit of the column."""


SPANS = (
    _Span("first_token_s", "ttft_s", 1.0),
    _Span("first_token_s", "ttft_ms", 1e-3),
    _Span("last_token_s", "e2el_s", 1.0),
    _Span("last_token_s", "e2el_ms", 1e-3),
)


@dataclass(frozen=True)
class _Row:
    """Cells by column, and the line of the file."""

    cells: Mapping[str, str | None]
    line: int

    def text(self, column: str | None) -> str:
        """The cell of a column; empty where the row or the file does not have it."""
        return (self.cells.get(column) if column else None) or ""


SUMMARY = ("request_throughput", "mean_ttft_ms", "completed", "duration")
"""Columns of a table with one run per row, as ``vllm bench sweep serve`` writes it."""


def summaries(path: Path) -> list[Json] | None:
    """The rows of a table of runs with numbers as numbers; None for a table of requests."""
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        reader = csv.DictReader(file)
        try:
            if not set(SUMMARY) <= set(reader.fieldnames or []):
                return None
            rows: list[Json] = [{k: _value(v) for k, v in row.items() if isinstance(k, str)} for row in reader]
        except csv.Error as error:
            raise RooftuneError(f"{path}, line {reader.line_num}: {error}.") from None
    if not rows:
        raise RooftuneError(f"{path} has no rows.")
    return rows


def _value(cell: object) -> object:
    """A cell as the number that it is, else as it is."""
    found = parsed(cell) if isinstance(cell, str) else None
    return found if found is not None and math.isfinite(found) else cell


GOOD = ("", "ok", "200", "success", "completed", "true")


def read(path: Path, duration_s: float | None, map: Mapping[str, str] | None = None) -> Evidence:
    """The requests of a CSV.

    Raises:
        InputError: a needed column is missing, or ``map`` names one that is not there.
        RooftuneError: the file has no rows, or a cell is not a number; the message has the line.
    """
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        reader = csv.DictReader(file)
        try:
            names = list(reader.fieldnames or [])
            rows = [_Row(cells, reader.line_num) for cells in reader]
        except csv.Error as error:
            raise RooftuneError(f"{path}, line {reader.line_num}: {error}.") from None
    if not rows:
        raise RooftuneError(f"{path} has no rows.")
    where = _columns(names, map or {}, path)
    if "sent_s" not in where and "scheduled_s" in where:
        where["sent_s"] = where["scheduled_s"]
    given = {*where, *(span.time for span in SPANS if span.column in where)}
    for needed in ("sent_s", "last_token_s"):
        if needed not in given:
            raise InputError(
                f"{path} has no column for {needed}; name it with --map {needed}=COLUMN (it has {', '.join(names)})."
            )
    requests = _requests(rows, where, path, duration_s)
    characters = "output_chars" in where and "output_tokens" not in where
    return Evidence("csv", path.name, requests, duration_s=duration_s, characters=characters)


def _columns(names: list[str], given: Mapping[str, str], path: Path) -> dict[str, str]:
    """Our name -> the file's column."""
    for ours, theirs in given.items():
        if ours not in COLUMNS:
            raise InputError(
                f"--map does not take {ours!r}{nearest(ours, list(COLUMNS))}; it takes {', '.join(COLUMNS)}."
            )
        if theirs not in names:
            raise InputError(f"{path} has no column {theirs!r}{nearest(theirs, names)}.")
    found = {ours: next((n for n in known if n in names), "") for ours, known in COLUMNS.items()}
    return {**{k: v for k, v in found.items() if v}, **given}


def _requests(rows: Sequence[_Row], where: Mapping[str, str], path: Path, duration_s: float | None) -> Requests:
    times = _times(rows, where, path)
    if duration_s is not None:
        last = times["last_token_s"]
        times["last_token_s"] = np.where(last > duration_s + 1.0, np.nan, last)
    ended, begun = np.isfinite(times["last_token_s"]), np.isfinite(times["first_token_s"])
    status = np.where(ended, "completed", np.where(begun, "cut", "never_begun")).astype(object)
    errors = [row.text(where.get("error")) for row in rows]
    words = [row.text(where.get("status")).strip().lower() for row in rows]
    status[np.array([bool(e.strip()) or w not in GOOD for e, w in zip(errors, words, strict=True)])] = "failed"
    columns: dict[str, npt.ArrayLike] = {
        **times,
        **{n: _numbers(rows, where[n], path) for n in ("prompt_tokens", "output_tokens") if n in where},
        "status": status,
        "error_class": np.array(errors, dtype=object),
        "end_s": times["last_token_s"],
    }
    prompt = where.get("prompt_id")
    key = np.array([row.text(prompt) for row in rows], dtype=object) if prompt else None
    return requests_from(columns, prompt_key=key, counted="output_tokens" in where)


def _times(rows: Sequence[_Row], where: Mapping[str, str], path: Path) -> dict[str, Floats]:
    """Seconds from the first scheduled send; latencies are added to the send.

    Raises:
        RooftuneError: a cell is not a number, or no row has a time.
    """
    found = {name: _numbers(rows, where[name], path) for name in TIMES if name in where}
    for span in SPANS:
        if span.column in where and span.time not in found:
            found[span.time] = found["sent_s"] + span.seconds * _numbers(rows, where[span.column], path)
    found.setdefault("scheduled_s", found["sent_s"])
    found.setdefault("first_token_s", np.full(len(rows), np.nan))
    if not np.isfinite(found["scheduled_s"]).any():
        raise RooftuneError(f"{path} has no row with a time in column {where['sent_s']}.")
    origin = float(np.nanmin(found["scheduled_s"]))
    return {name: values - origin for name, values in found.items()}


def _numbers(rows: Sequence[_Row], column: str, path: Path) -> Floats:
    """A column of numbers; an empty cell is NaN.

    Raises:
        RooftuneError: a cell is not a number of seconds or tokens; the message has the line.
    """
    found = np.full(len(rows), np.nan)
    for i, row in enumerate(rows):
        cell = row.text(column).strip()
        if cell:
            value = parsed(cell)
            if value is None or not math.isfinite(value):
                raise RooftuneError(
                    f"{path}, line {row.line}: {cell!r} in column {column} is not a number of seconds or tokens."
                )
            found[i] = value
    return found
