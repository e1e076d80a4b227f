"""Opens a trace and gives its records: objects of JSON or JSON lines, or rows of a table."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rooftune.errors import InputError
from rooftune.workloads.cells import separator

Record = Mapping[str, object]
KNOWN = (
    "a CSV or TSV with arrival, prompt_tokens and output_tokens; Mooncake, Bailian, Azure, BurstGPT, Vidur, "
    "LLMServingSim, aiperf or guidellm; conversations of ShareGPT or OpenAI messages; a batch file of OpenAI"
)


@dataclass(frozen=True)
class Numbered:
    """A record and its line, or its place in a JSON list."""

    line: int
    record: Record


@dataclass(frozen=True)
class Table:
    """Rows with named columns, read one by one."""

    columns: Sequence[str]
    rows: Iterator[Numbered]


def is_json(path: Path) -> bool:
    """Whether a file begins as JSON does.

    Raises:
        InputError: it cannot be read as text.
    """
    with path.open(encoding="utf-8-sig") as file:
        return file.read(200).lstrip()[:1] in ("{", "[")


def json_records(path: Path) -> list[Numbered]:
    """The objects of a JSON list, of JSON lines, or the one of a JSON object.

    Raises:
        InputError: a line is not JSON, or something is not an object.
    """
    text = path.read_text(encoding="utf-8-sig")
    if text.lstrip().startswith("[") or text.strip().count("\n") == 0 or path.suffix == ".json":
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            if "\n" not in text.strip() or text.lstrip().startswith("["):
                raise InputError(f"{path}, line 1: not JSON ({error}); a trace is {KNOWN}.") from None
        else:
            found = value if isinstance(value, list) else [value]
            return [_numbered(i, v, path) for i, v in enumerate(found, 1)]
    return list(_lines(text, path))


def _lines(text: str, path: Path) -> Iterator[Numbered]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InputError(f"{path}, line {number}: not JSON ({error}); a trace is {KNOWN}.") from None
            yield _numbered(number, value, path)


def _numbered(number: int, value: object, path: Path) -> Numbered:
    if not isinstance(value, dict):
        raise InputError(f"{path}, line {number}: not a JSON object; a trace is {KNOWN}.")
    return Numbered(number, value)


def table(path: Path) -> Table:
    """A table with commas, tabs or semicolons between its columns.

    Raises:
        InputError: it has no header.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        header = file.readline()
    mark = separator(header)
    columns = [c.strip() for c in next(csv.reader([header], delimiter=mark), [])]
    if not any(columns):
        raise InputError(f"{path} is empty; a trace is {KNOWN}.")
    return Table(columns, _table_rows(path, columns, mark))


def _table_rows(path: Path, columns: Sequence[str], mark: str) -> Iterator[Numbered]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=mark)
        try:
            next(reader, None)
            for cells in reader:
                if cells:
                    row = dict(zip(columns, cells, strict=False))
                    yield Numbered(reader.line_num, {c: row.get(c, "").strip() for c in columns})
        except csv.Error as error:
            raise InputError(f"{path}, line {reader.line_num}: {error}.") from None
