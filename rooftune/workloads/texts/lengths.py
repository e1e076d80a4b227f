"""Lengths of prompts and recorded answers in tokens, and what prompts of a file have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from rooftune.files import read_model, write_json
from rooftune.workloads.blocks import chain
from rooftune.workloads.texts.encoders import Encoder, Estimate, LengthSource
from rooftune.workloads.texts.prompt_text import Message, PromptText


class TextLengths(BaseModel):
    """Lengths of one prompt, or conversation; one value for each request of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    asked: tuple[int, ...] = Field(description="tokens that the request adds to those before it")
    answered: tuple[int | None, ...] = Field(description="tokens of the recorded answer")
    shared: tuple[int, ...] = Field(
        default=(), description="numbers of the blocks at its beginning that other prompts of the file have too"
    )


class PromptLengths(BaseModel):
    """Lengths of all prompts of a file. It holds no texts."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    source: LengthSource
    words: str = Field(description="who counted")
    chat: bool = Field(description="counted as messages with a chat template")
    sha256: str = Field(description="hash of the file of prompts")
    prompts: dict[str, TextLengths] = Field(description="by the key of the prompt")

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        write_json(path, self.model_dump(mode="json"))

    @classmethod
    def read(cls, path: Path) -> PromptLengths:
        """Read what ``write`` wrote.

        Raises:
            RooftuneError: the file is missing or broken.
        """
        return read_model(path, cls)


def measure(prompts: Sequence[PromptText], encoder: Encoder, *, chat: bool, sha256: str) -> PromptLengths:
    """Lengths of prompts by an encoder.

    Args:
        prompts: of one file.
        encoder: counts the tokens.
        chat: they are sent as messages.
        sha256: hash of the file.

    Raises:
        InputError: the encoder fails.
    """
    distinct = {p.key: p for p in prompts}
    opening = {key: _opening(p, encoder, chat) for key, p in distinct.items()}
    shared = _shared_blocks(opening)
    found = {
        key: TextLengths(
            asked=(len(opening[key]), *(max(1, len(encoder.chat(t.messages))) for t in p.turns)),
            answered=(
                _answered(p.output_tokens, p.answer, encoder),
                *(_answered(t.output_tokens, t.answer, encoder) for t in p.turns),
            ),
            shared=shared[key],
        )
        for key, p in distinct.items()
    }
    return PromptLengths(source=encoder.source, words=encoder.words, chat=chat, sha256=sha256, prompts=found)


def estimated(prompts: Sequence[PromptText], *, chat: bool, sha256: str) -> PromptLengths:
    """Lengths for planning where no tokenizer is known."""
    return measure(prompts, Estimate(), chat=chat, sha256=sha256)


def _opening(prompt: PromptText, encoder: Encoder, chat: bool) -> Sequence[int]:
    messages: tuple[Message, ...] = prompt.as_messages()
    found = encoder.text(prompt.text) if prompt.text is not None and not chat else encoder.chat(messages)
    return found if len(found) else (0,)


def _answered(stated: int | None, answer: str | None, encoder: Encoder) -> int | None:
    if stated is not None:
        return stated
    return max(1, len(encoder.text(answer))) if answer else None


def _shared_blocks(openings: dict[str, Sequence[int]]) -> dict[str, tuple[int, ...]]:
    """By key: numbers of the full blocks at its beginning that some other prompt begins with too."""
    chains = {key: chain(ids) for key, ids in openings.items()}
    uses = Counter(name for names in chains.values() for name in names)
    numbers: dict[int, int] = {}
    found = {}
    for key, names in chains.items():
        common = [name for name in names if uses[name] > 1]
        found[key] = tuple(numbers.setdefault(name, len(numbers)) for name in common)
    return found
