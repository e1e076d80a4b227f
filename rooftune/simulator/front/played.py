"""Recorded answers that the simulated engine plays: the same prompt gets the same answer, token by token."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rooftune.answers.answer import Answers
from rooftune.simulator.front.tokens import piece_of
from rooftune.workloads.texts.pieces import pieces


@dataclass(frozen=True)
class PlayedAnswer:
    """One prompt and its answer, as token ids and, where it is known, as text."""

    prompt_ids: tuple[int, ...]
    output_ids: tuple[int, ...]
    ends: bool
    """The answer ended by itself; False where it was cut."""
    pieces: tuple[str, ...] = ()
    """Text of each token; empty where only ids are recorded."""

    def piece(self, position: int) -> str:
        """Text of a token."""
        return self.pieces[position] if position < len(self.pieces) else piece_of(position)


class PlayedAnswers:
    """Answers by the token ids of their prompts."""

    def __init__(self, answers: Iterable[PlayedAnswer] = ()) -> None:
        self._by_prompt = {answer.prompt_ids: answer for answer in answers if answer.output_ids}

    def __len__(self) -> int:
        return len(self._by_prompt)

    def of(self, prompt_ids: Sequence[int]) -> PlayedAnswer | None:
        """The answer to a prompt; None where none is recorded."""
        return self._by_prompt.get(tuple(prompt_ids)) if self._by_prompt else None


def played_answers(path: Path) -> PlayedAnswers:
    """The answers of an ``answers.parquet``.

    Raises:
        RooftuneError: the file is missing, cut or has other columns.
    """
    return PlayedAnswers(
        PlayedAnswer(a.prompt_ids, a.output_ids, a.finish_reason == "stop", _pieces(a.text, len(a.output_ids)))
        for a in Answers.read(path)
    )


def _pieces(text: str | None, tokens: int) -> tuple[str, ...]:
    """The text of each token where the stand-in tokenizer gives as many as the answer has."""
    found = tuple(pieces(text)) if text else ()
    return found if len(found) == tokens else ()
