"""What a load recorded, as columns: requests with the arrival of every token, and samples of the server.

Values that a source does not have are NaN (numbers) or empty (texts), so that every check can report "no data".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pyarrow as pa

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Texts = npt.NDArray[np.object_]
Bools = npt.NDArray[np.bool_]

LEFT = ("completed", "failed", "refused")
"""Statuses of requests that ended before the client stopped waiting."""
TEXTS = ("status", "error_class", "finish_reason", "adapter")
NUMBERS = ("scheduled_s", "sent_s", "first_token_s", "last_token_s", "end_s", "planned_prompt_tokens",
           "planned_output_tokens", "prompt_tokens", "output_tokens", "cached_tokens", "streamed_tokens", "chunks",
           "prefix_id", "http_status", "conversation", "turn", "answer_s", "reasoning_tokens")  # fmt: skip
"""Columns of one value for each request."""


@dataclass(frozen=True)
class Requests:
    """One entry for each scheduled request. Times are seconds from the start of the load; NaN = did not happen."""

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
    """As counted in the server's usage."""
    cached_tokens: Floats
    streamed_tokens: Floats
    chunks: Floats
    prefix_id: Floats
    http_status: Floats
    error_class: Texts
    finish_reason: Texts
    adapter: Texts
    """LoRA adapter that was asked for; empty = the base model."""
    conversation: Floats
    turn: Floats
    answer_s: Floats
    """First token after the reasoning; NaN where a request has no reasoning or no answer."""
    reasoning_tokens: Floats
    """Output tokens before the answer; NaN where there are none."""
    token_s: Floats
    """Arrival of every chunk, request by request."""
    token_count: Floats
    """Tokens in each chunk."""
    token_owner: Ints
    """Index of the request that each chunk belongs to."""
    prompt_key: Texts | None = None
    """A text that is the same for equal prompts, where the source has one."""
    counted: bool = True
    """Tokens were counted (usage or stream), not guessed from characters."""

    def __len__(self) -> int:
        return len(self.scheduled_s)

    @property
    def left_s(self) -> Floats:
        """When each request ended; infinity for those that had not ended when the client stopped waiting."""
        left = np.where(np.isfinite(self.end_s), self.end_s, self.last_token_s)
        return np.where(np.isin(self.status, LEFT), np.nan_to_num(left, nan=np.inf), np.inf)

    @property
    def begun_s(self) -> Floats:
        """When each request got its first token or ended without one; infinity for those that did neither."""
        return np.fmin(np.nan_to_num(self.first_token_s, nan=np.inf), self.left_s)

    @property
    def last_s(self) -> Floats:
        """Last token, or the end where the answer was not streamed."""
        return np.where(np.isfinite(self.last_token_s), self.last_token_s, self.end_s)

    @property
    def observed_until_s(self) -> float:
        """The last moment in the records."""
        found = [self.scheduled_s, self.end_s, self.last_token_s, self.first_token_s, self.token_s]
        return float(max((np.nanmax(x) for x in found if np.isfinite(x).any()), default=0.0))

    def shifted(self, seconds: float) -> Requests:
        """The same records with all times moved by this many seconds."""
        names = ("scheduled_s", "sent_s", "first_token_s", "last_token_s", "end_s", "answer_s", "token_s")
        return replace(self, **{n: getattr(self, n) + seconds for n in names})

    def only(self, chosen: Bools) -> Requests:
        """Some of the requests, with their chunks."""
        kept = chosen[self.token_owner]
        owner = (np.cumsum(chosen) - 1)[self.token_owner[kept]]
        columns: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        rows = {n: v[chosen] for n, v in columns.items() if isinstance(v, np.ndarray) and not n.startswith("token_")}
        columns |= {**rows, "token_s": self.token_s[kept], "token_count": self.token_count[kept], "token_owner": owner}
        return Requests(**columns)


Ticks = Mapping[str, Floats]
"""Columns of ticks.parquet as numbers; a column that the server did not report is all NaN."""


@dataclass(frozen=True)
class ChunkArrivals:
    """Every chunk of every request, one entry for each: when it came, how many tokens it had, whose it was."""

    at_s: Floats
    tokens: Floats
    owner: Ints


NO_CHUNKS = ChunkArrivals(np.empty(0), np.empty(0), np.empty(0, dtype=np.int64))


def requests_from(
    columns: Mapping[str, npt.ArrayLike | None],
    chunks: ChunkArrivals = NO_CHUNKS,
    *,
    prompt_key: Texts | None = None,
    counted: bool = True,
) -> Requests:
    """Requests from columns by name; absent numbers become NaN, absent texts empty.

    Without ``chunks`` the answers are taken as not streamed.
    """
    size = len(np.asarray(columns["scheduled_s"]))

    def numbers(name: str) -> Floats:
        given = columns.get(name)
        return np.full(size, np.nan) if given is None else np.asarray(given, dtype=np.float64)

    def texts(name: str) -> Texts:
        given = columns.get(name)
        return np.full(size, "", dtype=object) if given is None else np.asarray(given, dtype=object)

    return Requests(
        scheduled_s=numbers("scheduled_s"),
        sent_s=numbers("sent_s"),
        first_token_s=numbers("first_token_s"),
        last_token_s=numbers("last_token_s"),
        end_s=numbers("end_s"),
        planned_prompt_tokens=numbers("planned_prompt_tokens"),
        planned_output_tokens=numbers("planned_output_tokens"),
        prompt_tokens=numbers("prompt_tokens"),
        output_tokens=numbers("output_tokens"),
        cached_tokens=numbers("cached_tokens"),
        streamed_tokens=numbers("streamed_tokens"),
        chunks=numbers("chunks"),
        prefix_id=numbers("prefix_id"),
        http_status=numbers("http_status"),
        conversation=numbers("conversation"),
        turn=numbers("turn"),
        answer_s=numbers("answer_s"),
        reasoning_tokens=numbers("reasoning_tokens"),
        status=texts("status"),
        error_class=texts("error_class"),
        finish_reason=texts("finish_reason"),
        adapter=texts("adapter"),
        token_s=chunks.at_s,
        token_count=chunks.tokens,
        token_owner=chunks.owner,
        prompt_key=prompt_key,
        counted=counted,
    )


def requests_of(table: pa.Table) -> Requests:
    """Requests of a table with the columns of ``schema.REQUESTS``."""
    names = set(table.column_names)
    columns: dict[str, npt.ArrayLike | None] = {n: numbers_of(table.column(n)) for n in NUMBERS if n in names}
    for name in names & set(TEXTS):
        columns[name] = np.asarray([v or "" for v in table.column(name).to_pylist()], dtype=object)
    return requests_from(columns, _chunks(table, requests_from(columns)))


def numbers_of(column: pa.ChunkedArray) -> Floats:
    """A column as numbers; null becomes NaN."""
    import pyarrow as pa

    return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)


def _chunks(table: pa.Table, found: Requests) -> ChunkArrivals:
    """Arrival, size and owner of every chunk.

    The tokens of a chunk are what the server reported. Where it did not, the request's usage (or what was streamed) is
    spread evenly over its chunks. An answer that was not streamed arrives whole at its end.
    """
    lists = table.column("chunk_s").combine_chunks()
    sizes = _sizes(lists)
    owner = np.repeat(np.arange(len(found)), sizes)
    at = found.scheduled_s[owner] + np.asarray(lists.flatten().to_numpy(zero_copy_only=False), dtype=np.float64)
    total = np.where(np.isfinite(found.output_tokens), found.output_tokens, found.streamed_tokens)
    with np.errstate(divide="ignore", invalid="ignore"):
        each = np.where(sizes > 0, total / sizes, 0.0)
    each = np.where((each > 0) & np.isfinite(each), each, 1.0)
    count = each[owner]
    if "chunk_tokens" in table.column_names:
        count = _reported(table.column("chunk_tokens").combine_chunks(), sizes, count)
    whole = (sizes == 0) & np.isfinite(found.end_s) & (np.nan_to_num(total) > 0) & (found.status == "completed")
    extra = np.flatnonzero(whole)
    return ChunkArrivals(
        at_s=np.concatenate([at, found.end_s[extra]]),
        tokens=np.concatenate([count, total[extra]]),
        owner=np.concatenate([owner, extra]),
    )


def _reported(lists: pa.ListArray, sizes: Ints, count: Floats) -> Floats:
    """Replace the even share by the server's own numbers where it reported one for each chunk of a request."""
    reported = _sizes(lists)
    agree = (reported == sizes) & (sizes > 0)
    if not agree.any():
        return count
    values = np.asarray(lists.flatten().to_numpy(zero_copy_only=False), dtype=np.float64)
    count = count.copy()
    count[np.repeat(agree, sizes)] = values[np.repeat(agree, reported)]
    return count


def _sizes(lists: pa.ListArray) -> Ints:
    return np.asarray(lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False), dtype=np.int64)
