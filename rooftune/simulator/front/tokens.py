"""A deterministic stand-in for a tokenizer: about four characters per token; equal text gives equal ids."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from rooftune.workloads.texts.pieces import chat_text, pieces
from rooftune.workloads.texts.prompt_text import Message


def encode(text: str, vocab_size: int = 32000) -> list[int]:
    """Token ids of a text: pieces of up to four characters, each with the space before it."""
    return [3 + zlib.crc32(piece.encode()) % (vocab_size - 3) for piece in pieces(text)]


def encode_chat(messages: Sequence[Message], vocab_size: int) -> list[int]:
    """Token ids of messages, up to where the answer begins."""
    return encode(chat_text(messages), vocab_size)


def piece_of(position: int) -> str:
    """Text of a generated token."""
    return _WORDS[position % len(_WORDS)]


def token_of(position: int) -> int:
    """Token id of a generated token."""
    return encode(piece_of(position))[0]


_WORDS = [
    f" {w}"
    for w in [
        "the",
        "road",
        "goes",
        "ever",
        "on",
        "and",
        "each",
        "step",
        "has",
        "its",
        "own",
        "time",
        "while",
        "the",
        "lamp",
        "burns",
        "low",
    ]
]
WORDS = len(_WORDS)
"""Number of words that answers are made of."""
