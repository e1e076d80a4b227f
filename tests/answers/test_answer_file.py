"""answers.parquet: what is written is read again, and a damaged file is one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from rooftune.answers.answer import Answer, Answers
from rooftune.errors import RooftuneError

TWO = Answers((Answer("a", (1, 2), (3,), "stop"), Answer("b", (4,), (), "length")))


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    TWO.write(tmp_path / "answers.parquet")
    assert Answers.read(tmp_path / "answers.parquet") == TWO


def test_texts_are_in_the_file_only_where_answers_have_them(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    with_text = Answers((Answer("a", (1,), (2,), "stop", "hello"),))
    with_text.write(tmp_path / "texts.parquet")
    TWO.write(tmp_path / "none.parquet")
    assert Answers.read(tmp_path / "texts.parquet") == with_text
    assert "text" not in pq.ParquetFile(tmp_path / "none.parquet").schema_arrow.names


def test_a_cut_file_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "answers.parquet"
    TWO.write(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(RooftuneError, match=r"is cut or has other columns .*; collect the answers again"):
        Answers.read(path)


def test_a_file_with_other_columns_is_one_sentence(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "answers.parquet"
    pq.write_table(pa.table({"key": ["a"]}), path)
    with pytest.raises(RooftuneError, match="other columns"):
        Answers.read(path)


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RooftuneError, match="is missing"):
        Answers.read(tmp_path / "answers.parquet")
