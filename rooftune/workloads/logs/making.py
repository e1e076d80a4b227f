"""Makes a workload of what was read from a log: its arrivals, lengths, shared beginnings and, if wanted, its texts."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from rooftune.errors import InputError
from rooftune.formatting import number, quantity, rate
from rooftune.workloads.blocks import BLOCK_TOKENS
from rooftune.workloads.identity import name_from
from rooftune.workloads.logs.clock import Ordered, in_order
from rooftune.workloads.logs.entries import TITLES, LogFormat, LoggedRequest, LogReading, SkippedFor
from rooftune.workloads.logs.fields import LogField
from rooftune.workloads.logs.files import kind_of
from rooftune.workloads.logs.lengths import Assumed, TokenCounter, complete_lengths
from rooftune.workloads.logs.records import read_csv, read_json
from rooftune.workloads.logs.sharing import number_blocks
from rooftune.workloads.logs.vllm_log import read_vllm_log
from rooftune.workloads.spec import TimeUnit

USUAL_WINDOW_S = 600.0
"""Length of the stretch that is taken of a longer log."""
WARMUP_SHARE, MOST_WARMUP_S = 0.1, 60.0
DRAIN_S = 60.0
LEAST_LOAD_S = 60.0
FALLBACK_RATE = 1.0
"""Requests per second of a log without times."""
FEWEST = 10
"""With fewer requests than this, a workload says little."""
Arrivals = Literal["replay", "poisson"]


@dataclass(frozen=True)
class LogOptions:
    """What a user asks of the workload."""

    name: str | None = None
    format: LogFormat | None = None
    """None: by the content of the file."""
    columns: Mapping[LogField, str] = field(default_factory=dict)
    time_unit: TimeUnit | None = None
    redact: bool = False
    """Leave out every text and every name."""
    window_s: float | None = None
    """Length of the busiest stretch to take; infinity: everything; None: ten minutes of a longer log."""
    arrivals: Arrivals = "replay"
    rate_per_s: float | None = None
    """Of Poisson arrivals, and of a log without times."""
    slo: Mapping[str, float | None] = field(default_factory=dict)
    assumed: Assumed = field(default_factory=Assumed)


@dataclass(frozen=True)
class MadeWorkload:
    """A workload with its requests, and what is known of the log that it is from."""

    content: Mapping[str, object]
    """The workload file."""
    requests: Sequence[LoggedRequest]
    timed: bool
    """The trace has the arrivals of the requests."""
    texts: bool
    format: LogFormat
    found: int
    """Requests read, in the whole log."""
    skipped: Sequence[SkippedFor]
    notes: Sequence[str]
    fields: Mapping[str, str]
    shared: int
    """Requests that begin like an earlier one."""

    @property
    def name(self) -> str:
        """The workload's name."""
        return str(self.content["name"])


def make_workload(path: Path, options: LogOptions, count: TokenCounter | None = None) -> MadeWorkload:
    """Read a log and make a workload of it.

    Args:
        count: tokens of a text by the model's tokenizer; None: estimated from its words.

    Raises:
        InputError: the file is not a log, has no request, or lacks what a workload needs.
    """
    reading = _read(path, options)
    if not reading.requests:
        raise InputError(f"{path} has no request: {_why_none(reading)}.")
    found = len(reading.requests)
    complete_lengths(reading, options.assumed, count)
    ordered = in_order(reading.requests)
    notes = [*reading.notes, *ordered.notes]
    requests = _window(ordered, options, notes)
    if len(requests) < FEWEST:
        notes.append(f"{quantity(len(requests), 'request')} are few: metrics of a load this small say little")
    shared = _share(requests, notes)
    kept = not options.redact and any(r.text or r.messages for r in requests)
    if options.redact:
        _hide_adapters(requests)
    if any(r.adapter and not r.adapter_path for r in requests):
        notes.append("where the adapters are is not known: add lora.path before vLLM is started with them")
    shape = _shape(requests, ordered.timed, options, notes)
    content = _content(path, options, requests, shape, kept)
    return MadeWorkload(
        content, requests, shape.replayed, kept, reading.format, found, reading.reasons(), notes, reading.fields, shared
    )


def _read(path: Path, options: LogOptions) -> LogReading:
    kind = options.format or kind_of(path)
    if kind == "vllm":
        if options.columns:
            raise InputError(f"{path} is a {TITLES['vllm']}, which has no columns; leave out --column.")
        return read_vllm_log(path)
    read = read_csv if kind == "csv" else read_json
    return read(path, options.columns, options.time_unit)


def _why_none(reading: LogReading) -> str:
    reasons = reading.reasons()
    if not reasons:
        return "it has no line that is one"
    words = [f"line {r.lines[0]:,}: {r.reason}" for r in reasons[:3]]
    return "; ".join(words) + ("; name its columns with --column" if reading.format != "vllm" else "")


def _window(ordered: Ordered, options: LogOptions, notes: list[str]) -> list[LoggedRequest]:
    """The requests of the busiest stretch, from 0 on."""
    requests = ordered.requests
    if not ordered.timed:
        return requests
    times = np.array([r.at for r in requests], dtype=np.float64)
    span = float(times[-1])
    length = options.window_s if options.window_s is not None else USUAL_WINDOW_S
    if span <= length:
        return requests
    ends = np.searchsorted(times, times + length)
    begin = int(np.argmax(ends - np.arange(len(times))))
    kept = requests[begin : int(ends[begin])]
    notes.append(
        f"of {number(span)} s the busiest {number(length)} s are taken, with {len(kept):,} of {len(requests):,} "
        "requests (--window takes another length)"
    )
    start = float(times[begin])
    for request in kept:
        request.at = (request.at or 0.0) - start
    return kept


def _share(requests: Sequence[LoggedRequest], notes: list[str]) -> int:
    """Find out which prompts have a prefix in common."""
    if any(r.prefix >= 0 for r in requests):
        return sum(r.prefix >= 0 and r.prefix_tokens > 0 for r in requests)
    if not any(r.token_ids or r.text for r in requests):
        notes.append("the log has no texts, so shared prefixes are not known: every prompt is taken as different")
        return 0
    return number_blocks(requests)


@dataclass(frozen=True)
class _Shape:
    """How the requests of the workload arrive."""

    replayed: bool
    """As the log has it; otherwise at a rate."""
    per_s: float
    total_s: float


def _shape(requests: Sequence[LoggedRequest], timed: bool, options: LogOptions, notes: list[str]) -> _Shape:
    """Rate and length of the load."""
    span = float(requests[-1].at or 0.0) if timed else 0.0
    per_s = options.rate_per_s or ((len(requests) - 1) / span if span else FALLBACK_RATE)
    if not timed:
        notes.append(
            f"the log has no times, so the requests arrive as a Poisson process at {rate(per_s, 'request')}"
            + ("" if options.rate_per_s else " (--rate sets the true rate)")
        )
    elif not span:
        notes.append("all requests have the same time")
    replayed = timed and options.arrivals == "replay" and options.rate_per_s is None
    total = math.floor(span) + 1 if replayed else max(LEAST_LOAD_S, math.ceil(len(requests) / per_s))
    return _Shape(replayed, float(f"{per_s:.4g}"), total)


def _content(
    path: Path, options: LogOptions, requests: Sequence[LoggedRequest], shape: _Shape, kept: bool
) -> dict[str, object]:
    """The workload file."""
    name = options.name or _name(path)
    warmup = min(MOST_WARMUP_S, round(WARMUP_SHARE * shape.total_s))
    at_rate = {} if shape.replayed else {"rate_per_s": shape.per_s}
    arrivals: dict[str, object] = {"process": "poisson", **at_rate}
    if shape.replayed or not kept:
        trace = {"process": "trace", "file": f"{name}.trace.jsonl", "format": "csv", "time_unit": "s"}
        arrivals = {**trace, "block_tokens": BLOCK_TOKENS, **at_rate}
    chat = options.slo.get("answer_ttft_ms") is not None or (kept and any(r.messages for r in requests))
    content: dict[str, object] = {
        "name": name,
        "description": f"{quantity(len(requests), 'request')} of {path.name}, {rate(shape.per_s, 'request')}",
        "endpoint": "chat" if chat else "completions",
        "arrivals": arrivals,
        **({"prompts": {"file": f"{name}.prompts.jsonl"}} if kept else {}),
        "duration_s": shape.total_s - warmup,
        "warmup_s": warmup,
        "drain_s": DRAIN_S,
    }
    if lora := _adapters(requests):
        content["lora"] = lora
    if limits := {k: v for k, v in options.slo.items() if v is not None}:
        content["slo"] = limits
    return content


def _adapters(requests: Sequence[LoggedRequest]) -> list[dict[str, object]]:
    """The adapters that requests ask for, with their shares and, where the log has them, their paths."""
    counts = Counter(r.adapter for r in requests if r.adapter)
    paths = {r.adapter: {"path": r.adapter_path} for r in requests if r.adapter_path}
    return [
        {"name": name, **paths.get(name, {}), "share": _share_of(n, len(requests))} for name, n in counts.most_common()
    ]


def _share_of(n: int, total: int) -> float:
    """A share that is rounded down, so that several do not add up to more than 1."""
    return max(math.floor(1e6 * n / total) / 1e6, 1e-6)


def _hide_adapters(requests: Sequence[LoggedRequest]) -> None:
    """Give adapters numbers in the place of their names."""
    numbers: dict[str, str] = {}
    for request in requests:
        if request.adapter:
            request.adapter = numbers.setdefault(request.adapter, f"adapter-{len(numbers) + 1}")
            request.adapter_path = ""


def _name(path: Path) -> str:
    """A workload's name from that of the file."""
    return name_from(re.sub(r"(\.(gz|log|txt|json|jsonl|ndjson|csv|tsv))+$", "", path.name.lower()), "log")
