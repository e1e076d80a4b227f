"""Parquet files with one row for each answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from rooftune.errors import RooftuneError
from rooftune.files import replacing

if TYPE_CHECKING:
    import pyarrow as pa

Item = TypeVar("Item")
Row = Mapping[str, object]


def write_rows(path: Path, columns: Mapping[str, pa.Array]) -> None:
    """Write columns of equal length atomically."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with replacing(path) as temporary:
        pq.write_table(pa.table(dict(columns)), temporary)


def read_rows(path: Path, item: Callable[[Row], Item], *, missing: str, again: str) -> tuple[Item, ...]:
    """What ``item`` makes of each row.

    Args:
        missing: what it means that there is no such file.
        again: the way out where it cannot be read.

    Raises:
        RooftuneError: the file is missing, cut or has other columns.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise RooftuneError(f"{path} is missing: {missing}.")
    try:
        return tuple(item(row) for row in pq.ParquetFile(path).read().to_pylist())
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError) as error:
        short = str(error).split("\n")[0].rstrip(".")
        raise RooftuneError(f"{path} is cut or has other columns ({short}); {again}.") from None
