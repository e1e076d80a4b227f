"""Recorded answers that the simulated engine plays: the same prompt gets the same answer, token by token."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rooftune.answers.answer import Answers
from rooftune.answers.recorded import recorded_answers
from rooftune.errors import InputError
from rooftune.simulator.front.tokens import encode, encode_chat, piece_of
from rooftune.workloads.texts.pieces import pieces
from rooftune.workloads.texts.prompt_text import PromptText
from rooftune.workloads.texts.read import read_prompts


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


def played_answers(path: Path, vocab_size: int = 32_000) -> PlayedAnswers:
    """The answers of an ``answers.parquet``, or of a file of prompts that has answers.

    Raises:
        RooftuneError: the file is missing, cut, has other columns, or no answers.
    """
    found = Answers.read(path) if path.suffix == ".parquet" else _of_prompts(path, vocab_size)
    if not len(found):
        raise InputError(f"{path} has no recorded answers to play; give an answers.parquet, or prompts with answers.")
    return PlayedAnswers(
        PlayedAnswer(a.prompt_ids, a.output_ids, a.finish_reason == "stop", _pieces(a.text, len(a.output_ids)))
        for a in found
    )


def _of_prompts(path: Path, vocab_size: int) -> Answers:
    """The answers of a file of prompts in the engine's stand-in tokens, whether they are sent as texts or messages."""
    prompts = read_prompts(path)
    both = (answers_of_prompts(prompts, vocab_size, as_chat=as_chat) for as_chat in (False, True))
    return Answers(tuple(answer for answers in both for answer in answers))


def answers_of_prompts(prompts: Sequence[PromptText], vocab_size: int, *, as_chat: bool) -> Answers:
    """The answers that prompts have, in the engine's stand-in tokens."""
    text, chat = partial(encode, vocab_size=vocab_size), partial(encode_chat, vocab_size=vocab_size)
    return recorded_answers(prompts, text, chat, as_chat=as_chat)


def _pieces(text: str | None, tokens: int) -> tuple[str, ...]:
    """The text of each token where the stand-in tokenizer gives as many as the answer has."""
    found = tuple(pieces(text)) if text else ()
    return found if len(found) == tokens else ()
