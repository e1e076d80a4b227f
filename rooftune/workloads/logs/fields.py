"""Where records of JSON or rows of a table have what a request needs: by a column map, else by the usual names."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from rooftune.errors import InputError, nearest
from rooftune.workloads.strict import MOST_TOKENS
from rooftune.workloads.traces.rows import whole
from rooftune.workloads.traces.tables import NAMES

Record = Mapping[str, object]
LogField = Literal[
    "arrival", "prompt_tokens", "output_tokens", "max_tokens", "prompt", "messages", "answer", "adapter", "id",
    "status", "prefix_id", "prefix_tokens",
]  # fmt: skip
FIELDS: tuple[str, ...] = get_args(LogField)
_REQUEST = ("", "request.", "body.", "request.body.", "request_body.", "requestBody.", "input.", "kwargs.", "payload.")
_RESPONSE = ("", "response.", "response.body.", "response_body.", "responseBody.", "output.", "result.")
_TIMES = (
    "arrival", "received_at", "request_time", "request_timestamp", "start_time", "startTime", "started_at",
    "timestamp_ms", "timestamp", "@timestamp", "ts", "time", "datetime", "created_at", "date", *NAMES["arrival"],
)  # fmt: skip


def _under(prefixes: Iterable[str], names: Iterable[str]) -> tuple[str, ...]:
    return tuple(f"{prefix}{name}" for name in names for prefix in prefixes)


USUAL: dict[LogField, tuple[str, ...]] = {
    "arrival": (
        *dict.fromkeys(_TIMES), *_under(("request.",), ("timestamp", "time")), *_under(_RESPONSE, ("created",)),
    ),
    "prompt_tokens": (
        *_under(_RESPONSE, ("usage.prompt_tokens", "usage.input_tokens", "usage.inputTokens")),
        *NAMES["prompt_tokens"], "promptTokens", "inputTokens", "ContextTokens",
    ),
    "output_tokens": (
        *_under(_RESPONSE, ("usage.completion_tokens", "usage.output_tokens", "usage.outputTokens")),
        *NAMES["output_tokens"], "completionTokens", "outputTokens", "GeneratedTokens",
    ),
    "max_tokens": _under(_REQUEST, ("max_completion_tokens", "max_tokens", "max_output_tokens")),
    "messages": _under(_REQUEST, ("messages", "input")),
    "prompt": (*_under(_REQUEST, ("prompt", "input")), "request", "question", "query", "text"),
    "answer": (
        *_under(_RESPONSE, ("choices", "output_text")), *_under(_RESPONSE[1:], ("content",)),
        "answer", "completion", "response", "output", "generated_text",
    ),
    "adapter": ("adapter", "lora", "lora_name", "lora_adapter", "adapter_id", "request.lora_name"),
    "id": ("request_id", "requestId", "id", "call_id", "trace_id", "custom_id", "response.id", "databricks_request_id"),
    "status": ("status_code", "statusCode", "response.status_code", "http_status", "status"),
    "prefix_id": ("prefix_id",),
    "prefix_tokens": ("prefix_tokens",),
}  # fmt: skip
"""The usual names of each field; a dot goes into an object."""
_CONTAINERS = ("request", "response", "body", "request_body", "response_body", "requestBody", "responseBody",
               "messages", "usage", "output", "input", "payload", "kwargs", "result")  # fmt: skip
"""Fields whose text may be JSON, as in inference tables and CSV."""


def parse_columns(words: Sequence[str]) -> dict[LogField, str]:
    """A column map as users write it: ``arrival=ts``; a dot goes into an object.

    Raises:
        InputError: an unknown field, or no column.
    """
    found: dict[LogField, str] = {}
    for word in words:
        name, equals, column = (part.strip() for part in word.partition("="))
        if name not in FIELDS or not equals or not column:
            raise InputError(
                f"--column takes FIELD=COLUMN, not {word!r}{nearest(name, list(FIELDS))}; fields: {', '.join(FIELDS)}."
            )
        found[name] = column  # type: ignore[index]
    return found


def decoded(record: Record) -> Record:
    """The record with its JSON texts read."""
    found = dict(record)
    for name in _CONTAINERS:
        value = found.get(name)
        if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
            try:
                found[name] = json.loads(value)
            except ValueError:
                pass  # a text that only looks like JSON
    return found


def at(record: Record, path: str) -> object:
    """The value at a path; None where there is none. A field whose own name has dots is found too."""
    if path in record:
        return record[path]
    value: object = record
    for part in path.split("."):
        if isinstance(value, list) and part.isdigit():
            value = value[int(part)] if int(part) < len(value) else None
        elif isinstance(value, Mapping):
            value = value.get(part)
        else:
            return None
    return value


@dataclass
class FieldMap:
    """Finds the fields of records; remembers where the first records had them."""

    columns: Mapping[LogField, str]
    used: dict[str, str] = field(default_factory=dict)
    """Our name of a field -> where the file has it."""

    def value(self, record: Record, name: LogField) -> object:
        """The value of a field; None where the record does not have it."""
        if name in self.columns:
            found = at(record, self.columns[name])
            if found is not None and found != "":
                self.used.setdefault(name, self.columns[name])
            return None if found == "" else found
        known = self.used.get(name)
        for path in (known, *USUAL[name]) if known else USUAL[name]:
            found = at(record, path)
            if found is None or found == "" or not _fits(name, found):
                continue
            self.used.setdefault(name, path)
            return found
        return None

    def name(self, field: LogField) -> str:
        """What the file calls a field."""
        return self.columns.get(field) or self.used.get(field) or field

    def tokens(self, record: Record, name: LogField) -> int | None:
        """A number of tokens; None where the record does not have it, or has 0.

        Raises:
            ValueError: it is not a number of tokens.
        """
        value = self.value(record, name)
        if value is None:
            return None
        return whole(value, self.name(name), 0, MOST_TOKENS) or None


def _fits(name: LogField, value: object) -> bool:
    """Whether a value found under a usual name can be this field: names such as ``input`` have several meanings."""
    if name == "prompt":
        return isinstance(value, str) or (isinstance(value, list) and bool(value))
    if name == "messages":
        return isinstance(value, list) and all(isinstance(m, Mapping) and "content" in m for m in value)
    if name == "answer":
        return isinstance(value, (str, list))
    if name == "arrival":
        return isinstance(value, (str, int, float)) and not isinstance(value, bool)
    return not isinstance(value, (Mapping, list))
