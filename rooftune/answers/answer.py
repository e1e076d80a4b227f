"""Answers of a server as token ids, and their file ``answers.parquet``. Texts are kept only where the user asks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

from rooftune.answers.rows import Row, read_rows, write_rows

FILE = "answers.parquet"


@dataclass(frozen=True)
class Answer:
    """One prompt and what the server answered, as token ids."""

    key: str
    """Key of the prompt: a hash of its content."""
    prompt_ids: tuple[int, ...]
    output_ids: tuple[int, ...]
    finish_reason: str
    """``stop`` where the answer ended by itself, ``length`` where it was cut, as the server reports it."""
    text: str | None = None
    """The text of the answer; None unless the user keeps texts."""


@dataclass(frozen=True)
class Answers(Sequence[Answer]):
    """The answers of one server, in the order of the prompts."""

    answers: tuple[Answer, ...]

    def __len__(self) -> int:
        return len(self.answers)

    def __iter__(self) -> Iterator[Answer]:
        return iter(self.answers)

    @overload
    def __getitem__(self, at: int) -> Answer: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[Answer, ...]: ...
    def __getitem__(self, at: int | slice) -> Answer | tuple[Answer, ...]:
        return self.answers[at]

    def write(self, path: Path) -> None:
        """Write the answers atomically as Parquet."""
        import pyarrow as pa

        columns = {
            "key": pa.array([a.key for a in self.answers], pa.string()),
            "prompt_ids": pa.array([a.prompt_ids for a in self.answers], pa.list_(pa.int32())),
            "output_ids": pa.array([a.output_ids for a in self.answers], pa.list_(pa.int32())),
            "finish_reason": pa.array([a.finish_reason for a in self.answers], pa.string()),
        }
        if any(a.text is not None for a in self.answers):
            columns["text"] = pa.array([a.text for a in self.answers], pa.string())
        write_rows(path, columns)

    @staticmethod
    def read(path: Path) -> Answers:
        """Read answers that ``write`` wrote.

        Raises:
            RooftuneError: the file is missing, cut or has other columns.
        """
        missing, again = "the answers of this server have not been collected", "collect the answers again"
        return Answers(read_rows(path, _answer, missing=missing, again=again))


def _answer(row: Row) -> Answer:
    text = row.get("text")
    return Answer(
        key=str(row["key"]),
        prompt_ids=_ids(row["prompt_ids"]),
        output_ids=_ids(row["output_ids"]),
        finish_reason=str(row["finish_reason"]),
        text=None if text is None else str(text),
    )


def _ids(value: object) -> tuple[int, ...]:
    if not isinstance(value, list):
        raise ValueError("token ids are not a list")
    return tuple(int(token) for token in value)
