"""Finished requests as rows of requests.parquet."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rooftune.loadgen.job import Share
from rooftune.loadgen.wire import Exchange, Response

if TYPE_CHECKING:
    import pyarrow as pa

SCALARS = (
    *("status", "error_class", "error", "finish_reason", "http_status", "prompt_tokens", "output_tokens"),
    *("cached_tokens", "reasoning_tokens", "sent_s", "end_s", "bytes_received"),
)
"""Columns whose values are stored as they are; ``table`` computes the others."""


class RequestRows:
    """Finished requests since the last part. ``add`` and ``add_never_begun`` take times of the monotonic clock."""

    def __init__(self, share: Share, process: int, *, began: float, scale: float) -> None:
        self._share, self._process = share, process
        self._began, self._scale = began, scale
        self._local: list[int] = []
        self._due: list[float] = []
        self._scalars: dict[str, list[Any]] = {name: [] for name in SCALARS}
        self._chunk_t = array("d")
        self._chunks: list[int] = []
        """Number of chunks of each request; its times are a slice of ``_chunk_t``."""
        self._chunk_tokens = array("h")
        self._counted_chunks: list[int] = []
        """Number of chunks of each request whose tokens the server reported."""
        self._answer_chunk: list[int] = []
        """Place of the first chunk after the reasoning; -1: nothing was reasoned, or no answer came."""

    def __len__(self) -> int:
        return len(self._local)

    def add(self, exchange: Exchange, status: str) -> None:
        """Add a request that was sent and has ended."""
        r = exchange.response
        chunks = len(r.chunk_t)
        counted = chunks if chunks and len(r.chunk_tokens) == chunks else 0
        self._chunk_t.extend(r.chunk_t)
        if counted:
            self._chunk_tokens.extend(r.chunk_tokens)
        self._append(exchange.local, exchange.due, chunks, counted)
        if r.reasoning_chunks and r.answer_chunk is not None:
            self._answer_chunk[-1] = r.answer_chunk
        row = self._scalars
        row["status"].append(status)
        row["error_class"].append(r.error_class or None)
        row["error"].append(r.error or None)
        row["finish_reason"].append(r.finish_reason)
        row["http_status"].append(r.http_status)
        row["prompt_tokens"].append(r.prompt_tokens)
        row["output_tokens"].append(r.output_tokens)
        row["cached_tokens"].append(r.cached_tokens)
        row["reasoning_tokens"].append(_reasoning_tokens(r))
        row["sent_s"].append(self._workload_s(exchange.sent))
        row["end_s"].append(None if exchange.ended is None else self._workload_s(exchange.ended))
        row["bytes_received"].append(exchange.bytes_received)

    def add_never_begun(self, local: int, due: float, why: str) -> None:
        """Add a request that was scheduled and not sent. ``local`` is its place in this process's plan."""
        self._append(local, due, 0, 0)
        known = {"status": "never_begun", "error_class": why and "never_begun", "error": why, "bytes_received": 0}
        for name, values in self._scalars.items():
            values.append(known.get(name))

    def _append(self, local: int, due: float, chunks: int, counted: int) -> None:
        self._local.append(local)
        self._due.append(due)
        self._chunks.append(chunks)
        self._counted_chunks.append(counted)
        self._answer_chunk.append(-1)

    def _workload_s(self, at: float) -> float:
        return (at - self._began) * self._scale

    def table(self) -> pa.Table:
        """The rows as a table of ``schema.REQUESTS``."""
        import pyarrow as pa

        from rooftune.loadgen.schema import REQUESTS

        plan, rows = self._share.plan, np.asarray(self._local, dtype=np.int64)
        due, chunks = np.asarray(self._due), np.asarray(self._chunks, dtype=np.int64)
        times = np.frombuffer(self._chunk_t, dtype=np.float64) if self._chunk_t else np.empty(0)
        ends, some = np.cumsum(chunks), chunks > 0
        first, last = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
        first[some] = (times[(ends - chunks)[some]] - self._began) * self._scale
        last[some] = (times[(ends - 1)[some]] - self._began) * self._scale
        answer_chunk = np.asarray(self._answer_chunk, dtype=np.int64)
        answer, answered = np.full(len(rows), np.nan), answer_chunk >= 0
        answer[answered] = (times[(ends - chunks + answer_chunk)[answered]] - self._began) * self._scale
        counted = np.asarray(self._counted_chunks, dtype=np.int64)
        tokens = np.frombuffer(self._chunk_tokens, dtype=np.int16) if self._chunk_tokens else np.empty(0, np.int16)
        values: dict[str, Any] = {
            **self._scalars,
            "index": self._share.index[rows],
            "scheduled_s": (due - self._began) * self._scale,
            "first_token_s": pa.array(first, from_pandas=True),
            "last_token_s": pa.array(last, from_pandas=True),
            "answer_s": pa.array(answer, from_pandas=True),
            "planned_prompt_tokens": plan.prompt_tokens[rows],
            "planned_output_tokens": plan.output_tokens[rows],
            "streamed_tokens": self._streamed_tokens(chunks, counted, tokens),
            "chunks": chunks,
            **{name: getattr(plan, name)[rows] for name in ("prefix_id", "conversation", "turn", "part")},
            "adapter": self._adapters(rows),
            "process": np.full(len(rows), self._process),
            "chunk_s": _lists(((times - np.repeat(due, chunks)) * self._scale).astype(np.float32), ends),
            "chunk_tokens": _lists(tokens, np.cumsum(counted), counted == 0),
        }
        arrays = [v if isinstance(v := values[f.name], pa.Array) else pa.array(v, f.type) for f in REQUESTS]
        return pa.Table.from_arrays(arrays, schema=REQUESTS)

    def _adapters(self, rows: npt.NDArray[np.int64]) -> list[str | None]:
        """The adapter that each request asked for."""
        plan = self._share.plan
        if plan.adapter is None:
            return [None] * len(rows)
        names = (*plan.adapters, None)  # -1, the model itself, is the last
        return [names[k] for k in plan.adapter[rows]]

    def _streamed_tokens(
        self, chunks: npt.NDArray[np.int64], counted: npt.NDArray[np.int64], tokens: npt.NDArray[np.int16]
    ) -> npt.NDArray[np.int64]:
        """Tokens that arrived: as reported per chunk, else one per chunk, else the usage of an unstreamed response."""
        usage = np.asarray([n or 0 for n in self._scalars["output_tokens"]], dtype=np.int64)
        streamed = np.where(chunks > 0, chunks, usage)
        if len(tokens):
            starts = np.minimum(np.cumsum(counted) - counted, len(tokens))
            sums = np.add.reduceat(np.concatenate([tokens.astype(np.int64), [0]]), starts)
            streamed[counted > 0] = sums[counted > 0]
        return streamed


def _reasoning_tokens(r: Response) -> int | None:
    """Tokens before the answer: as the server counts them, else the share of the chunks; None where there are none."""
    if not r.reasoning_chunks and not r.reasoning_tokens:
        return None
    if r.reasoning_tokens is not None:
        return r.reasoning_tokens
    total = r.output_tokens if r.output_tokens is not None else len(r.chunk_t)
    return round(total * r.reasoning_chunks / len(r.chunk_t))


def _lists(
    values: npt.NDArray[Any], ends: npt.NDArray[np.int64], missing: npt.NDArray[np.bool_] | None = None
) -> pa.Array:
    """A column of lists from their values and ends, without one Python object per value."""
    import pyarrow as pa

    offsets = np.concatenate([[0], ends]).astype(np.int32)
    mask = None if missing is None else pa.array(missing)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values), mask=mask)
