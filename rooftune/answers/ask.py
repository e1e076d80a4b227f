"""What is asked of a server for its answers, and how its reply is read: token ids, and how the answer ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from rooftune.answers.answer import Answer
from rooftune.errors import EngineError

JsonObject = Mapping[str, object]


class Prompt(Protocol):
    """A prompt of a user: a text, or messages of a chat. ``extra`` has further fields of the request."""

    @property
    def key(self) -> str: ...
    @property
    def text(self) -> str | None: ...
    @property
    def messages(self) -> Sequence[JsonObject] | None: ...
    @property
    def max_tokens(self) -> int | None: ...
    @property
    def extra(self) -> JsonObject: ...


class RequestFields(Protocol):
    """How answers are sampled: fields of a request, given those that the prompt's own record has."""

    def request_fields(self, own: JsonObject | None = None) -> dict[str, object]: ...


class NoTokenIds(EngineError):
    """The server answers, but not with token ids."""


def path_of(prompt: Prompt) -> str:
    """The endpoint for a prompt: chat where it has messages."""
    return "/v1/chat/completions" if prompt.messages is not None else "/v1/completions"


def body_of(prompt: Prompt, model: str, sampling: RequestFields, max_tokens: int) -> dict[str, object]:
    """The request for one answer with token ids. A prompt's own limit of tokens replaces the general one."""
    fields = sampling.request_fields(prompt.extra)
    what: dict[str, object] = (
        {"messages": [dict(m) for m in prompt.messages]} if prompt.messages is not None else {"prompt": prompt.text}
    )
    limit = prompt.max_tokens if prompt.max_tokens is not None else max_tokens
    return {**fields, "model": model, **what, "max_tokens": limit, "stream": False, "return_token_ids": True}


def read_answer(prompt: Prompt, reply: object, url: str, keep_texts: bool) -> Answer:
    """The answer in a reply.

    Raises:
        NoTokenIds: the reply has text, but no token ids.
        EngineError: the reply has no answer.
    """
    choice = first_choice(reply)
    if choice is None:
        raise EngineError(f"{url} answers without any choice; it is not an OpenAI-compatible server.", "reply")
    prompt_ids = _ids(choice.get("prompt_token_ids"))
    if prompt_ids is None and isinstance(reply, dict):
        prompt_ids = _ids(reply.get("prompt_token_ids"))
    output_ids = _ids(choice.get("token_ids"))
    if prompt_ids is None or output_ids is None:
        raise NoTokenIds(
            f"{url} does not return token ids (return_token_ids), so its answers cannot be compared or replayed; "
            "use vLLM 0.11 or newer.",
            "token ids",
        )
    return Answer(
        key=prompt.key,
        prompt_ids=prompt_ids,
        output_ids=output_ids,
        finish_reason=str(choice.get("finish_reason") or ""),
        text=_text(choice) if keep_texts else None,
    )


def first_choice(reply: object) -> dict[str, object] | None:
    """The first choice of a reply; None where it has none."""
    choices = reply.get("choices") if isinstance(reply, dict) else None
    first = choices[0] if isinstance(choices, list) and choices else None
    return first if isinstance(first, dict) else None


def _text(choice: dict[str, object]) -> str | None:
    message = choice.get("message")
    text = message.get("content") if isinstance(message, dict) else choice.get("text")
    return None if text is None else str(text)


def _ids(value: object) -> tuple[int, ...] | None:
    if not isinstance(value, list) or not all(isinstance(token, int) for token in value):
        return None
    return tuple(value)
