"""Records keep every token's time and size, streamed or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rooftune.errors import RooftuneError
from rooftune.evidence.records.columns import requests_of
from rooftune.evidence.records.parquet_files import read_requests, read_ticks
from rooftune.loadgen.schema import REQUESTS
from tests.evidence import made_load

LOAD = made_load.serve(5.0, 20.0, slots=8, tpot_s=0.02)


def table(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=REQUESTS)


@given(sizes=st.lists(st.integers(0, 6), min_size=1, max_size=12))
def test_every_chunk_has_its_owner_and_time(sizes: list[int]) -> None:
    rows = []
    for i, size in enumerate(sizes):
        arrived = [0.5 * (k + 1) for k in range(size)]
        rows.append(
            {
                **LOAD[0],
                "index": i,
                "scheduled_s": float(i),
                "chunk_s": arrived,
                "chunks": size,
                "output_tokens": None,
                "streamed_tokens": size,
                "status": "cut",
            }
        )
    r = requests_of(table(rows))
    assert np.bincount(r.token_owner, minlength=len(sizes)).tolist() == sizes
    expected = [i + 0.5 * (k + 1) for i, size in enumerate(sizes) for k in range(size)]
    assert r.token_s.tolist() == expected
    assert r.token_count.sum() == sum(sizes)


def test_tokens_are_spread_over_chunks_that_hold_several() -> None:
    row = {**LOAD[0], "chunk_s": [0.1, 0.2, 0.3, 0.4], "chunks": 4, "output_tokens": 12, "streamed_tokens": 4}
    assert requests_of(table([row])).token_count.tolist() == [3, 3, 3, 3]
    counted = {**row, "chunk_tokens": [1, 2, 4, 5]}
    assert requests_of(table([counted])).token_count.tolist() == [1, 2, 4, 5]
    mixed = requests_of(table([row, counted]))
    assert mixed.token_count.tolist() == [3, 3, 3, 3, 1, 2, 4, 5]


def test_an_answer_that_was_not_streamed_arrives_whole() -> None:
    row = {
        **LOAD[0],
        "chunk_s": [],
        "chunks": 0,
        "output_tokens": 40,
        "streamed_tokens": 0,
        "first_token_s": None,
        "last_token_s": None,
        "end_s": 3.0,
    }
    r = requests_of(table([row]))
    assert r.token_s.tolist() == [3.0]
    assert r.token_count.tolist() == [40]


def test_moving_all_times_shifts_every_column() -> None:
    r = requests_of(table(LOAD))
    moved = r.shifted(7.0)
    assert moved.token_s - r.token_s == pytest.approx(7.0)
    assert moved.observed_until_s == pytest.approx(r.observed_until_s + 7)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    path = tmp_path / "requests.parquet"
    with pytest.raises(RooftuneError, match="is missing"):
        read_requests(path)
    path.write_bytes(b"")
    with pytest.raises(RooftuneError, match="is empty"):
        read_requests(path)
    path.write_bytes(b"PAR1 and then nothing")
    with pytest.raises(RooftuneError, match="cut or not a Parquet"):
        read_ticks(path)
    pq.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(RooftuneError, match="no column"):
        read_requests(path)
