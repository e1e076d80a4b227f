"""Opens a file of prompts: text in UTF-8, and the entries that it has, with the line of each."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rooftune.errors import InputError
from rooftune.workloads.cells import long_cells, separator

KNOWN = (
    "JSONL with prompt or messages, an OpenAI batch file, ShareGPT, the custom data set of vllm bench, a file of "
    "guidellm or aiperf, a CSV with a prompt column, or one prompt per line"
)
TABLES = (".csv", ".tsv")
JSON_LINES = (".jsonl", ".ndjson")
LONGEST_CELL = 2**27
"""Characters of the longest cell of a table; the default of Python's reader is 131,072, less than some prompts have."""


@dataclass(frozen=True)
class Entry:
    """One entry of a file: a value of JSON, a row of a table, or a line."""

    line: int
    """Where it begins, from 1; in a JSON list its place in the list."""
    value: object
    unit: str = "line"
    """What ``line`` counts: ``line`` or ``entry``."""


def entries(data: bytes, path: Path, *, plain: bool | None = None) -> list[Entry]:
    """The entries of a file that has JSON, JSON lines, a table or lines of text.

    Args:
        data: its content.
        path: its name, for its format and for errors.
        plain: True reads each line as a prompt, False never does; None decides by the content.

    Raises:
        InputError: the file is empty, not text in UTF-8, or not JSON where it should be.
    """
    text = _text(data, path)
    if not text.strip():
        raise InputError(f"{path} is empty; a file of prompts is {KNOWN}.")
    suffix = path.suffix.lower()
    if plain:
        return _plain(text)
    if suffix in TABLES:
        with long_cells(LONGEST_CELL):
            return list(_rows(text, path))
    first = text.lstrip()
    if first[0] in "[{" or suffix in JSON_LINES or suffix == ".json" or plain is False:
        found = _json(text, path)
        if found is not None:
            return found
        looks_plain = plain is None and suffix not in (*JSON_LINES, ".json")
        if not looks_plain or first[0] == "{":
            return list(_json_lines(text, path))
    return _plain(text)


def content_of(path: Path) -> bytes:
    """The content of a file of prompts.

    Raises:
        InputError: it is missing or cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(
            f"the file of prompts {path} is missing; prompts.file is relative to the workload file."
        ) from None
    except OSError as error:
        raise InputError(f"the file of prompts {path} cannot be read ({error.strerror or error}).") from None


def _text(data: bytes, path: Path) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise InputError(f"{path} is UTF-16; save it as UTF-8 (iconv -f utf-16 -t utf-8).")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}, line {line}: the byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8 "
            "(iconv -f latin1 -t utf-8, if it is Latin-1)."
        ) from None


def _plain(text: str) -> list[Entry]:
    lines = enumerate(text.replace("\r\n", "\n").split("\n"), 1)
    return [Entry(number, line) for number, line in lines if line.strip()]


def _json(text: str, path: Path) -> list[Entry] | None:
    """The entries of a file that is one JSON value; None where it may be something else.

    Raises:
        InputError: it can be nothing else, and it is not JSON.
    """
    first, suffix = text.lstrip(), path.suffix.lower()
    if first.rstrip().count("\n") and suffix in JSON_LINES and first[0] != "[":
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        if suffix in (*JSON_LINES, ".json") and (first[0] == "[" or not _is_json(first.split("\n", 1)[0])):
            line = error.lineno if isinstance(error, json.JSONDecodeError) else 1
            raise InputError(f"{path}, line {line}: not JSON ({error}); a file of prompts is {KNOWN}.") from None
        return None
    if isinstance(value, dict) and (inner := _wrapped(value)) is not None:
        value = inner
    if not isinstance(value, list):
        return [Entry(1, value)]
    return [Entry(number, v, "entry") for number, v in enumerate(value, 1)]


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _wrapped(value: dict[str, object]) -> list[object] | None:
    """The list of prompts in an object that holds nothing else of interest (``{"data": [...]}``)."""
    for name in ("data", "prompts", "requests", "rows", "train"):
        inner = value.get(name)
        if isinstance(inner, list) and inner and all(isinstance(v, (dict, str)) for v in inner):
            return inner
    return None


def _json_lines(text: str, path: Path) -> Iterator[Entry]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InputError(
                    f"{path}, line {number}: not JSON ({error}); fix the line, or read each line as a prompt with "
                    "prompts.format: text."
                ) from None
            yield Entry(number, value)


def _rows(text: str, path: Path) -> Iterator[Entry]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator(text.split("\n", 1)[0]))
    try:
        columns = [c.strip() for c in next(reader, [])]
        begin = reader.line_num + 1
        for cells in reader:
            if any(cells):
                yield Entry(begin, dict(zip(columns, cells, strict=False)))
            begin = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: {error}.") from None
