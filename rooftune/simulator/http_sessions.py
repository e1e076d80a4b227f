"""Requests inside the HTTP front: from the JSON body to a sequence of the engine, and its tokens back as bytes."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any

from rooftune.simulator.blocks import BLOCK_TOKENS
from rooftune.simulator.http_protocol import Exchange
from rooftune.simulator.scheduler import Sequence_
from rooftune.simulator.tokens import encode, piece_of


class BadRequest(Exception):
    """A request that vLLM refuses: message, HTTP status, type."""

    def __init__(self, message: str, status: int = 400, kind: str = "BadRequestError") -> None:
        super().__init__(message)
        self.status, self.kind = status, kind


@dataclass(eq=False)
class Session:
    """One request in flight."""

    sequence: Sequence_
    id: str
    created: int
    chat: bool
    stream: bool
    usage: bool
    continuous_usage: bool
    model: str
    exchange: Exchange
    arrived_s: float
    first_token_s: float | None = None
    last_token_s: float | None = None
    scheduled_s: float | None = None
    text: list[str] = field(default_factory=list)


def read_body(
    body: bytes, chat: bool, model: str, max_model_len: int, vocab_size: int
) -> tuple[dict[str, Any], list[int]]:
    """Check a completion request as vLLM does; return its fields and the prompt's token ids.

    Raises:
        BadRequest: not JSON, unknown model, no prompt, prompt too long.
    """
    try:
        fields = json.loads(body)
        assert isinstance(fields, dict)
    except (ValueError, AssertionError):
        raise BadRequest("There was an error parsing the body") from None
    if fields.get("model") not in (None, model):
        raise BadRequest(f"The model `{fields['model']}` does not exist.", 404, "NotFoundError")
    ids = _prompt_ids(fields, chat, vocab_size)
    asked = (
        fields.get("max_completion_tokens") or fields.get("max_tokens") or (max_model_len - len(ids) if chat else 16)
    )
    if not isinstance(asked, int) or asked < 1:
        raise BadRequest(f"max_tokens must be at least 1, got {asked}.")
    if len(ids) + asked > max_model_len:
        raise BadRequest(
            f"This model's maximum context length is {max_model_len} tokens. However, you requested {asked} output tokens and "
            f"your prompt contains {len(ids)} input tokens. Please reduce the length of the input prompt or the number of "
            "requested output tokens."
        )
    fields["max_tokens"] = asked
    return fields, ids


def _prompt_ids(fields: dict[str, Any], chat: bool, vocab_size: int) -> list[int]:
    if chat:
        messages = fields.get("messages")
        if not isinstance(messages, list) or not messages:
            raise BadRequest("messages must be a list with at least one message.")
        text = "\n".join(f"{m.get('role', 'user')}: {m.get('content', '')}" for m in messages if isinstance(m, dict))
        return encode(text + "\nassistant:", vocab_size)
    prompt = fields.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1 and not isinstance(prompt[0], int):
        prompt = prompt[0]
    if isinstance(prompt, str) and prompt:
        return encode(prompt, vocab_size)
    if isinstance(prompt, list) and prompt and all(isinstance(t, int) for t in prompt):
        if max(prompt) >= vocab_size or min(prompt) < 0:
            raise BadRequest(f"Token id {max(prompt)} is out of vocabulary")
        return prompt
    raise BadRequest("prompt must be a non-empty string or a list of token ids; one prompt a request.")


def hash_chain(ids: list[int], salt: str = "") -> list[int]:
    """Hashes of the full blocks of a prompt, each over all tokens up to its end."""
    chain, parent = [], hash(salt)
    for start in range(0, len(ids) - BLOCK_TOKENS + 1, BLOCK_TOKENS):
        parent = hash((parent, tuple(ids[start : start + BLOCK_TOKENS])))
        chain.append(parent)
    return chain


def chunk(session: Session, new: int, final: bool) -> bytes:
    """SSE events for ``new`` tokens; with the closing usage event and [DONE] when ``final``."""
    s = session.sequence
    text = "".join(piece_of(s.generated - new + i) for i in range(new))
    reason = '"length"' if final else "null"
    usage = f',"usage":{usage_of(session)}' if session.continuous_usage else ',"usage":null' if session.usage else ""
    if session.chat:
        kind, body = (
            "chat.completion.chunk",
            f'{{"index":0,"delta":{{"content":"{text}"}},"logprobs":null,"finish_reason":{reason}}}',
        )
    else:
        kind, body = (
            "text_completion",
            f'{{"index":0,"text":"{text}","logprobs":null,"finish_reason":{reason},"stop_reason":null}}',
        )
    head = f'{{"id":"{session.id}","object":"{kind}","created":{session.created},"model":"{session.model}","choices":'
    out = f"data: {head}[{body}]{usage}}}\n\n"
    if final:
        if session.usage:
            out += f'data: {head}[],"usage":{usage_of(session)}}}\n\n'
        out += "data: [DONE]\n\n"
    return out.encode()


def whole(session: Session) -> bytes:
    """The JSON body of a request that does not stream."""
    s = session.sequence
    text = "".join(piece_of(i) for i in range(s.generated))
    choice: dict[str, Any] = {"index": 0, "logprobs": None, "finish_reason": "length", "stop_reason": None}
    choice |= {"message": {"role": "assistant", "content": text}} if session.chat else {"text": text}
    kind = "chat.completion" if session.chat else "text_completion"
    body = {"id": session.id, "object": kind, "created": session.created, "model": session.model, "choices": [choice]}
    return json.dumps({**body, "usage": json.loads(usage_of(session))}).encode()


def usage_of(session: Session) -> str:
    """The usage object as JSON text."""
    s = session.sequence
    return (
        f'{{"prompt_tokens":{s.prompt},"total_tokens":{s.prompt + s.generated},"completion_tokens":{s.generated},'
        f'"prompt_tokens_details":{{"cached_tokens":{s.cached}}}}}'
    )


def now_s() -> int:
    return int(time.time())
