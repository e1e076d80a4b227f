"""The plan of a trace: its own times from its first request on, cut to warm-up and window."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rooftune.errors import InputError
from rooftune.formatting import number
from rooftune.workloads.arrivals import arrival_times
from rooftune.workloads.lengths import lengths
from rooftune.workloads.request_plan import RequestPlan
from rooftune.workloads.seeds import prompt_seeds, stream
from rooftune.workloads.spec import Poisson, Trace, Workload
from rooftune.workloads.traces import guidellm, talks
from rooftune.workloads.traces.files import KNOWN, Numbered, is_json, json_records, table
from rooftune.workloads.traces.rows import MOST_HASH, TraceRow
from rooftune.workloads.traces.tables import Reading, has_prompt_lengths, read_rows
from rooftune.workloads.traces.units import WORDS, Meaning, block_size, to_seconds

_TEXTS = ("sharegpt", "openai")
_EITHER = ("auto", "aiperf", "guidellm")
"""Formats that have lengths or texts."""


def draw_trace(workload: Workload, trace: Trace, seed: int) -> RequestPlan:
    """The plan of a trace.

    Raises:
        InputError: the file is missing, of an unknown format, has bad lines, or has no request in the window; or its
            times or hash blocks cannot be what they seem to be.
    """
    path = Path(trace.file)
    try:
        reading = _read(path, trace, workload, seed)
    except FileNotFoundError:
        raise InputError(f"the trace {path} is missing; arrivals.file is relative to the workload file.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the trace {path} cannot be read as text in UTF-8 ({error}).") from None
    rows, notes = reading.rows, list(reading.notes)
    size, said = block_size(rows, reading.meaning, trace.block_tokens, path)
    if reading.timed and trace.rate_per_s is None:
        times = to_seconds(rows, reading.meaning, trace.time_unit, path)
        notes += _summary(reading.meaning, trace, path, said) + times
    else:
        rows = _at_rate(rows, workload, trace, seed)
    _share_blocks(rows, size)
    rows = [r for r in _from_zero(rows, trace.speed) if r.arrival < workload.total_s]
    if not rows and trace.rate_per_s is None:  # at a rate, a short load may have none
        raise InputError(
            f"the trace {path} has no request in the first {number(workload.total_s)} s; lengthen duration_s."
        )
    return _plan(rows, seed, size, notes)


def _read(path: Path, trace: Trace, workload: Workload, seed: int) -> Reading:
    if not is_json(path):
        found = table(path)
        return read_rows(found.rows, found.columns, trace, path)
    records = json_records(path)
    first = records[0].record if records else {}
    if guidellm.is_report(first):
        return guidellm.read_report(first, path)
    columns = list(dict.fromkeys(key for numbered in records[:100] for key in numbered.record))
    lengths_known = has_prompt_lengths(columns) or "prompt_tokens" in trace.columns
    if trace.format in _TEXTS or (trace.format in _EITHER and talks.is_talk(first) and not lengths_known):
        return _talks(records, path, workload, seed)
    if not records:
        raise InputError(f"{path} is empty; a trace is {KNOWN}.")
    return read_rows(records, columns, trace, path)


def _talks(records: Sequence[Numbered], path: Path, workload: Workload, seed: int) -> Reading:
    found = talks.read_talks(records, path)
    answers = None
    if workload.output_tokens is not None:
        several = sum(len(t.exchanges) for t in found)
        answers = lengths(workload.output_tokens, several, stream(seed, "output0")).tolist()
    rows = talks.talk_rows(found, answers, path)
    timed = all(t.at is not None for t in found)
    notes = [f"the lengths of {path.name} are estimated from its words; the server counts the true ones"]
    return Reading(rows, Meaning("text", "ms"), timed, notes)


def _summary(meaning: Meaning, trace: Trace, path: Path, blocks: Sequence[str]) -> list[str]:
    """What the file was taken for, where the workload does not say it."""
    said = [f"times in {WORDS[meaning.unit]}"] if meaning.unit and trace.time_unit is None else []
    said += list(blocks)
    return [f"{path.name} is read as a {meaning.title} trace: {', '.join(said)}"] if said else []


def _share_blocks(rows: Sequence[TraceRow], size: int) -> None:
    """How much of each prompt earlier requests of the file had: its first blocks that were seen before."""
    numbers: dict[int, int] = {}
    for row in rows:
        if row.blocks:
            known = next((i for i, b in enumerate(row.blocks) if b not in numbers), len(row.blocks))
            row.blocks = tuple(numbers.setdefault(b, len(numbers)) for b in row.blocks)
            row.prefix_tokens = min(known * size, row.prompt - 1) if known else 0
            row.prefix = row.blocks[0] if known else -1


def _from_zero(rows: list[TraceRow], speed: float) -> list[TraceRow]:
    rows.sort(key=lambda r: r.arrival)
    first = rows[0].arrival if rows else 0.0
    for row in rows:
        row.arrival = (row.arrival - first) / speed
    return rows


def _at_rate(rows: list[TraceRow], workload: Workload, trace: Trace, seed: int) -> list[TraceRow]:
    """Poisson arrivals; requests and conversations repeat when the file has too few.

    A repeated prompt shares with others what it shared the first time, and the rest of it is new text.
    """
    if trace.rate_per_s is None:
        raise InputError(
            f"{trace.file} has no times; set arrivals.rate_per_s to start its conversations or requests at that rate."
        )
    by_start: dict[int, list[TraceRow]] = {}
    for i, row in enumerate(rows):
        by_start.setdefault(row.conversation if row.conversation >= 0 else -1 - i, []).append(row)
    starts = list(by_start.values())
    if not starts:
        raise InputError(f"{trace.file} has no request.")
    # Times are divided by the speed later, so both the rate and the length of the load are given in the trace's time.
    in_trace_time = workload.model_copy(
        update={
            "arrivals": Poisson(process="poisson", rate_per_s=trace.rate_per_s / trace.speed),
            "duration_s": workload.duration_s * trace.speed,
            "warmup_s": workload.warmup_s * trace.speed,
        }
    )
    times = arrival_times(in_trace_time, stream(seed, "arrivals"))
    picked = stream(seed, "trace").permutation(len(starts))
    think = stream(seed, "think")
    uses = Counter(block for row in rows for block in row.blocks)
    timed = []
    for i, at in enumerate(times):
        again, place = divmod(i, len(picked))
        for row in starts[int(picked[place])]:
            pause = (row.think_s or float(think.exponential(2.0))) if row.turn else 0.0
            conversation = i if row.conversation >= 0 else -1
            blocks = tuple(b if uses[b] > 1 else b + again * MOST_HASH for b in row.blocks)
            timed.append(replace(row, arrival=float(at), conversation=conversation, think_s=pause, blocks=blocks))
    return timed


def _plan(rows: list[TraceRow], seed: int, block_tokens: int, notes: Sequence[str]) -> RequestPlan:
    rows = _grouped(rows)
    n = len(rows)
    adapters = tuple(sorted({r.adapter for r in rows} - {""}))
    places = {"": -1, **{name: i for i, name in enumerate(adapters)}}

    def ints(name: str) -> npt.NDArray[np.int32]:
        return np.array([getattr(r, name) for r in rows], dtype=np.int32)

    return RequestPlan(
        arrival_s=np.array([r.arrival for r in rows], dtype=np.float64),
        prompt_tokens=ints("prompt"),
        output_tokens=ints("output"),
        prefix_id=ints("prefix"),
        prefix_tokens=ints("prefix_tokens"),
        prompt_seed=prompt_seeds(seed, n),
        conversation=ints("conversation"),
        turn=ints("turn"),
        think_s=np.array([r.think_s for r in rows], dtype=np.float64),
        part=np.zeros(n, np.int16),
        concurrency=None,
        seed=seed,
        blocks=tuple(r.blocks for r in rows) if any(r.blocks for r in rows) else None,
        block_tokens=block_tokens,
        texts=tuple(r.text for r in rows) if any(r.text for r in rows) else None,
        notes=tuple(notes),
        adapter=np.array([places[r.adapter] for r in rows], dtype=np.int16) if adapters else None,
        adapters=adapters,
    )


def _grouped(rows: list[TraceRow]) -> list[TraceRow]:
    """Turns of one conversation follow each other, in order, at the time of the first."""
    first: dict[int, float] = {}
    for row in rows:
        if row.conversation >= 0:
            first.setdefault(row.conversation, row.arrival)
    for row in rows:
        row.arrival = first.get(row.conversation, row.arrival)
    return sorted(rows, key=lambda r: (r.arrival, r.conversation, r.turn))
