"""What a load recorded, as columns: requests with the arrival of every token, and samples of the server.

Values that a source does not have are NaN (numbers) or empty (texts), so that every check can say "no data".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rooftune.errors import RooftuneError

if TYPE_CHECKING:
    import pyarrow as pa

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Texts = npt.NDArray[np.object_]
Bools = npt.NDArray[np.bool_]

LEFT = ("completed", "failed", "refused")
"""Statuses of requests that ended by themselves."""


@dataclass(frozen=True)
class Requests:
    """One entry a scheduled request. Times are seconds from the start of the load; NaN = did not happen."""

    status: Texts
    scheduled_s: Floats
    sent_s: Floats
    first_token_s: Floats
    last_token_s: Floats
    end_s: Floats
    planned_prompt_tokens: Floats
    planned_output_tokens: Floats
    prompt_tokens: Floats
    output_tokens: Floats
    """As the server's usage counts them."""
    cached_tokens: Floats
    streamed_tokens: Floats
    chunks: Floats
    prefix_id: Floats
    http_status: Floats
    error_class: Texts
    finish_reason: Texts
    conversation: Floats
    turn: Floats
    token_s: Floats
    """Arrival of every chunk, request by request."""
    token_count: Floats
    """Tokens in each chunk."""
    token_owner: Ints
    """Index of the request that each chunk belongs to."""
    prompt_key: Texts | None = None
    """What tells prompts apart, where the source says."""
    counted: bool = True
    """Tokens were counted by somebody (usage or stream), not guessed from characters."""

    def __len__(self) -> int:
        return len(self.scheduled_s)

    @property
    def left_s(self) -> Floats:
        """When each request left the system by itself; infinity for those that did not while anybody looked."""
        left = np.where(np.isfinite(self.end_s), self.end_s, self.last_token_s)
        return np.where(np.isin(self.status, LEFT), np.nan_to_num(left, nan=np.inf), np.inf)

    @property
    def begun_s(self) -> Floats:
        """When each request got its first token or left without one; infinity for those that wait for ever."""
        return np.fmin(np.nan_to_num(self.first_token_s, nan=np.inf), self.left_s)

    @property
    def last_s(self) -> Floats:
        """Last token, or the end where the answer was not streamed."""
        return np.where(np.isfinite(self.last_token_s), self.last_token_s, self.end_s)

    @property
    def observed_until_s(self) -> float:
        """The last moment that any record knows of."""
        found = [self.scheduled_s, self.end_s, self.last_token_s, self.first_token_s, self.token_s]
        return float(max((np.nanmax(x) for x in found if np.isfinite(x).any()), default=0.0))

    def shifted(self, seconds: float) -> Requests:
        """The same records with all times moved by so many seconds."""
        names = ("scheduled_s", "sent_s", "first_token_s", "last_token_s", "end_s", "token_s")
        return replace(self, **{n: getattr(self, n) + seconds for n in names})


Ticks = Mapping[str, Floats]
"""Columns of ticks.parquet as numbers; a column that the server did not give is all NaN."""


def requests_from(columns: Mapping[str, Any], **more: Any) -> Requests:
    """Requests from columns by name; absent ones become NaN, texts become empty.

    ``token_s`` etc. come with ``more``; without them the answers count as not streamed.
    """
    size = len(columns["scheduled_s"])
    texts = ("status", "error_class", "finish_reason")
    values: dict[str, Any] = {
        name: np.full(size, np.nan) if columns.get(name) is None else np.asarray(columns[name], dtype=np.float64)
        for name in Requests.__dataclass_fields__
        if name not in texts and not name.startswith("token_") and name not in ("prompt_key", "counted")
    }
    for name in texts:
        given = columns.get(name)
        values[name] = np.full(size, "", dtype=object) if given is None else np.asarray(given, dtype=object)
    empty = {"token_s": np.empty(0), "token_count": np.empty(0), "token_owner": np.empty(0, dtype=np.int64)}
    return Requests(**{**values, **empty, **more})


def requests_of(table: pa.Table) -> Requests:
    """Requests of a table with the columns of ``schema.REQUESTS``."""
    columns: dict[str, Any] = {}
    for name in table.column_names:
        if name in ("chunk_s", "chunk_tokens", "index", "error"):
            continue
        column = table.column(name)
        if name in ("status", "error_class", "finish_reason"):
            columns[name] = np.asarray([v or "" for v in column.to_pylist()], dtype=object)
        else:
            columns[name] = _numbers(column)
    found = requests_from(columns)
    return replace(found, **_tokens(table, found))


def _numbers(column: pa.ChunkedArray) -> Floats:
    import pyarrow as pa

    return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)


def _tokens(table: pa.Table, found: Requests) -> dict[str, Any]:
    """Arrival, size and owner of every chunk.

    Tokens of a chunk are what the server said; else the request's usage (or what was streamed) spread evenly over
    its chunks. An answer that was not streamed arrives whole at its end.
    """
    lists = table.column("chunk_s").combine_chunks()
    sizes = np.asarray(lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False), dtype=np.int64)
    owner = np.repeat(np.arange(len(found)), sizes)
    at = found.scheduled_s[owner] + np.asarray(lists.flatten().to_numpy(zero_copy_only=False), dtype=np.float64)
    total = np.where(np.isfinite(found.output_tokens), found.output_tokens, found.streamed_tokens)
    with np.errstate(divide="ignore", invalid="ignore"):
        each = np.where(sizes > 0, total / sizes, 0.0)
    each = np.where((each > 0) & np.isfinite(each), each, 1.0)
    count = each[owner]
    if "chunk_tokens" in table.column_names:
        count = _told(table.column("chunk_tokens").combine_chunks(), sizes, count)
    whole = (sizes == 0) & np.isfinite(found.end_s) & (np.nan_to_num(total) > 0) & (found.status == "completed")
    extra = np.flatnonzero(whole)
    return {
        "token_s": np.concatenate([at, found.end_s[extra]]),
        "token_count": np.concatenate([count, total[extra]]),
        "token_owner": np.concatenate([owner, extra]),
    }


def _told(lists: pa.ListArray, sizes: Ints, count: Floats) -> Floats:
    """Replace the even share by the server's own numbers where it gave one for each chunk of a request."""
    told = np.asarray(lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False), dtype=np.int64)
    agree = (told == sizes) & (sizes > 0)
    if not agree.any():
        return count
    values = np.asarray(lists.flatten().to_numpy(zero_copy_only=False), dtype=np.float64)
    mine = np.repeat(agree, sizes)
    count = count.copy()
    count[mine] = values[np.repeat(agree, told)]
    return count


def read_requests(path: Path) -> Requests:
    """Read requests.parquet.

    Raises:
        RooftuneError: the file is missing, empty, cut or has other columns; one sentence with the way out.
    """
    table = _read(path)
    _check_columns(path, table, ("status", "scheduled_s", "chunk_s"))
    return requests_of(table)


def read_request_table(path: Path, columns: Sequence[str]) -> pa.Table:
    """Named columns of requests.parquet. Raises RooftuneError like :func:`read_requests`."""
    table = _read(path)
    _check_columns(path, table, columns)
    return table.select(list(columns))


def _check_columns(path: Path, table: pa.Table, needed: Sequence[str]) -> None:
    missing = sorted(set(needed) - set(table.column_names))
    if missing:
        raise RooftuneError(f"{path} has no column {missing[0]}; it is not a requests.parquet of rooftune.")


def read_ticks(path: Path) -> dict[str, Floats]:
    """Read ticks.parquet as columns of numbers. Raises RooftuneError like :func:`read_requests`."""
    table = _read(path)
    return {name: _numbers(table.column(name)) for name in table.column_names}


def _read(path: Path) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise RooftuneError(f"{path} is missing; the load phase has not ended in this folder, run it again.")
    if path.stat().st_size == 0:
        raise RooftuneError(f"{path} is empty; the load was ended before anything was recorded, run it again.")
    try:
        return pq.ParquetFile(path).read()
    except (pa.ArrowException, OSError) as error:
        short = str(error).split("\n")[0].rstrip(".")
        raise RooftuneError(f"{path} is cut or no Parquet file ({short}); run the load phase again.") from None
