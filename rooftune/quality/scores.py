"""Log-probabilities that a server gives to the tokens of known answers, and their file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rooftune.answers.rows import Row, read_rows, write_rows
from rooftune.errors import EngineError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
NO_TOKEN = -1
"""Fills places of ``top_ids`` where a server named fewer tokens."""
LOWEST = -1e4
"""Log-probability of a token that cannot occur."""


@dataclass(frozen=True, eq=False)
class Scored:
    """One answer, position by position."""

    key: str
    tokens: Ints
    """Ids of the answer's tokens."""
    logprobs: Floats
    """Of the answer's tokens."""
    top_ids: Ints
    """Most probable tokens of each position, the best first: (positions, k)."""
    top_logprobs: Floats

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True, eq=False)
class Scores:
    """The scores of all answers, in the order of the answers."""

    scored: tuple[Scored, ...]

    def __len__(self) -> int:
        return len(self.scored)

    def __iter__(self) -> Iterator[Scored]:
        return iter(self.scored)

    @property
    def tokens(self) -> int:
        """Positions of all answers."""
        return sum(len(s) for s in self.scored)

    def write(self, path: Path) -> None:
        """Write the scores atomically as Parquet."""
        import pyarrow as pa

        columns = {
            "key": pa.array([s.key for s in self.scored], pa.string()),
            "tokens": pa.array([s.tokens for s in self.scored], pa.list_(pa.int32())),
            "logprobs": pa.array([s.logprobs for s in self.scored], pa.list_(pa.float32())),
            "k": pa.array([s.top_ids.shape[1] for s in self.scored], pa.int32()),
            "top_ids": pa.array([s.top_ids.ravel() for s in self.scored], pa.list_(pa.int32())),
            "top_logprobs": pa.array([s.top_logprobs.ravel() for s in self.scored], pa.list_(pa.float32())),
        }
        write_rows(path, columns)

    @staticmethod
    def read(path: Path) -> Scores:
        """Read scores that ``write`` wrote.

        Raises:
            RooftuneError: the file is missing, cut or has other columns.
        """
        missing, again = "these answers have not been scored", "score the answers again"
        return Scores(read_rows(path, _scored, missing=missing, again=again))


def _scored(row: Row) -> Scored:
    tokens = np.array(row["tokens"], dtype=np.int64)
    shape = (len(tokens), int(str(row["k"])))
    return Scored(
        key=str(row["key"]),
        tokens=tokens,
        logprobs=np.array(row["logprobs"], dtype=np.float64),
        top_ids=np.array(row["top_ids"], dtype=np.int64).reshape(shape),
        top_logprobs=np.array(row["top_logprobs"], dtype=np.float64).reshape(shape),
    )


def scored_of(key: str, output_ids: Sequence[int], prompt_logprobs: object, k: int, url: str) -> Scored:
    """The scores of an answer from the ``prompt_logprobs`` of a reply, whose last entries are those of the answer.

    Raises:
        EngineError: the reply has no log-probabilities for these tokens.
    """
    entries = prompt_logprobs if isinstance(prompt_logprobs, list) else []
    own = entries[len(entries) - len(output_ids) :] if len(entries) > len(output_ids) else []
    if not output_ids or len(own) != len(output_ids):
        raise EngineError(f"{url} returns no log-probabilities of the prompt (prompt_logprobs).", "prompt_logprobs")
    logprobs = np.full(len(own), LOWEST)
    top_ids = np.full((len(own), k), NO_TOKEN, dtype=np.int64)
    top_logprobs = np.full((len(own), k), LOWEST)
    for at, (token, entry) in enumerate(zip(output_ids, own, strict=True)):
        found = _entry(entry, url)
        best = sorted(found.items(), key=lambda pair: -pair[1])[:k]
        top_ids[at, : len(best)] = [token_id for token_id, _ in best]
        top_logprobs[at, : len(best)] = [value for _, value in best]
        logprobs[at] = found.get(token, LOWEST)
    return Scored(key, np.array(output_ids, dtype=np.int64), logprobs, top_ids, top_logprobs)


def _entry(entry: object, url: str) -> dict[int, float]:
    """Token id -> log-probability of one position."""
    try:
        if not isinstance(entry, dict):
            raise TypeError
        return {int(token): max(float(value["logprob"]), LOWEST) for token, value in entry.items()}
    except (KeyError, TypeError, ValueError):
        raise EngineError(
            f"{url} returns prompt_logprobs in a form that is not vLLM's, so they cannot be read.", "prompt_logprobs"
        ) from None
