"""Plans from recorded traces: Mooncake JSONL, Azure LLM CSV, ShareGPT conversations, plain CSV."""

from __future__ import annotations

import csv
import datetime as dt
import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rooftune.errors import InputError, nearest
from rooftune.workloads.arrivals import arrival_times
from rooftune.workloads.request_plan import RequestPlan
from rooftune.workloads.seeds import prompt_seeds, stream
from rooftune.workloads.spec import MOST_TOKENS, Poisson, Trace, Workload

MOONCAKE_BLOCK = 512
"""Tokens of a block of ``hash_ids`` (Mooncake trace, Qin et al., FAST 2025)."""
COLUMNS = {
    "arrival_s": ("arrival_s", "arrival", "timestamp", "time", "t_s", "t"),
    "prompt_tokens": ("prompt_tokens", "input_length", "contexttokens", "input_tokens", "prompt_len"),
    "output_tokens": ("output_tokens", "output_length", "generatedtokens", "output_len"),
    "prefix_id": ("prefix_id",),
    "prefix_tokens": ("prefix_tokens",),
    "conversation": ("conversation", "session_id", "conversation_id"),
    "think_s": ("think_s", "delay_s"),
}
"""Our name -> names that a CSV may use, in upper or lower case."""
MOST_ID = 2**31 - 1
"""Largest number of a conversation, a prefix or a block."""
_WORD = re.compile(r"\w+|[^\w\s]")


@dataclass
class TraceRow:
    """One request of a trace; seconds and tokens."""

    arrival_s: float
    prompt: int
    output: int
    prefix: int = -1
    prefix_tokens: int = 0
    conversation: int = -1
    turn: int = 0
    think_s: float = 0.0
    blocks: tuple[int, ...] = ()
    text: str = ""


def draw_trace(workload: Workload, trace: Trace, seed: int) -> RequestPlan:
    """The plan of a trace: its own times from its first request on, cut to warm-up and window.

    Raises:
        InputError: the file is missing, of an unknown format, has bad lines, or has no request in the window.
    """
    path = Path(trace.file)
    kind = trace.format if trace.format != "auto" else _guess(path)
    readers = {"mooncake": _mooncake, "azure": _csv, "csv": _csv, "sharegpt": _sharegpt}
    try:
        rows = list(readers[kind](path))
    except FileNotFoundError:
        raise InputError(f"the trace {path} is missing; arrivals.file is relative to the workload file.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the trace {path} cannot be read as text in UTF-8 ({error}).") from None
    if kind == "sharegpt":
        rows = _timed(rows, workload, trace, seed)
    rows = [r for r in _from_zero(rows, trace.speed) if r.arrival_s < workload.total_s]
    if not rows:
        raise InputError(f"the trace {path} has no request in the first {workload.total_s:g} s; lengthen duration_s.")
    return _plan(rows, seed)


def _guess(path: Path) -> str:
    if path.suffix == ".jsonl":
        return "mooncake"
    return "sharegpt" if path.suffix == ".json" else "csv"


def _from_zero(rows: list[TraceRow], speed: float) -> Iterator[TraceRow]:
    rows.sort(key=lambda r: r.arrival_s)
    first = rows[0].arrival_s if rows else 0.0
    for row in rows:
        row.arrival_s = (row.arrival_s - first) / speed
        yield row


def _mooncake(path: Path) -> Iterator[TraceRow]:
    seen: set[int] = set()
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = _mooncake_row(json.loads(line), seen)
            except (ValueError, RecursionError) as error:
                raise InputError(f"{path}, line {number}: not a Mooncake request ({error}); it has timestamp, input_length, output_length.") from None  # fmt: skip
            yield row


def _mooncake_row(entry: object, seen: set[int]) -> TraceRow:
    """One line of a Mooncake trace; ``seen`` holds the blocks of all earlier lines.

    Raises:
        ValueError: a field is missing or out of range.
    """
    if not isinstance(entry, dict):
        raise ValueError("the line is not a JSON object")
    prompt, output = (_count(entry.get(name), name) for name in ("input_length", "output_length"))
    at = _finite(entry.get("timestamp"), "timestamp") / 1000
    ids = entry.get("hash_ids") or []
    if not isinstance(ids, list):
        raise ValueError("hash_ids is not a list")
    blocks = tuple(_whole(b, "hash_ids", 0, MOST_ID) for b in ids)
    known = next((i for i, b in enumerate(blocks) if b not in seen), len(blocks))
    seen.update(blocks)
    shared = min(known * MOONCAKE_BLOCK, prompt - 1) if known else 0
    return TraceRow(at, prompt, output, blocks[0] if known else -1, shared, blocks=blocks)


def _csv(path: Path) -> Iterator[TraceRow]:
    with path.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.DictReader(lines)
        try:
            names = {(n or "").strip().lower(): n for n in reader.fieldnames or []}
            found = {ours: names[a] for ours, aliases in COLUMNS.items() for a in reversed(aliases) if a in names}
            for needed in ("arrival_s", "prompt_tokens", "output_tokens"):
                if needed not in found:
                    raise InputError(f"{path} has no column {needed}{nearest(needed, list(names))}; a trace has arrival_s, prompt_tokens, output_tokens.")  # fmt: skip
            turns: dict[int, int] = {}
            for entry in reader:
                yield _csv_row({ours: (entry[name] or "").strip() for ours, name in found.items()}, turns)
        except (ValueError, csv.Error) as error:
            raise InputError(f"{path}, line {reader.line_num}: {error}.") from None


def _csv_row(entry: dict[str, str], turns: dict[int, int]) -> TraceRow:
    """One row of a CSV; ``turns`` counts the turns of each conversation so far.

    Raises:
        ValueError: a cell is not what its column needs.
    """
    conversation = _whole(entry.get("conversation") or -1, "conversation", -1, MOST_ID)
    turn = turns.get(conversation, 0) if conversation >= 0 else 0
    turns[conversation] = turn + 1
    prompt, output = (_count(entry[name], name) for name in ("prompt_tokens", "output_tokens"))
    prefix = _whole(entry.get("prefix_id") or -1, "prefix_id", -1, MOST_ID)
    shared = _whole(entry.get("prefix_tokens") or 0, "prefix_tokens", 0, MOST_TOKENS)
    think = _finite(entry.get("think_s") or 0, "think_s")
    if think < 0:
        raise ValueError(f"think_s is {think:g}, which is negative")
    at = _seconds(entry["arrival_s"])
    return TraceRow(at, prompt, output, prefix, min(shared, prompt - 1), conversation, turn, think)


def _finite(value: object, name: str) -> float:
    """A number that is neither infinite nor NaN."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(f"{name} is {_short(value)}, not a number")
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise ValueError(f"{name} is {_short(value)}, not a number") from None
    if not math.isfinite(number):
        raise ValueError(f"{name} is {_short(value)}, not a finite number")
    return number


def _whole(value: object, name: str, least: int, most: int) -> int:
    """A whole number from least to most; a fraction is cut off. An int stays exact beyond 2**53."""
    number = value if isinstance(value, int) and not isinstance(value, bool) else int(_finite(value, name))
    if not least <= number <= most:
        raise ValueError(f"{name} is {_short(value)}, and it must be between {least:,} and {most:,}")
    return number


def _count(value: object, name: str) -> int:
    """Tokens: at least one, since a request without a prompt or an answer cannot be sent."""
    return max(1, _whole(value, name, 0, MOST_TOKENS))


def _short(value: object) -> str:
    text = "missing" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _seconds(text: str) -> float:
    """A number of seconds, or a date and time as in the Azure traces (seven digits of a second).

    Raises:
        ValueError: it is neither.
    """
    try:
        return _finite(text, "arrival_s")
    except ValueError:
        if not re.match(r"\d{4}-\d{2}-\d{2}", text):
            raise
    head, _, fraction = text.removesuffix("Z").removesuffix("+00:00").partition(".")
    digits = re.match(r"\d*", fraction)
    try:
        when = dt.datetime.fromisoformat(head).replace(tzinfo=dt.timezone.utc)
    except ValueError:
        raise ValueError(f"arrival_s is {_short(text)}, neither seconds nor a date and time") from None
    return when.timestamp() + float(f"0.{digits[0] or 0}" if digits else 0)


def _sharegpt(path: Path) -> Iterator[TraceRow]:
    """Rows with the number of the conversation as time, and lengths estimated from words, for planning only."""
    try:
        talks = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not a ShareGPT file ({error}); it is a JSON list of conversations.") from None
    if not isinstance(talks, list) or not all(isinstance(t, dict) for t in talks):
        raise InputError(f"{path} is not a ShareGPT file; it is a JSON list of objects with the key conversations.")
    number = 0
    for talk in talks:
        parts = talk.get("conversations")
        exchanges = list(_exchanges(parts if isinstance(parts, list) else []))
        history = 0
        for turn, exchange in enumerate(exchanges):
            prompt, output = estimated_tokens(exchange.question), estimated_tokens(exchange.answer)
            yield TraceRow(
                float(number), history + prompt, output, conversation=number, turn=turn, text=exchange.question
            )
            history += prompt + output
        number += bool(exchanges)


@dataclass(frozen=True)
class Exchange:
    """What a user asked and what was answered."""

    question: str
    answer: str


def _exchanges(talk: Iterable[object]) -> Iterator[Exchange]:
    question = ""
    for part in talk:
        who, text = (part.get("from"), part.get("value")) if isinstance(part, dict) else (None, None)
        if who in ("human", "user"):
            question = str(text or "")
        elif who in ("gpt", "assistant", "chatgpt") and question:
            yield Exchange(question, str(text or ""))
            question = ""


def estimated_tokens(text: str) -> int:
    """About how many tokens a text has: its words and marks, times 1.2."""
    return max(1, round(1.2 * len(_WORD.findall(text))))


def _timed(rows: list[TraceRow], workload: Workload, trace: Trace, seed: int) -> list[TraceRow]:
    """Poisson arrivals for conversations without times; conversations repeat when the file has too few."""
    if trace.rate_per_s is None:
        raise InputError(f"{trace.file} has no times; set arrivals.rate_per_s to start conversations at that rate.")
    by_conversation: dict[int, list[TraceRow]] = {}
    for row in rows:
        by_conversation.setdefault(row.conversation, []).append(row)
    if not by_conversation:
        raise InputError(f"{trace.file} has no conversation with a question and an answer.")
    # Times are divided by the speed later, so both the rate and the length of the load are given in the trace's time.
    in_trace_time = workload.model_copy(
        update={
            "arrivals": Poisson(process="poisson", rate_per_s=trace.rate_per_s / trace.speed),
            "duration_s": workload.duration_s * trace.speed,
            "warmup_s": workload.warmup_s * trace.speed,
        }
    )
    times = arrival_times(in_trace_time, stream(seed, "arrivals"))
    picked = stream(seed, "trace").permutation(len(by_conversation))
    think = stream(seed, "think")
    timed = []
    for i, at in enumerate(times):
        for row in by_conversation[int(picked[i % len(picked)])]:
            pause = float(think.exponential(2.0)) if row.turn else 0.0
            timed.append(replace(row, arrival_s=float(at), conversation=i, think_s=pause))
    return timed


def _plan(rows: list[TraceRow], seed: int) -> RequestPlan:
    rows = _grouped(rows)
    n = len(rows)

    def ints(name: str) -> npt.NDArray[np.int32]:
        return np.array([getattr(r, name) for r in rows], dtype=np.int32)

    return RequestPlan(
        arrival_s=np.array([r.arrival_s for r in rows], dtype=np.float64),
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
        block_tokens=MOONCAKE_BLOCK,
        texts=tuple(r.text for r in rows) if any(r.text for r in rows) else None,
    )


def _grouped(rows: list[TraceRow]) -> list[TraceRow]:
    """Turns of one conversation follow each other, in order, at the time of the first."""
    first: dict[int, float] = {}
    for row in rows:
        if row.conversation >= 0:
            first.setdefault(row.conversation, row.arrival_s)
    for row in rows:
        row.arrival_s = first.get(row.conversation, row.arrival_s)
    return sorted(rows, key=lambda r: (r.arrival_s, r.conversation, r.turn))
