"""Parts: small Parquet files that a load writes every second and joins at the end.

A part is written whole or not at all, so after ``kill -9`` everything up to the last second can be read. ``recover``
joins what is there.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from rooftune.errors import RooftuneError
from rooftune.files import replacing

if TYPE_CHECKING:
    import pyarrow as pa

SORTED_ROWS = 50_000
"""Up to this many rows the joined file is sorted as a whole; beyond, each row group is sorted."""


def parts_folder(trial: Path) -> Path:
    """The folder of a trial's parts while it runs."""
    return trial / "parts"


def write_part(table: pa.Table, folder: Path, name: str) -> None:
    """Write one part, whole or not at all. No fsync: a part survives the death of processes, not of the machine.

    Raises:
        RooftuneError: the disk is full or the folder is not writable.
    """
    import pyarrow.parquet as pq

    hidden = folder / f".{name}"
    try:
        pq.write_table(table, hidden, compression="none", use_dictionary=False, write_statistics=False)
        os.replace(hidden, folder / name)
    except OSError as error:
        hidden.unlink(missing_ok=True)
        raise RooftuneError(_cannot_write(error, folder)) from None


def _cannot_write(error: OSError, folder: Path) -> str:
    if "No space" in str(error) or "quota" in str(error).lower():
        return f"the disk is full, so the load could not write its records to {folder}; free some space and run again."
    return (
        f"the load could not write its records to {folder} ({error.strerror or error}); check the folder's permissions."
    )


def clear_parts(trial: Path) -> Path:
    """Remove the parts of an earlier load. Return the empty folder.

    Raises:
        RooftuneError: the folder is not writable.
    """
    folder = parts_folder(trial)
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RooftuneError(_cannot_write(error, folder)) from None
    return folder


def join_parts(trial: Path, kind: Literal["requests", "ticks"], target: Path, *, tokens_per_chunk: float = 1.0) -> int:
    """Join all parts of a kind into one file, atomically. Return the number of rows.

    Args:
        trial: folder of the trial.
        kind: which parts to join.
        target: the file to write.
        tokens_per_chunk: tokens per chunk of responses without usage, where the server sends several tokens at once.
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
            table = pq.ParquetFile(part).read()
            group.append(_with_token_counts(table, tokens_per_chunk) if kind == "requests" else table)
            held += size
            if held >= limit:
                writer.write_table(pa.concat_tables(group).sort_by(key))
                group, held = [], 0
        if group:
            writer.write_table(pa.concat_tables(group).sort_by(key))
    return int(total)


def _with_token_counts(table: pa.Table, tokens_per_chunk: float) -> pa.Table:
    """Correct ``streamed_tokens`` where chunks hold several tokens and the server did not say how many.

    The usage decides. Without usage, each chunk counts ``tokens_per_chunk``.
    """
    if tokens_per_chunk <= 1.05:
        return table
    import pyarrow as pa

    chunks = np.asarray(table.column("chunks"))
    streamed = np.asarray(table.column("streamed_tokens"))
    usage = table.column("output_tokens").to_pandas().to_numpy(dtype=np.float64)
    estimate = np.where(np.isfinite(usage), usage, np.rint(chunks * tokens_per_chunk))
    unreported = np.asarray(table.column("chunk_tokens").is_null())
    streamed = np.where(unreported & (chunks > 0), estimate, streamed)
    at = table.schema.get_field_index("streamed_tokens")
    return table.set_column(at, table.schema.field(at), pa.array(streamed.astype(np.int32)))


def recover(trial: Path) -> int:
    """Join the parts of a killed load into its requests.parquet and ticks.parquet. Return the number of requests."""
    found = 0
    if list(parts_folder(trial).glob("requests-*.parquet")):
        found = join_parts(trial, "requests", trial / "requests.parquet")
    if list(parts_folder(trial).glob("ticks-*.parquet")):
        join_parts(trial, "ticks", trial / "ticks.parquet")
    return found
