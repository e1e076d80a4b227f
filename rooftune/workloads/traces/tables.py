"""Reads traces with one request per row or object: its arrival, its tokens, and what it shares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rooftune.errors import InputError, nearest
from rooftune.formatting import number
from rooftune.workloads.spec import Trace
from rooftune.workloads.strict import MOST_TOKENS
from rooftune.workloads.traces.files import KNOWN, Numbered, Record
from rooftune.workloads.traces.rows import MOST_HASH, MOST_ID, TraceRow, count, finite, whole
from rooftune.workloads.traces.units import Meaning, date_seconds, is_date, unit_in_name

NAMES: dict[str, tuple[str, ...]] = {
    "arrival": ("arrival_s", "arrival", "arrived_at", "arrival_time", "arrival_ms", "arrival_time_ns", "arrival_ns",
                "timestamp", "timestamp_ms", "timestamp_s", "request_timestamp", "time", "t_s", "t"),
    "prompt_tokens": ("prompt_tokens", "input_length", "contexttokens", "num_prefill_tokens", "request_tokens",
                      "input_toks", "input_tokens", "prompt_len", "input_len", "prompt_length"),
    "output_tokens": ("output_tokens", "output_length", "generatedtokens", "num_decode_tokens", "response_tokens",
                      "output_toks", "output_len", "completion_tokens", "generated_tokens"),
    "prefix_id": ("prefix_id",),
    "prefix_tokens": ("prefix_tokens",),
    "conversation": ("conversation", "session_id", "conversation_id"),
    "think_s": ("think_s", "delay_s"),
    "hash_ids": ("hash_ids", "block_hashes"),
    "adapter": ("adapter", "lora_name"),
}  # fmt: skip
"""Our name -> names that files use, without regard to case, with _ for a blank."""
NEEDED = ("prompt_tokens", "output_tokens")


@dataclass(frozen=True)
class Reading:
    """What was read: rows with arrivals in the file's own unit, and what that unit is."""

    rows: list[TraceRow]
    meaning: Meaning
    timed: bool
    notes: Sequence[str] = ()


def has_prompt_lengths(columns: Iterable[str]) -> bool:
    """Whether one of these columns has the tokens of prompts."""
    known = {_plain(c) for c in columns}
    return any(n in known for n in NAMES["prompt_tokens"])


def read_rows(records: Iterable[Numbered], columns: Sequence[str], trace: Trace, path: Path) -> Reading:
    """The requests of a table.

    Raises:
        InputError: a column is missing, or a value is not what its column needs; the message has the line.
    """
    where = _columns(columns, trace, path)
    meaning = _meaning(columns, where, trace)
    failures = meaning.title == "BurstGPT"
    if failures:
        where.pop("conversation", None)
    rows, turns, dates, failed = [], dict[int, int](), False, 0
    for numbered in records:
        try:
            value = numbered.record.get(where["arrival"]) if "arrival" in where else 0.0
            dates = dates or (isinstance(value, str) and is_date(value))
            row = _row(numbered.record, where, turns, numbered.line)
            if failures and not finite(numbered.record.get(where["output_tokens"]), "output_tokens"):
                failed += 1
                continue
        except ValueError as error:
            raise InputError(f"{path}, line {numbered.line}: {error}.") from None
        rows.append(row)
    if dates:
        meaning = Meaning(meaning.title, "s", meaning.block_tokens)
    notes = [f"{failed:,} requests of {path.name} without an answer are left out"] if failed else []
    return Reading(rows, meaning, "arrival" in where, notes)


def _plain(name: str) -> str:
    return name.strip().lower().replace(" ", "_")


def _columns(columns: Sequence[str], trace: Trace, path: Path) -> dict[str, str]:
    """Our name -> the file's."""
    names = {_plain(c): c for c in reversed(columns)}
    found = {ours: names[a] for ours, known in NAMES.items() for a in reversed(known) if a in names}
    for ours, theirs in trace.columns.items():
        if theirs not in columns:
            raise InputError(
                f"{path} has no column {theirs!r}{nearest(theirs, list(columns))}; it has {', '.join(columns)}."
            )
        found[ours] = theirs
    for needed in NEEDED:
        if needed not in found:
            raise InputError(
                f"{path} has no column {needed}{nearest(needed, list(names))}; it has {', '.join(columns) or 'none'}. "
                f"Name it with arrivals.columns ({needed}: COLUMN); a trace is {KNOWN}."
            )
    return found


def _meaning(columns: Sequence[str], where: Mapping[str, str], trace: Trace) -> Meaning:
    """What the format defines, by the columns that only it has."""
    names = {_plain(c) for c in columns}
    arrival = _plain(where.get("arrival", ""))
    if trace.format == "bailian" or {"chat_id", "parent_chat_id"} <= names:
        return Meaning("Bailian", "s", 16)
    if trace.format == "burstgpt" or {"request_tokens", "response_tokens"} <= names:
        return Meaning("BurstGPT", "s")
    if trace.format == "vidur" or "num_prefill_tokens" in names:
        return Meaning("Vidur", "s")
    if trace.format == "llmservingsim" or {"input_toks", "output_toks"} <= names:
        return Meaning("LLMServingSim", unit_in_name(arrival) or "ns")
    if trace.format == "aiperf":
        return Meaning("aiperf", "ms", 512)
    if trace.format == "mooncake" or (
        {"timestamp", "input_length", "output_length"} <= names and trace.format == "auto"
    ):
        return Meaning("Mooncake", "ms", 512, whole_times=True)
    title = "Azure" if trace.format == "azure" or "contexttokens" in names else "table"
    return Meaning(title, unit_in_name(arrival), 512 if "hash_ids" in where else None)


def _row(record: Record, where: Mapping[str, str], turns: dict[int, int], line: int) -> TraceRow:
    """One request; ``turns`` counts the turns of each conversation so far.

    Raises:
        ValueError: a value is not what its column needs; the message has the file's name of the column.
    """

    def value(ours: str, default: object = None) -> object:
        found = record.get(where[ours]) if ours in where else None
        return default if found is None or found == "" else found

    def name(ours: str) -> str:
        return where.get(ours, ours)

    conversation = whole(value("conversation", -1), name("conversation"), -1, MOST_ID)
    turn = turns.get(conversation, 0) if conversation >= 0 else 0
    turns[conversation] = turn + 1
    prompt, output = (count(record.get(where[needed]), where[needed]) for needed in NEEDED)
    prefix = whole(value("prefix_id", -1), name("prefix_id"), -1, MOST_ID)
    shared = whole(value("prefix_tokens", 0), name("prefix_tokens"), 0, MOST_TOKENS)
    think = finite(value("think_s", 0), name("think_s"))
    if think < 0:
        raise ValueError(f"{name('think_s')} is {number(think)}, which is negative")
    at = record.get(where["arrival"]) if "arrival" in where else 0.0
    arrival = date_seconds(at, name("arrival")) if isinstance(at, str) else finite(at, name("arrival"))
    blocks, adapter = _blocks(value("hash_ids"), name("hash_ids")), value("adapter", "")
    return TraceRow(
        arrival, prompt, output, line, prefix, min(shared, prompt - 1), conversation, turn, think,
        blocks=blocks, adapter=str(adapter),
    )  # fmt: skip


def _blocks(ids: object, name: str) -> tuple[int, ...]:
    if ids is None:
        return ()
    if isinstance(ids, str):
        ids = ids.strip("[] ").replace(",", " ").split()
    if not isinstance(ids, list):
        raise ValueError(f"{name} is not a list")
    return tuple(whole(b, name, 0, MOST_HASH) for b in ids)
