"""Reads requests from JSON lines and from tables, as gateways, proxies and clients log them."""

from __future__ import annotations

import contextlib
import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from rooftune.errors import InputError, nearest
from rooftune.workloads.cells import long_cells, separator
from rooftune.workloads.logs.entries import LoggedRequest, LogReading
from rooftune.workloads.logs.fields import FieldMap, LogField, Record, decoded
from rooftune.workloads.logs.files import KNOWN, lines, opened
from rooftune.workloads.logs.moments import is_written_date, seconds_of
from rooftune.workloads.spec import TimeUnit
from rooftune.workloads.traces.rows import short, whole
from rooftune.workloads.traces.units import EPOCHS, SECONDS, unit_in_name

MOST_FIELD = 64 * 2**20
"""Bytes of the longest cell of a table."""
FAILED = 400
"""HTTP status from which an answer is an error."""
FAILED_WORDS = ("error", "failure", "failed", "fail")


@dataclass
class RecordReader:
    """Turns records into requests."""

    reading: LogReading
    fields: FieldMap
    time_unit: TimeUnit | None = None
    """Of numbers; None: by the name of the column or by their size."""
    written: int = 0
    """Times that were dates."""
    seen: dict[int, int] = field(default_factory=dict)
    """Line of each request, by a hash of its id, time and prompt."""
    keys: tuple[str, ...] = ()
    """The fields of the first record."""
    pictures: int = 0

    def take(self, line: int, record: Record) -> None:
        """Take one record: a request, or a skipped line with its reason."""
        record = decoded(record)
        self.keys = self.keys or tuple(record)
        try:
            if (failure := self._failure(record)) is not None:
                self.reading.skip(line, failure)
                return
            entry = self._request(line, record)
        except ValueError as error:
            self.reading.skip(line, str(error))
            return
        if (before := self._earlier(entry, record)) is not None:
            self.reading.skip(line, f"a copy of line {before:,}" if before == line - 1 else "a copy of an earlier line")
            return
        self.reading.requests.append(entry)

    def _request(self, line: int, record: Record) -> LoggedRequest:
        f = self.fields
        entry = LoggedRequest(line, at=self._time(record))
        entry.prompt_tokens, entry.output_tokens = f.tokens(record, "prompt_tokens"), f.tokens(record, "output_tokens")
        entry.max_tokens = f.tokens(record, "max_tokens")
        messages = f.value(record, "messages")
        if isinstance(messages, list) and messages:
            entry.messages = [m for m in messages if isinstance(m, Mapping)]
            entry.text = "\n".join(f"{m.get('role', 'user')}: {self._words(m.get('content'))}" for m in entry.messages)
        else:
            self._prompt(entry, f.value(record, "prompt"))
        entry.answer = self._answer(f.value(record, "answer"))
        adapter = f.value(record, "adapter")
        entry.adapter = "" if adapter is None else str(adapter)
        prefix = f.value(record, "prefix_id")
        if prefix is not None:
            entry.prefix = whole(prefix, f.name("prefix_id"), -1, 2**31 - 1)
            entry.prefix_tokens = f.tokens(record, "prefix_tokens") or 0
        if not (entry.prompt_tokens or entry.text or entry.token_ids):
            raise ValueError("the prompt has neither a length nor a text")
        return entry

    def _prompt(self, entry: LoggedRequest, prompt: object) -> None:
        """A prompt as text, as token ids, or as a list with one of these."""
        if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], (str, list)):
            prompt = prompt[0]
        if isinstance(prompt, list) and prompt and all(isinstance(t, int) for t in prompt):
            entry.token_ids = prompt
            entry.prompt_tokens = entry.prompt_tokens or len(prompt)
        elif isinstance(prompt, list) and all(isinstance(p, str) for p in prompt):
            raise ValueError("several prompts in one request")
        elif prompt is not None:
            entry.text = self._words(prompt)

    def _time(self, record: Record) -> float | None:
        value = self.fields.value(record, "arrival")
        if value is None:
            return None
        self.written += is_written_date(value)
        return seconds_of(value, self.fields.name("arrival"))

    def _words(self, content: object) -> str:
        """The text of a message, whose content may be a list of parts."""
        if isinstance(content, str):
            return content
        if isinstance(content, list):
            self.pictures += any(
                isinstance(p, Mapping) and p.get("type") in ("image_url", "input_image") for p in content
            )
            return " ".join(self._words(p.get("text") if isinstance(p, Mapping) else p) for p in content).strip()
        return "" if content is None else str(content)

    def _answer(self, value: object) -> str:
        """The text of an answer: a text, the first choice of the API, or its pieces."""
        if isinstance(value, str):
            return value
        first = value[0] if isinstance(value, list) and value else None
        if not isinstance(first, Mapping):
            return ""
        message = first.get("message")
        if isinstance(message, Mapping):
            thought = message.get("reasoning_content") or message.get("reasoning") or ""
            return f"{self._words(thought)}{self._words(message.get('content'))}"
        return self._words(first.get("text") or first.get("content"))

    def _failure(self, record: Record) -> str | None:
        """Why a record is of a request that got no answer; None when it did."""
        status = self.fields.value(record, "status")
        text = str(status).strip().lower() if status is not None else ""
        if text.isdigit() and int(text) >= FAILED:
            return f"status {text}"
        if text in FAILED_WORDS:
            return f"status {short(text)}"
        error = record.get("error")
        return "an error instead of an answer" if error and not record.get("response") else None

    def _earlier(self, entry: LoggedRequest, record: Record) -> int | None:
        """The line that had the same request before."""
        name, content = self.fields.value(record, "id"), entry.text or tuple(entry.token_ids)
        if name is None and (entry.at is None or not content):
            return None  # equal lengths at the same second may be two requests
        key = hash((str(name), entry.at, content, entry.prompt_tokens, entry.output_tokens))
        before = self.seen.setdefault(key, entry.line)
        return None if before == entry.line else before

    def end(self) -> LogReading:
        """Put the times into seconds where their unit is known, and say what was assumed."""
        self._check_map()
        entries, name = self.reading.requests, self.fields.name("arrival")
        timed = [e for e in entries if e.at is not None]
        unit = self.time_unit or unit_in_name(name.rpartition(".")[2].lower())
        if timed and not self.written:
            _to_seconds(timed, unit, self.reading, name)
        elif 0 < self.written < len(timed):
            raise InputError(
                f"the field {name} has dates in some lines and numbers in others; name another with --column arrival=…."
            )
        if self.pictures:
            self.reading.notes.append(f"{self.pictures:,} messages have images, which are left out")
        self.reading.fields = dict(self.fields.used)
        return self.reading

    def _check_map(self) -> None:
        """Refuse a column map with a field that no record has."""
        for ours, theirs in self.fields.columns.items():
            if self.keys and ours not in self.fields.used:
                raise InputError(
                    f"no line has the field {theirs!r} for {ours}{nearest(theirs, list(self.keys))}; "
                    f"the first has {', '.join(self.keys)}."
                )


def _to_seconds(timed: list[LoggedRequest], unit: TimeUnit | None, reading: LogReading, name: str) -> None:
    if unit is None:
        low = min(e.at for e in timed if e.at is not None)
        since_1970: list[TimeUnit] = [u for u in EPOCHS if low >= EPOCHS[u]]
        since_1970.sort(key=lambda u: EPOCHS[u])
        unit = since_1970[-1] if since_1970 else None
        if unit is None:
            reading.notes.append(f"the numbers of {name} are taken as seconds (--time-unit names another unit)")
    factor = SECONDS[unit or "s"]
    for entry in timed:
        entry.at = (entry.at or 0.0) * factor


def read_json(path: Path, columns: Mapping[LogField, str], unit: TimeUnit | None) -> LogReading:
    """The requests of JSON lines, or of a JSON list.

    Raises:
        InputError: no line is JSON, or a list is incomplete.
    """
    reader = RecordReader(LogReading("openai"), FieldMap(columns), unit)
    first = True
    for line in lines(path):
        text = line.text.strip()
        if first and text.startswith("["):
            return _read_list(path, reader)
        if not text:
            if not line.ended and line.number > 1:
                reader.reading.skip(line.number, "the compressed file ends here")
            continue
        first = False
        try:
            record = json.loads(text)
        except (ValueError, RecursionError):
            reader.reading.skip(line.number, "not JSON" if line.ended else "incomplete: the file ends within it")
            continue
        if isinstance(record, dict):
            reader.take(line.number, record)
        else:
            reader.reading.skip(line.number, "not a JSON object")
    return reader.end()


def _read_list(path: Path, reader: RecordReader) -> LogReading:
    with opened(path) as file:
        try:
            value = json.load(file)
        except (ValueError, RecursionError, EOFError) as error:
            raise InputError(f"{path} is an incomplete JSON list ({error}); name {KNOWN}.") from None
    for number, record in enumerate(value, 1):
        if isinstance(record, dict):
            reader.take(number, record)
        else:
            reader.reading.skip(number, "not a JSON object")
    return reader.end()


@long_cells(MOST_FIELD)
def read_csv(path: Path, columns: Mapping[LogField, str], unit: TimeUnit | None) -> LogReading:
    """The requests of a table with a header.

    Raises:
        InputError: it has no header, or the column map names a column that it does not have.
    """
    first = next((line.text for line in lines(path)), "")
    reader = RecordReader(LogReading("csv"), FieldMap(columns), unit)
    with opened(path) as file:
        rows = csv.reader(file, delimiter=separator(first), strict=True)
        header = []
        with contextlib.suppress(csv.Error, EOFError):
            header = [cell.strip() for cell in next(rows, [])]
        if not any(header):
            raise InputError(f"{path} has no header; name {KNOWN}.")
        for row in _rows(rows, reader.reading):
            if len(row.cells) < len(header):
                reader.reading.skip(row.line, f"{len(row.cells)} of {len(header)} columns")
            elif any(cell.strip() for cell in row.cells):
                reader.take(row.line, dict(zip(header, map(str.strip, row.cells), strict=False)))
    return reader.end()


class _CsvRows(Protocol):
    """What is used of ``csv.reader``."""

    @property
    def line_num(self) -> int:
        """Lines read so far."""

    def __next__(self) -> list[str]:
        """The next row."""


@dataclass(frozen=True)
class _Row:
    line: int
    """Where it begins."""
    cells: list[str]


def _rows(rows: _CsvRows, reading: LogReading) -> Iterator[_Row]:
    """The rows of a table; what is not one is skipped."""
    while True:
        begins = rows.line_num + 1
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            unclosed = "unexpected end" in str(error) or "field larger" in str(error)
            reading.skip(begins, "a quote that does not end" if unclosed else f"not a row of a table ({error})")
            continue
        except EOFError:
            reading.skip(begins, "the compressed file ends here")
            return
        if cells:
            yield _Row(begins, cells)
