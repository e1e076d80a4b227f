"""One prompt of a file: what is sent, what was answered, and which part of the split it belongs to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Message = Mapping[str, object]
"""A message of the chat API, as the file has it: ``{"role": ..., "content": ...}``."""
Part = Literal["search", "confirm"]
CONFIRM_SHARE = 1 / 3
"""Share of the prompts that only the confirmation sends."""
_DIGITS = 16
"""Hex digits of a key: 64 bits, so that a million prompts collide with a probability of 3e-8."""


@dataclass(frozen=True)
class Turn:
    """A later turn of a conversation: what the user, or a tool, adds after the answer to the turn before it."""

    messages: tuple[Message, ...]
    answer: str | None = None
    """What the file has as the answer to this turn."""
    output_tokens: int | None = None
    """Length of that answer, where the file states it."""
    max_tokens: int | None = None
    think_s: float | None = None
    """Pause between the answer before it and this turn; None where the file has no times."""
    after: Message | None = None
    """Recorded answer that must precede this turn, because its messages refer to it (results of tool calls). None: the
    model's own answer precedes it."""


@dataclass(frozen=True)
class PromptText:
    """One prompt, or one conversation, of a file. Either ``text`` or ``messages`` is set."""

    key: str
    """Hash of what is sent: equal prompts have equal keys, in any file and at any place."""
    text: str | None = None
    messages: tuple[Message, ...] | None = None
    """Messages of the first request."""
    answer: str | None = None
    """What the file has as the answer to the first request."""
    max_tokens: int | None = None
    """Longest answer that the file's own request allowed."""
    output_tokens: int | None = None
    """Length of the answer, where the file states it."""
    extra: Mapping[str, object] = field(default_factory=dict)
    """Further fields of the request that the file has: tools, response_format, temperature and so on."""
    turns: tuple[Turn, ...] = ()
    """Later turns of a conversation."""
    line: int = 0
    """Where the file has it, from 1."""

    def as_messages(self) -> tuple[Message, ...]:
        """The messages of the first request; a plain text is what a user says."""
        return self.messages if self.messages is not None else ({"role": "user", "content": self.text or ""},)

    @property
    def requests(self) -> int:
        """Requests of the whole conversation."""
        return 1 + len(self.turns)


def key_of(
    text: str | None, messages: Sequence[Message] | None, turns: Sequence[Turn] = (), tools: object = None
) -> str:
    """Hash of everything that a prompt sends, without answers and limits. A text equals one message of a user.

    Raises:
        ValueError: a text cannot be written as UTF-8.
    """
    first = [{"role": "user", "content": text}] if messages is None else [dict(m) for m in messages]
    content = [first, [[dict(m) for m in t.messages] for t in turns], tools]
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:_DIGITS]


def part_of(key: str) -> Part:
    """The part of the split that a key belongs to. It depends on the key alone, so other prompts do not move it."""
    place = int.from_bytes(hashlib.sha256(f"split {key}".encode()).digest()[:8], "big") / 2**64
    return "confirm" if place < CONFIRM_SHARE else "search"


@dataclass(frozen=True)
class Split:
    """The prompts of a file in two parts."""

    search: tuple[PromptText, ...]
    confirm: tuple[PromptText, ...]
    divided: bool
    """False: the file has too few different prompts, and both parts are the whole file."""


def split_prompts(prompts: Sequence[PromptText]) -> Split:
    """Split prompts by their keys. Where one part would be empty, both are the whole."""
    search = tuple(p for p in prompts if part_of(p.key) == "search")
    confirm = tuple(p for p in prompts if part_of(p.key) == "confirm")
    if search and confirm:
        return Split(search, confirm, True)
    return Split(tuple(prompts), tuple(prompts), False)
