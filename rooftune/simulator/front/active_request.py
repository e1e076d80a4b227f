"""Requests inside the HTTP front: from the JSON body to a sequence of the engine, and its tokens back as bytes."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any

from rooftune.simulator.engine.scheduler import EngineRequest
from rooftune.simulator.front.played import PlayedAnswer
from rooftune.simulator.front.protocol import HttpExchange
from rooftune.simulator.front.tokens import WORDS, encode, encode_chat, piece_of, token_of
from rooftune.simulator.reasoning import assumed_reasoning
from rooftune.vllm_rules.kv_cache import BLOCK_TOKENS


class BadRequest(Exception):
    """A request that vLLM refuses: message, HTTP status, type."""

    def __init__(self, message: str, status: int = 400, kind: str = "BadRequestError") -> None:
        super().__init__(message)
        self.status, self.kind = status, kind


@dataclass(frozen=True)
class Served:
    """What the server takes requests for."""

    model: str
    max_model_len: int
    vocab_size: int
    adapters: frozenset[str] = frozenset()
    """Names of LoRA adapters."""
    reasons: bool = False
    """Chat answers begin with reasoning, as with a reasoning parser."""


@dataclass(frozen=True)
class CompletionBody:
    """What a completion request asks for."""

    prompt: list[int]
    """Token ids."""
    max_tokens: int
    stream: bool
    usage: bool
    """A usage event closes the stream."""
    continuous_usage: bool
    """Every event carries the usage so far."""
    priority: int
    cache_salt: str
    model: str
    """The model, or the adapter."""
    ignore_eos: bool = False
    """A recorded answer does not end the request."""
    token_ids: bool = False
    """The answer is returned as token ids too."""
    reasoning: int = 0
    """Tokens at the beginning of the answer that are streamed as reasoning."""


@dataclass(eq=False)
class ActiveRequest:
    """One request in flight."""

    sequence: EngineRequest
    id: str
    created: int
    chat: bool
    body: CompletionBody
    model: str
    exchange: HttpExchange
    arrived_s: float
    first_token_s: float | None = None
    last_token_s: float | None = None
    scheduled_s: float | None = None
    unsent: int = 0
    """Tokens not yet sent, because they go out together with later ones."""
    frames: dict[int, bytes] = field(default_factory=dict)
    """Pieces of the answer with one token, by its word; those of the reasoning by -1 - word."""
    played: PlayedAnswer | None = None
    """What is answered, where it is recorded."""

    def text(self, begin: int, end: int) -> str:
        """Text of some of its tokens."""
        piece = self.played.piece if self.played is not None else piece_of
        return "".join(piece(i) for i in range(begin, end))

    def ids(self) -> list[int]:
        """Its tokens so far."""
        recorded = self.played.output_ids if self.played is not None else ()
        generated = self.sequence.generated
        return [*recorded[:generated], *(token_of(i) for i in range(len(recorded), generated))]

    @property
    def finish_reason(self) -> str:
        """Why it ended: by itself, or at the limit of its tokens."""
        played, s = self.played, self.sequence
        by_itself = played is not None and played.ends and s.generated == len(played.output_ids)
        return "stop" if by_itself and not self.body.ignore_eos else "length"


def read_body(body: bytes, chat: bool, served: Served) -> CompletionBody:
    """Check a completion request as vLLM does.

    Raises:
        BadRequest: not JSON, unknown model, no prompt, prompt too long.
    """
    try:
        fields = json.loads(body)
        assert isinstance(fields, dict)
    except (ValueError, AssertionError):
        raise BadRequest("There was an error parsing the body", kind="Bad Request") from None
    name = fields.get("model") or served.model
    if name != served.model and name not in served.adapters:
        raise BadRequest(f"The model `{fields['model']}` does not exist.", 404, "NotFoundError")
    ids, max_model_len = _prompt_ids(fields, chat, served.vocab_size), served.max_model_len
    _check_options(fields)
    given = [fields[k] for k in ("max_completion_tokens", "max_tokens") if fields.get(k) is not None]
    asked = given[0] if given else (max_model_len - len(ids) if chat else 16)
    if not isinstance(asked, int) or asked < 1:
        raise BadRequest(f"max_tokens must be at least 1, got {asked}.")
    if len(ids) + asked > max_model_len:
        raise BadRequest(
            f"This model's maximum context length is {max_model_len} tokens. However, you requested {asked} output "
            f"tokens and your prompt contains {len(ids)} input tokens. Please reduce the length of the input prompt or "
            "the number of requested output tokens."
        )
    options = fields.get("stream_options") or {}
    return CompletionBody(
        prompt=ids,
        max_tokens=asked,
        stream=bool(fields.get("stream")),
        usage=bool(options.get("include_usage")),
        continuous_usage=bool(options.get("continuous_usage_stats")),
        priority=int(fields.get("priority") or 0),
        cache_salt=str(fields.get("cache_salt") or ""),
        ignore_eos=bool(fields.get("ignore_eos")),
        token_ids=bool(fields.get("return_token_ids")),
        model=name,
        reasoning=_reasoning(fields, asked) if chat and served.reasons else 0,
    )


def _reasoning(fields: dict[str, Any], asked: int) -> int:
    """Tokens of reasoning: the request's budget, else what the simulator assumes."""
    template = fields.get("chat_template_kwargs")
    if isinstance(template, dict) and template.get("enable_thinking") is False:
        return 0
    budget = fields.get("thinking_token_budget")
    return min(budget, asked) if isinstance(budget, int) else assumed_reasoning(asked)


def _check_options(fields: dict[str, Any]) -> None:
    """Refuse what vLLM refuses and what is not simulated."""
    if fields.get("stream_options") is not None and not fields.get("stream"):
        raise BadRequest("Stream options can only be defined when `stream=True`.")
    if fields.get("stream_options") is not None and not isinstance(fields["stream_options"], dict):
        raise BadRequest("stream_options must be an object.")
    if fields.get("n") not in (None, 1) or fields.get("best_of") not in (None, 1):
        raise BadRequest("The simulated engine returns one answer per request: n must be 1.")
    for name in ("echo", "logprobs", "prompt_logprobs"):
        if fields.get(name):
            raise BadRequest(f"The simulated engine does not support {name}.")
    priority = fields.get("priority")
    if priority is not None and not isinstance(priority, int):
        raise BadRequest("priority must be an integer.")


def _prompt_ids(fields: dict[str, Any], chat: bool, vocab_size: int) -> list[int]:
    if chat:
        messages = fields.get("messages")
        if not isinstance(messages, list) or not messages:
            raise BadRequest("messages must be a list with at least one message.")
        return encode_chat([m for m in messages if isinstance(m, dict)], vocab_size)
    prompt = fields.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1 and not isinstance(prompt[0], int):
        prompt = prompt[0]
    if isinstance(prompt, str) and prompt:
        return encode(prompt, vocab_size)
    if isinstance(prompt, list) and prompt and all(isinstance(t, int) for t in prompt):
        if max(prompt) >= vocab_size or min(prompt) < 0:
            raise BadRequest(f"Token id {max(prompt)} is out of vocabulary")
        return prompt
    raise BadRequest("prompt must be a non-empty string or a list of token ids, one prompt per request.")


def hash_chain(ids: list[int], salt: str = "") -> list[int]:
    """Hashes of the full blocks of a prompt, each over all tokens up to its end."""
    chain, parent = [], hash(salt)
    for start in range(0, len(ids) - BLOCK_TOKENS + 1, BLOCK_TOKENS):
        parent = hash((parent, tuple(ids[start : start + BLOCK_TOKENS])))
        chain.append(parent)
    return chain


def opening(request: ActiveRequest) -> bytes:
    """What precedes the first token: in a chat, the role."""
    if not request.chat:
        return b""
    choice = '{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}'
    usage = ',"usage":null' if request.body.usage else ""
    return framed(f"data: {_head(request)}[{choice}]{usage}}}\n\n".encode())


def chunk(request: ActiveRequest, new: int, final: bool) -> bytes:
    """One piece of a streamed answer: SSE events for ``new`` tokens.

    When ``final``, the closing usage event and [DONE] follow.
    """
    if new == 1 and not final and not request.body.continuous_usage and request.played is None:
        return _frame(request)
    s = request.sequence
    text = json.dumps(request.text(s.generated - new, s.generated))[1:-1]
    usage = (
        f',"usage":{usage_of(request)}'
        if request.body.continuous_usage
        else ',"usage":null'
        if request.body.usage
        else ""
    )
    thinking = s.generated - new < request.body.reasoning
    out = _event(request, text, f'"{request.finish_reason}"' if final else "null", usage, thinking)
    if final:
        if request.body.usage:
            out += f'data: {_head(request)}[],"usage":{usage_of(request)}}}\n\n'
        out += "data: [DONE]\n\n"
    return framed(out.encode())


def _frame(request: ActiveRequest) -> bytes:
    """A piece with one token, built once for each word."""
    word = (request.sequence.generated - 1) % WORDS
    key = word if request.sequence.generated > request.body.reasoning else -1 - word
    frame = request.frames.get(key)
    if frame is None:
        event = _event(request, piece_of(word), "null", ',"usage":null' if request.body.usage else "", key < 0)
        frame = request.frames[key] = framed(event.encode())
    return frame


def framed(data: bytes) -> bytes:
    """A piece in HTTP's chunked transfer coding."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def _head(request: ActiveRequest) -> str:
    kind = "chat.completion.chunk" if request.chat else "text_completion"
    about = f'"id":"{request.id}","object":"{kind}","created":{request.created}'
    return f'{{{about},"model":{json.dumps(request.model)},"choices":'


def _event(request: ActiveRequest, text: str, reason: str, usage: str, reasoning: bool) -> str:
    """One event. A piece that begins in the reasoning is reasoning as a whole."""
    if request.chat:
        name = "reasoning" if reasoning else "content"
        choice = f'{{"index":0,"delta":{{"{name}":"{text}"}},"logprobs":null,"finish_reason":{reason}}}'
    else:
        choice = f'{{"index":0,"text":"{text}","logprobs":null,"finish_reason":{reason},"stop_reason":null}}'
    return f"data: {_head(request)}[{choice}]{usage}}}\n\n"


def whole(request: ActiveRequest) -> bytes:
    """The JSON body of a request that does not stream."""
    s = request.sequence
    thought = min(request.body.reasoning, s.generated)
    text = request.text(thought, s.generated)
    choice: dict[str, Any] = {"index": 0, "logprobs": None, "finish_reason": request.finish_reason, "stop_reason": None}
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if thought:
        message["reasoning"] = request.text(0, thought)
    choice |= {"message": message} if request.chat else {"text": text}
    kind = "chat.completion" if request.chat else "text_completion"
    body = {"id": request.id, "object": kind, "created": request.created, "model": request.model, "choices": [choice]}
    if request.body.token_ids:
        choice["token_ids"] = request.ids()
        (body if request.chat else choice)["prompt_token_ids"] = request.body.prompt
    return json.dumps({**body, "usage": json.loads(usage_of(request))}).encode()


def usage_of(request: ActiveRequest) -> str:
    """The usage object as JSON text."""
    s = request.sequence
    thought = min(request.body.reasoning, s.generated)
    details = f',"completion_tokens_details":{{"reasoning_tokens":{thought}}}' if request.body.reasoning else ""
    return (
        f'{{"prompt_tokens":{s.prompt},"total_tokens":{s.prompt + s.generated},"completion_tokens":{s.generated},'
        f'"prompt_tokens_details":{{"cached_tokens":{s.cached}}}{details}}}'
    )


def now_s() -> int:
    """Unix time in whole seconds."""
    return int(time.time())
