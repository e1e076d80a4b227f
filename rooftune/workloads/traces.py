"""Plans from recorded traces: Mooncake JSONL, Azure LLM CSV, ShareGPT conversations, plain CSV."""

from __future__ import annotations

import csv
import datetime as dt
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rooftune.errors import InputError, nearest
from rooftune.workloads.arrivals import arrival_times
from rooftune.workloads.request_plan import RequestPlan
from rooftune.workloads.seeds import prompt_seeds, stream
from rooftune.workloads.spec import Poisson, Trace, Workload

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
"""Our name -> names that a CSV may use, in any case."""
_WORD = re.compile(r"\w+|[^\w\s]")


@dataclass
class Row:
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
        InputError: the file is missing, of an unknown format, has bad lines, or nothing falls into the window.
    """
    path = Path(trace.file)
    kind = trace.format if trace.format != "auto" else _guess(path)
    readers = {"mooncake": _mooncake, "azure": _csv, "csv": _csv, "sharegpt": _sharegpt}
    try:
        rows = list(readers[kind](path))
    except FileNotFoundError:
        raise InputError(f"the trace {path} is missing; arrivals.file counts from the workload file.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the trace {path} cannot be read ({error}).") from None
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


def _from_zero(rows: list[Row], speed: float) -> Iterator[Row]:
    rows.sort(key=lambda r: r.arrival_s)
    first = rows[0].arrival_s if rows else 0.0
    for row in rows:
        row.arrival_s = (row.arrival_s - first) / speed
        yield row


def _mooncake(path: Path) -> Iterator[Row]:
    seen: set[int] = set()
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                entry = json.loads(line)
                blocks = tuple(int(b) for b in entry.get("hash_ids") or ())
                prompt, output = int(entry["input_length"]), int(entry["output_length"])
                at = float(entry["timestamp"]) / 1000
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise InputError(f"{path}, line {number}: no Mooncake request ({type(error).__name__} {error}); it has timestamp, input_length, output_length.") from None  # fmt: skip
            known = next((i for i, b in enumerate(blocks) if b not in seen), len(blocks))
            seen.update(blocks)
            prefix = blocks[0] if known else -1
            shared = min(known * MOONCAKE_BLOCK, max(prompt, 1) - 1) if known else 0
            yield Row(at, max(prompt, 1), max(output, 1), prefix, shared, blocks=blocks)


def _csv(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.DictReader(lines)
        names = {(n or "").strip().lower(): n for n in reader.fieldnames or []}
        found = {ours: names[a] for ours, aliases in COLUMNS.items() for a in reversed(aliases) if a in names}
        for needed in ("arrival_s", "prompt_tokens", "output_tokens"):
            if needed not in found:
                raise InputError(f"{path} has no column {needed}{nearest(needed, list(names))}; a trace has arrival_s, prompt_tokens, output_tokens.")  # fmt: skip
        turns: dict[int, int] = {}
        for number, entry in enumerate(reader, 2):
            try:
                yield _csv_row({ours: (entry[name] or "").strip() for ours, name in found.items()}, turns)
            except (ValueError, TypeError) as error:
                raise InputError(f"{path}, line {number}: {error}.") from None


def _csv_row(entry: dict[str, str], turns: dict[int, int]) -> Row:
    conversation = int(entry.get("conversation") or -1)
    turn = turns.get(conversation, 0) if conversation >= 0 else 0
    turns[conversation] = turn + 1
    prompt, output = int(float(entry["prompt_tokens"])), int(float(entry["output_tokens"]))
    return Row(
        _seconds(entry["arrival_s"]), max(prompt, 1), max(output, 1), int(entry.get("prefix_id") or -1),
        min(int(entry.get("prefix_tokens") or 0), max(prompt, 1) - 1), conversation, turn, float(entry.get("think_s") or 0),
    )  # fmt: skip


def _seconds(text: str) -> float:
    """A number of seconds, or a date and time as in the Azure traces (seven digits of a second)."""
    try:
        return float(text)
    except ValueError:
        head, _, fraction = text.removesuffix("Z").partition(".")
        digits = re.match(r"\d*", fraction)
        when = dt.datetime.fromisoformat(head.removesuffix("+00:00")).replace(tzinfo=dt.timezone.utc)
        return when.timestamp() + float(f"0.{digits[0] or 0}" if digits else 0)


def _sharegpt(path: Path) -> Iterator[Row]:
    """Rows with the number of the conversation as time; lengths by words, which only plan and never count."""
    try:
        talks = json.loads(path.read_text(encoding="utf-8"))
        turns = [(t["conversations"] if isinstance(t, dict) else None) for t in talks]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is no ShareGPT file ({type(error).__name__} {error}); it is a JSON list of conversations.") from None  # fmt: skip
    number = 0
    for talk in turns:
        said = list(_exchanges(talk or []))
        history = 0
        for turn, (question, answer) in enumerate(said):
            prompt, output = _length(question), _length(answer)
            yield Row(float(number), history + prompt, output, conversation=number, turn=turn, text=question)
            history += prompt + output
        number += bool(said)


def _exchanges(talk: Iterable[Any]) -> Iterator[tuple[str, str]]:
    question = ""
    for part in talk:
        who, text = (part.get("from"), part.get("value")) if isinstance(part, dict) else (None, None)
        if who in ("human", "user"):
            question = str(text or "")
        elif who in ("gpt", "assistant", "chatgpt") and question:
            yield question, str(text or "")
            question = ""


def _length(text: str) -> int:
    """About how many tokens a text has: its words and marks, times 1.2."""
    return max(1, round(1.2 * len(_WORD.findall(text))))


def _timed(rows: list[Row], workload: Workload, trace: Trace, seed: int) -> list[Row]:
    """Poisson arrivals for conversations without times; they are drawn again when the file has too few."""
    if trace.rate_per_s is None:
        raise InputError(f"{trace.file} has no times; set arrivals.rate_per_s to start conversations at that rate.")
    by_talk: dict[int, list[Row]] = {}
    for row in rows:
        by_talk.setdefault(row.conversation, []).append(row)
    if not by_talk:
        raise InputError(f"{trace.file} holds no conversation with a question and an answer.")
    poisson = Poisson(process="poisson", rate_per_s=trace.rate_per_s / trace.speed)
    model = workload.model_copy(update={"arrivals": poisson})
    times = arrival_times(model.model_copy(update={"duration_s": workload.duration_s * trace.speed, "warmup_s": workload.warmup_s * trace.speed}), stream(seed, "arrivals"))  # fmt: skip
    picked = stream(seed, "trace").permutation(len(by_talk))
    think = stream(seed, "think")
    timed = []
    for i, at in enumerate(times):
        for row in by_talk[int(picked[i % len(picked)])]:
            pause = float(think.exponential(2.0)) if row.turn else 0.0
            timed.append(Row(float(at), row.prompt, row.output, conversation=i, turn=row.turn, think_s=pause, text=row.text))  # fmt: skip
    return timed


def _plan(rows: list[Row], seed: int) -> RequestPlan:
    rows = _grouped(rows)
    n = len(rows)

    def column(name: str, kind: Any) -> Any:
        return np.array([getattr(r, name) for r in rows], dtype=kind)

    return RequestPlan(
        column("arrival_s", np.float64), column("prompt", np.int32), column("output", np.int32), column("prefix", np.int32),
        column("prefix_tokens", np.int32), prompt_seeds(seed, n), column("conversation", np.int32), column("turn", np.int32),
        column("think_s", np.float64), np.zeros(n, np.int16), None, seed,
        blocks=tuple(r.blocks for r in rows) if any(r.blocks for r in rows) else None, block_tokens=MOONCAKE_BLOCK,
        texts=tuple(r.text for r in rows) if any(r.text for r in rows) else None,
    )  # fmt: skip


def _grouped(rows: list[Row]) -> list[Row]:
    """Turns of a conversation stand together, in order, at the time of its first."""
    first: dict[int, float] = {}
    for row in rows:
        if row.conversation >= 0:
            first.setdefault(row.conversation, row.arrival_s)
    for row in rows:
        row.arrival_s = first.get(row.conversation, row.arrival_s)
    return sorted(rows, key=lambda r: (r.arrival_s, r.conversation, r.turn))
