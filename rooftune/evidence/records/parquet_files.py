"""Reads requests.parquet and ticks.parquet; a file that cannot be read is one sentence."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rooftune.errors import RooftuneError
from rooftune.evidence.records.columns import Floats, Requests, numbers_of, requests_of

if TYPE_CHECKING:
    import pyarrow as pa


def read_requests(path: Path) -> Requests:
    """Read requests.parquet.

    Raises:
        RooftuneError: the file is missing, empty, cut or has other columns.
    """
    with _one_sentence(path):
        table = _read(path)
        _check_columns(path, table, ("status", "scheduled_s", "chunk_s"))
        return requests_of(table)


def read_request_table(path: Path, columns: Sequence[str]) -> pa.Table:
    """Named columns of requests.parquet.

    Raises:
        RooftuneError: the file is missing, empty, cut or has other columns.
    """
    with _one_sentence(path):
        table = _read(path)
        _check_columns(path, table, columns)
        return table.select(list(columns))


def first_error(path: Path) -> str:
    """Text of the first request in requests.parquet that failed or was refused; empty without one.

    Raises:
        RooftuneError: the file is missing, empty, cut or has other columns.
    """
    table = read_request_table(path, ("status", "error")).to_pydict()
    pairs = zip(table["status"], table["error"], strict=True)
    return next((str(error) for status, error in pairs if status in ("failed", "refused") and error), "")


def read_ticks(path: Path) -> dict[str, Floats]:
    """Read ticks.parquet as columns of numbers.

    Raises:
        RooftuneError: the file is missing, empty or cut.
    """
    with _one_sentence(path):
        table = _read(path)
        return {name: numbers_of(table.column(name)) for name in table.column_names}


def _check_columns(path: Path, table: pa.Table, needed: Sequence[str]) -> None:
    missing = sorted(set(needed) - set(table.column_names))
    if missing:
        raise RooftuneError(f"{path} has no column {missing[0]}; it is not a requests.parquet of rooftune.")


def _read(path: Path) -> pa.Table:
    import pyarrow.parquet as pq

    if not path.is_file():
        raise RooftuneError(f"{path} is missing: the load phase has not ended in this folder; run it again.")
    if path.stat().st_size == 0:
        raise RooftuneError(f"{path} is empty: the load ended before anything was recorded; run it again.")
    return pq.ParquetFile(path).read()


@contextlib.contextmanager
def _one_sentence(path: Path) -> Iterator[None]:
    """Turn what pyarrow raises for damaged files into one sentence.

    Damage may show late: in the names of columns (a ValueError), or when a column is converted.
    """
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, ValueError, TypeError, AttributeError) as error:
        short = str(error).split("\n")[0].rstrip(".")
        raise RooftuneError(f"{path} is cut or not a Parquet file ({short}); run the load phase again.") from None
