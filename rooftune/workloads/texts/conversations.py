"""Messages of a conversation as its first request and the turns that follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rooftune.workloads.texts.prompt_text import Message, Turn

ROLES = {
    "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "chatgpt": "assistant",
    "bing": "assistant", "bard": "assistant", "model": "assistant", "system": "system", "developer": "developer",
    "tool": "tool", "function": "tool", "observation": "tool",
}  # fmt: skip
"""Names that files use for a role, and the role of the chat API."""
ASKING = ("user", "tool")
"""Roles whose messages ask for an answer."""


@dataclass(frozen=True)
class Conversation:
    """A first request and the turns after it."""

    messages: tuple[Message, ...]
    answer: str | None
    turns: tuple[Turn, ...] = ()


def as_message(part: object) -> Message:
    """A message of the chat API, from its own or ShareGPT's spelling. Further keys of the API stay.

    Raises:
        ValueError: it has no known role, or no content.
    """
    if not isinstance(part, Mapping):
        raise ValueError("a message is not an object with a role and a content")
    if "role" in part:
        name, content = part["role"], part.get("content")
        rest = {k: v for k, v in part.items() if k not in ("role", "content")}
    else:
        name = part.get("from", part.get("user"))
        content = part.get("value", part.get("text", part.get("content")))
        rest = {}
    role = ROLES.get(str(name).lower())
    if role is None:
        raise ValueError(f"a message has the role {name!r}; roles are {', '.join(dict.fromkeys(ROLES.values()))}")
    if content is None and not rest.get("tool_calls"):
        raise ValueError(f"a message of the role {role} has no content")
    if content is not None and not isinstance(content, (str, list)):
        raise ValueError(f"the content of a message of the role {role} is neither a text nor a list of parts")
    return {"role": role, "content": content, **rest}


def plain_text(content: object) -> str:
    """The text of a content: itself, or its parts that are text."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "".join(str(p.get("text", "")) if isinstance(p, Mapping) else str(p) for p in parts)


def conversation_of(messages: Sequence[Message]) -> Conversation:
    """A conversation that is replayed, turn by turn: every answer of the file begins a new turn after it.

    Messages without an answer at the end are the last turn. Messages that begin with an answer keep it as a part of the
    first request.

    Raises:
        ValueError: nobody asks anything.
    """
    first, rest = _asked(messages)
    if not any(m["role"] in ASKING for m in first):
        raise ValueError("no message is from the user")
    answer, rest = _answered(rest)
    turns: list[Turn] = []
    last = answer
    while rest:
        asked, rest = _asked(rest)
        answered, rest = _answered(rest)
        if any(m["role"] in ASKING for m in asked):
            turns.append(Turn(asked, answer=_spoken(answered), after=_needed(last, asked)))
        last = answered
    return Conversation(first, _spoken(answer), tuple(turns))


def request_of(messages: Sequence[Message]) -> Conversation:
    """One request with its whole history, as a server received it. An answer at its end is the recorded one.

    Raises:
        ValueError: nobody asks anything.
    """
    messages = tuple(messages)
    answer = None
    if messages and messages[-1]["role"] == "assistant":
        answer, messages = _spoken(messages[-1]), messages[:-1]
    if not any(m["role"] in ASKING for m in messages):
        raise ValueError("no message is from the user")
    return Conversation(messages, answer)


def _asked(messages: Sequence[Message]) -> tuple[tuple[Message, ...], Sequence[Message]]:
    """Messages up to the next answer, and the rest. Answers before the first question belong to what is asked."""
    asking = False
    for place, message in enumerate(messages):
        if message["role"] == "assistant" and asking:
            return tuple(messages[:place]), messages[place:]
        asking = asking or message["role"] in ASKING
    return tuple(messages), ()


def _answered(messages: Sequence[Message]) -> tuple[Message | None, Sequence[Message]]:
    """The answer that the messages begin with, and the rest. Of several answers in a row the last one is taken."""
    found = None
    while messages and messages[0]["role"] == "assistant":
        found, messages = messages[0], messages[1:]
    return found, messages


def _needed(answer: Message | None, asked: Sequence[Message]) -> Message | None:
    """The recorded answer where what follows refers to its tool calls."""
    return answer if answer is not None and any(m["role"] == "tool" for m in asked) else None


def _spoken(answer: Message | None) -> str | None:
    return None if answer is None else plain_text(answer["content"]) or None
