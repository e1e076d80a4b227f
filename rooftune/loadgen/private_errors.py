"""Keeps real texts out of recorded errors, which reports and logs quote."""

from __future__ import annotations

from collections.abc import Iterator

from rooftune.workloads.texts.conversations import plain_text
from rooftune.workloads.texts.prompt_text import PromptText

LEFT_OUT = "… (the rest is left out, because it may quote a text)"
QUOTING = ("bad_json", "bad_event", "bad_utf8", "half_event", "error_event")
"""Errors whose message quotes what the server streamed."""
RUN = 16
"""Characters in a row that an error and a prompt have in common where the error quotes the prompt."""


def without_texts(error_class: str, error: str, prompt: PromptText) -> str:
    """The error without what it quotes of a prompt or an answer."""
    if error_class in QUOTING:
        return f"{error.partition(':')[0]}{LEFT_OUT}"
    texts = [" ".join(text.split()) for text in _said(prompt)]
    for place in range(len(error) - RUN + 1):
        if any(error[place : place + RUN] in text for text in texts):
            return f"{error[:place]}{LEFT_OUT}"
    return error


def _said(prompt: PromptText) -> Iterator[str]:
    if prompt.text is not None:
        yield prompt.text
    for message in (*(prompt.messages or ()), *(m for t in prompt.turns for m in t.messages)):
        yield plain_text(message.get("content"))
