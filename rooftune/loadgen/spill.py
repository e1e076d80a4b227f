"""Records of requests go to Parquet while the load runs: a small file each second, joined into one at the end.

A file is written whole or not at all, so after ``kill -9`` everything up to the last second can be read; ``recover`` joins what is there.
"""

from __future__ import annotations

import os
import shutil
from array import array
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rooftune.errors import RooftuneError
from rooftune.files import replacing
from rooftune.loadgen.wire.answer import Answer
from rooftune.workloads.request_plan import RequestPlan

if TYPE_CHECKING:
    import pyarrow as pa

SORTED_ROWS = 50_000
"""Up to so many requests the joined file is in the order of the plan; beyond, only each row group is."""
_FIELDS = ("status", "error_class", "error", "finish_reason", "http_status", "prompt_tokens", "output_tokens", "cached_tokens",
           "sent_s", "end_s", "bytes_received")  # fmt: skip


def parts_folder(trial: Path) -> Path:
    """Where the parts of a trial lie while it runs."""
    return trial / "parts"


class Rows:
    """Finished requests since the last part. Times as they were read from the clock."""

    def __init__(self, plan: RequestPlan, index: Any, process: int, *, began: float, scale: float) -> None:
        self._plan, self._index, self._process = plan, index, process
        self._began, self._scale = began, scale
        self._local: list[int] = []
        self._rows: list[tuple[Any, ...]] = []
        """``_FIELDS`` of each."""
        self._due: list[float] = []
        self._chunk_t = array("d")
        self._sizes: list[int] = []
        self._tokens = array("h")
        self._told: list[int] = []

    def __len__(self) -> int:
        return len(self._local)

    def add(self, local: int, status: str, due: float, sent: float | None, end: float | None, answer: Answer | None, size: int, why: str | None = None) -> None:  # fmt: skip
        """One request that is over. ``local``: its place in this process's plan; times of the monotonic clock; ``why`` it was never begun."""
        a = answer
        self._local.append(local)
        self._due.append(due)
        sent_s = None if sent is None else (sent - self._began) * self._scale
        end_s = None if end is None else (end - self._began) * self._scale
        if a is None:
            self._rows.append((status, why and "never_begun", why, None, None, None, None, None, sent_s, end_s, size))
        else:
            self._rows.append((status, a.error_class or None, a.error or None, a.finish_reason, a.http_status, a.prompt_tokens,
                               a.output_tokens, a.cached_tokens, sent_s, end_s, size))  # fmt: skip
        chunks = 0 if a is None else len(a.chunk_t)
        self._sizes.append(chunks)
        told = 0
        if a is not None:
            self._chunk_t.extend(a.chunk_t)
            if chunks and len(a.chunk_tokens) == chunks:
                self._tokens.extend(a.chunk_tokens)
                told = chunks
        self._told.append(told)

    def never_begun(self, local: int, due: float, why: str) -> None:
        """A request that was scheduled and not sent."""
        self.add(local, "never_begun", due, None, None, None, 0, why)

    def table(self) -> pa.Table:
        """The rows as a table of ``schema.REQUESTS``."""
        import pyarrow as pa

        from rooftune.loadgen.schema import REQUESTS

        plan, rows = self._plan, np.asarray(self._local, dtype=np.int64)
        due, sizes = np.asarray(self._due), np.asarray(self._sizes, dtype=np.int64)
        times = np.frombuffer(self._chunk_t, dtype=np.float64) if self._chunk_t else np.empty(0)
        after = ((times - np.repeat(due, sizes)) * self._scale).astype(np.float32)
        scheduled = (due - self._began) * self._scale
        ends = np.cumsum(sizes)
        some = sizes > 0
        first, last = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
        first[some] = (times[(ends - sizes)[some]] - self._began) * self._scale
        last[some] = (times[(ends - 1)[some]] - self._began) * self._scale
        values: dict[str, Any] = dict(zip(_FIELDS, zip(*self._rows, strict=True), strict=True))
        told = np.asarray(self._told, dtype=np.int64)
        tokens = np.frombuffer(self._tokens, dtype=np.int16) if self._tokens else np.empty(0, np.int16)
        usage = np.asarray([n or 0 for n in values["output_tokens"]], dtype=np.int64)
        streamed = np.where(some, sizes, usage)
        if len(tokens):
            sums = np.add.reduceat(np.concatenate([tokens, [0]]), np.minimum(np.cumsum(told) - told, len(tokens)))
            streamed[told > 0] = sums[told > 0]
        values |= {
            "index": self._index[rows], "scheduled_s": scheduled, "streamed_tokens": streamed, "chunks": sizes,
            "first_token_s": pa.array(first, from_pandas=True), "last_token_s": pa.array(last, from_pandas=True),
            "planned_prompt_tokens": plan.prompt_tokens[rows], "planned_output_tokens": plan.output_tokens[rows],
            "prefix_id": plan.prefix_id[rows], "conversation": plan.conversation[rows], "turn": plan.turn[rows],
            "part": plan.part[rows], "process": np.full(len(rows), self._process),
            "chunk_s": _lists(after, ends), "chunk_tokens": _lists(tokens, np.cumsum(told), told == 0),
        }  # fmt: skip
        arrays = [v if isinstance(v := values[f.name], pa.Array) else pa.array(v, f.type) for f in REQUESTS]
        return pa.Table.from_arrays(arrays, schema=REQUESTS)


def _lists(values: Any, ends: Any, missing: Any = None) -> pa.Array:
    """A column of lists from their values and ends, without a Python object per value."""
    import pyarrow as pa

    offsets = np.concatenate([[0], ends]).astype(np.int32)
    mask = None if missing is None else pa.array(missing)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values), mask=mask)


def write_part(table: pa.Table, folder: Path, name: str) -> None:
    """Write one part, whole or not at all. Not fsynced: it shall survive the death of processes, not of the machine.

    Raises:
        RooftuneError: the disk is full or the folder cannot be written.
    """
    import pyarrow.parquet as pq

    hidden = folder / f".{name}"
    try:
        pq.write_table(table, hidden, compression="none", use_dictionary=False, write_statistics=False)
        os.replace(hidden, folder / name)
    except OSError as error:
        hidden.unlink(missing_ok=True)
        raise RooftuneError(_full(error, folder)) from None


def _full(error: OSError, folder: Path) -> str:
    if "No space" in str(error) or "quota" in str(error).lower():
        return f"The disk is full: the records of the load could not be written to {folder}; free some space and run again."  # fmt: skip
    return f"The records of the load could not be written to {folder} ({error.strerror or error}); check the folder's rights."  # fmt: skip


def clear(trial: Path) -> Path:
    """Begin anew: remove parts that an earlier load left. Returns the empty folder.

    Raises:
        RooftuneError: the folder cannot be written.
    """
    folder = parts_folder(trial)
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RooftuneError(_full(error, folder)) from None
    return folder


def join(trial: Path, kind: str, target: Path, *, tokens_per_chunk: float = 1.0) -> int:
    """Join the parts of a kind ("requests", "ticks") into one file, atomically. Returns the number of rows.

    ``tokens_per_chunk``: how many tokens a chunk of answers that did not end holds, where the server sends several at once.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from rooftune.loadgen.schema import REQUESTS, TICKS

    schema, key = (REQUESTS, "index") if kind == "requests" else (TICKS, "t_s")
    parts = sorted(parts_folder(trial).glob(f"{kind}-*.parquet"), key=lambda p: p.name.rpartition("-")[2])
    sizes = [pq.ParquetFile(p).metadata.num_rows for p in parts]
    group: list[pa.Table] = []
    held, total = 0, sum(sizes)
    limit = total if total <= SORTED_ROWS else SORTED_ROWS // 4
    with replacing(target) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        for part, size in zip(parts, sizes, strict=True):
            group.append(_spread(pq.ParquetFile(part).read(), tokens_per_chunk) if kind == "requests" else pq.ParquetFile(part).read())  # fmt: skip
            held += size
            if held >= limit:
                writer.write_table(pa.concat_tables(group).sort_by(key))
                group, held = [], 0
        if group:
            writer.write_table(pa.concat_tables(group).sort_by(key))
    return int(total)


def _spread(table: pa.Table, tokens_per_chunk: float) -> pa.Table:
    """Count tokens where the server sends several a chunk and does not say how many: by usage, else by the usual number."""
    if tokens_per_chunk <= 1.05:
        return table
    import pyarrow as pa

    chunks = np.asarray(table.column("chunks"))
    streamed = np.asarray(table.column("streamed_tokens"))
    usage = table.column("output_tokens").to_pandas().to_numpy(dtype=np.float64)
    guess = np.where(np.isfinite(usage), usage, np.rint(chunks * tokens_per_chunk))
    untold = np.asarray(table.column("chunk_tokens").is_null())
    streamed = np.where(untold & (chunks > 0), guess, streamed)
    at = table.schema.get_field_index("streamed_tokens")
    return table.set_column(at, table.schema.field(at), pa.array(streamed.astype(np.int32)))


def recover(trial: Path) -> int:
    """Join what a killed load left in ``trial`` into its requests.parquet and ticks.parquet. Returns the number of requests."""
    found = 0
    if list(parts_folder(trial).glob("requests-*.parquet")):
        found = join(trial, "requests", trial / "requests.parquet")
    if list(parts_folder(trial).glob("ticks-*.parquet")):
        join(trial, "ticks", trial / "ticks.parquet")
    return found
