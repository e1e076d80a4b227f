"""A stand-in for a tokenizer: pieces of about four characters. Estimates use it, and so does the simulated engine."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rooftune.workloads.texts.conversations import plain_text
from rooftune.workloads.texts.prompt_text import Message

_WIDE = "\u1100-\u11ff\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff"
"""Scripts of which a token is about one character: Chinese, Japanese, Korean."""
_PIECES = re.compile(rf"\s?[{_WIDE}]|\s?[^\s{_WIDE}]{{1,4}}|\s")


def pieces(text: str) -> list[str]:
    """Pieces of a text, each with the blank before it; together they are the text."""
    return _PIECES.findall(text)


def chat_text(messages: Sequence[Message]) -> str:
    """Messages as the simulated engine's chat template writes them."""
    lines = [f"{m.get('role', 'user')}: {plain_text(m.get('content'))}" for m in messages]
    return "\n".join(lines) + "\nassistant:"
