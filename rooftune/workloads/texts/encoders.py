"""Tokens of texts: by the model's own tokenizer, by the server, or estimated."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from rooftune.errors import InputError
from rooftune.workloads.texts.chat_template import ChatTemplate, NoTemplate, template_of
from rooftune.workloads.texts.conversations import plain_text
from rooftune.workloads.texts.pieces import chat_text, pieces
from rooftune.workloads.texts.prompt_text import Message

if TYPE_CHECKING:
    from tokenizers import Tokenizer

LengthSource = Literal["tokenizer", "server", "estimate"]
MARKS = 3
"""About how many tokens a chat template adds to a message besides its role: the marks at its ends, a line break."""


class Encoder(Protocol):
    """Turns texts into tokens. The tokens are only compared and counted."""

    source: LengthSource
    words: str
    """Whose tokens these are, as in "counted by ..."."""

    def text(self, text: str) -> Sequence[int]:
        """Tokens of a plain text."""

    def chat(self, messages: Sequence[Message]) -> Sequence[int]:
        """Tokens of messages with their template, up to where the answer begins."""


class Estimate:
    """About four characters per token."""

    source: LengthSource = "estimate"

    def __init__(self, words: str = "an estimate of about four characters per token") -> None:
        self.words = words

    def text(self, text: str) -> Sequence[int]:
        """One token for each piece."""
        return [hash(piece) for piece in pieces(text)]

    def chat(self, messages: Sequence[Message]) -> Sequence[int]:
        """The messages as plain text."""
        return self.text(chat_text(messages))


class FromFile:
    """The tokenizer of a model, with its chat template. Where it has none, the template is estimated."""

    source: LengthSource = "tokenizer"

    def __init__(self, tokenizer: Tokenizer, words: str, template: ChatTemplate | None = None) -> None:
        self._tokenizer, self.words, self._template = tokenizer, words, template

    def text(self, text: str) -> Sequence[int]:
        """Tokens with those that the tokenizer puts around every text."""
        found: list[int] = self._tokenizer.encode(text).ids
        return found

    def chat(self, messages: Sequence[Message]) -> Sequence[int]:
        """Tokens of the messages in their template, else of each message and its role, and ``MARKS`` for its ends."""
        if self._template is not None:
            with contextlib.suppress(NoTemplate):
                text = self._template.text(messages)
                exact: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
                return exact
        found: list[int] = []
        for message in (*messages, {"role": "assistant", "content": ""}):
            words = f"{message.get('role', '')}\n{plain_text(message.get('content'))}"
            ids = self._tokenizer.encode(words, add_special_tokens=False).ids
            found += [*ids, *range(-MARKS, 0)]
        return found


def from_folder(folder: Path) -> FromFile | None:
    """The tokenizer of a model folder; None where it has none, or the package ``tokenizers`` is not installed.

    Raises:
        InputError: its file cannot be read.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        return None
    try:
        from tokenizers import Tokenizer
    except ImportError:
        return None
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the package raises Exception itself
        raise InputError(f"{path} is not a tokenizer ({str(error)[:120]}); remove it or save it again.") from None
    return FromFile(tokenizer, f"the tokenizer in {folder.name or folder}", template_of(folder))


class FromServer:
    """The server's own ``/tokenize``, which applies its chat template."""

    source: LengthSource = "server"

    def __init__(self, url: str, model: str, timeout_s: float = 10.0) -> None:
        self._url, self._model, self._timeout_s = url.rstrip("/"), model, timeout_s
        self.words = "the server's tokenizer"

    def text(self, text: str) -> Sequence[int]:
        """Tokens of a prompt of ``/v1/completions``."""
        return self._ask({"prompt": text})

    def chat(self, messages: Sequence[Message]) -> Sequence[int]:
        """Tokens of the messages of ``/v1/chat/completions``."""
        return self._ask({"messages": [dict(m) for m in messages], "add_generation_prompt": True})

    def _ask(self, asked: dict[str, object]) -> Sequence[int]:
        """The tokens.

        Raises:
            InputError: the server does not tokenize.
        """
        import urllib.request

        body = json.dumps({"model": self._model, **asked}).encode()
        head = {"content-type": "application/json"}
        try:
            request = urllib.request.Request(f"{self._url}/tokenize", data=body, headers=head)
            with urllib.request.urlopen(request, timeout=self._timeout_s) as reply:
                tokens = json.load(reply)["tokens"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{self._url}/tokenize does not answer with tokens ({error}).") from None
        if not isinstance(tokens, list):
            raise InputError(f"{self._url}/tokenize does not answer with tokens.")
        return tokens
