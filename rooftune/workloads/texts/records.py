"""From one entry of a file to a prompt, for every format that is known."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from rooftune.workloads.strict import MOST_TOKENS
from rooftune.workloads.texts import conversations
from rooftune.workloads.texts.conversations import Conversation, as_message, conversation_of, request_of
from rooftune.workloads.texts.files import KNOWN
from rooftune.workloads.texts.prompt_text import Message, PromptText, Turn, key_of
from rooftune.workloads.texts.sampling import OWN_FIELDS

PromptFormat = Literal["auto", "jsonl", "openai-batch", "sharegpt", "custom", "guidellm", "aiperf", "csv", "text"]
Record = Mapping[str, object]
PROMPT_KEYS = ("prompt", "text_input", "text", "question", "instruction", "input_text", "input", "content")
ANSWER_KEYS = ("completion", "response", "answer", "output", "output_text")
LENGTH_KEYS = ("output_tokens", "output_tokens_count", "output_length", "output_len")
LIMIT_KEYS = ("max_completion_tokens", "max_tokens", "max_output_tokens")
REQUEST_FIELDS = (
    *("temperature", "top_p", "top_k", "min_p", "seed", "stop", "frequency_penalty", "presence_penalty"),
    *("repetition_penalty", "tools", "tool_choice", "response_format", "chat_template_kwargs", "reasoning_effort"),
)
"""Fields of the API that a record beside its prompt may have."""
_NOT_SENT = (*OWN_FIELDS, *LIMIT_KEYS, "input", "user", "store", "metadata", "service_tier", "logprobs", "top_logprobs")


@dataclass(frozen=True)
class _Draft:
    """A prompt without its key and its line."""

    text: str | None = None
    conversation: Conversation | None = None
    answer: str | None = None
    output_tokens: int | None = None
    max_tokens: int | None = None
    extra: Mapping[str, object] | None = None


@dataclass(frozen=True)
class RecordFormat:
    """A shape of records."""

    name: str
    formats: tuple[str, ...]
    """Values of ``prompts.format`` that allow it, besides ``auto``."""
    fits: Callable[[Record], bool]
    read: Callable[[Record], Iterator[_Draft]]


def read_record(value: object, line: int, wanted: PromptFormat) -> list[PromptText]:
    """The prompts of one entry.

    Raises:
        ValueError: it has no prompt, or something that cannot be sent; the message says what.
    """
    if isinstance(value, str):
        return [_finished(_Draft(text=value), line)]
    if not isinstance(value, Mapping):
        raise ValueError(f"a {_kind(value)} is not a prompt; a file of prompts is {KNOWN}")
    fitting = [f for f in _FORMATS if f.fits(value)]
    found = next((f for f in fitting if wanted == "auto" or wanted in f.formats), None)
    if found is None and fitting:
        raise ValueError(f"this is {fitting[0].name}, not {wanted}; set prompts.format: auto")
    if found is None:
        keys = ", ".join(map(str, list(value)[:8])) or "no keys"
        raise ValueError(f"it has neither a prompt nor messages (its keys: {keys}); a file of prompts is {KNOWN}")
    return [_finished(draft, line) for draft in found.read(value)]


def _finished(draft: _Draft, line: int) -> PromptText:
    talk, extra = draft.conversation, dict(draft.extra or {})
    text, answer = draft.text, draft.answer
    messages: tuple[Message, ...] | None = None
    turns: tuple[Turn, ...] = ()
    if talk is not None:
        messages, turns, answer = talk.messages, talk.turns, talk.answer or draft.answer
    if text is not None and not text.strip():
        raise ValueError("the prompt is empty")
    try:
        (answer or "").encode()
        key = key_of(text, messages, turns, extra.get("tools"))
    except UnicodeEncodeError:
        half = "a text has half of a surrogate pair (\\ud800 to \\udfff), which UTF-8 cannot express; remove it"
        raise ValueError(half) from None
    return PromptText(
        key=key,
        text=text,
        messages=messages,
        answer=answer or None,
        max_tokens=draft.max_tokens,
        output_tokens=draft.output_tokens,
        extra=extra,
        turns=turns,
        line=line,
    )


def _kind(value: object) -> str:
    names = {bool: "true or false", int: "number", float: "number", list: "list", type(None): "null"}
    return names.get(type(value), type(value).__name__)


def _count(record: Record, names: Sequence[str]) -> int | None:
    """The first of these counts of tokens.

    Raises:
        ValueError: it is not a whole number of at least one.
    """
    for name in names:
        value = record.get(name)
        if value is None or value == "":
            continue
        try:
            found = int(value) if isinstance(value, (int, float, str)) and not isinstance(value, bool) else 0
        except (ValueError, OverflowError):
            found = 0
        if not 1 <= found <= MOST_TOKENS:
            raise ValueError(f"{name} is {_short(value)}, and it must be a whole number from 1 to {MOST_TOKENS:,}")
        return found
    return None


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _answer(record: Record) -> str | None:
    return next((str(record[k]) for k in ANSWER_KEYS if isinstance(record.get(k), str)), None)


def _fields(record: Record) -> dict[str, object]:
    return {name: record[name] for name in REQUEST_FIELDS if record.get(name) is not None}


def _messages(value: object) -> tuple[Message, ...]:
    if not isinstance(value, list) or not value:
        raise ValueError("messages is not a list with at least one message")
    return tuple(as_message(m) for m in value)


def _read_batch(record: Record) -> Iterator[_Draft]:
    """A line of an OpenAI batch file, or the body of a request."""
    body = record.get("body", record)
    url = str(record.get("url", ""))
    if not isinstance(body, Mapping) or "embeddings" in url:
        raise ValueError(f"a request to {url or 'this address'} has no answer to measure")
    extra = {k: v for k, v in body.items() if k not in ("prompt", *_NOT_SENT) and v is not None}
    limit = _count(body, LIMIT_KEYS)
    given = body.get("messages", body.get("input"))
    if isinstance(given, list) and given and isinstance(given[0], Mapping):
        yield _Draft(conversation=request_of(_messages(given)), max_tokens=limit, extra=extra)
    else:
        prompt = body.get("prompt", given)
        yield _Draft(text=_text(prompt, "prompt"), max_tokens=limit, extra=extra)


def _read_sharegpt(record: Record) -> Iterator[_Draft]:
    value = next(record[k] for k in ("conversations", "conversation", "items") if k in record)
    system = record.get("system")
    first = ({"role": "system", "content": system},) if isinstance(system, str) and system else ()
    if value == []:
        return
    yield _Draft(conversation=conversation_of((*first, *_messages(value))), extra=_fields(record))


def _read_messages(record: Record) -> Iterator[_Draft]:
    """A list of messages: with an answer at its end a conversation, otherwise one request with its history."""
    value = record["messages"] if "messages" in record else record["prompt"]
    messages = _messages(value)
    talk = conversation_of(messages) if messages[-1]["role"] == "assistant" else request_of(messages)
    yield _Draft(None, talk, _answer(record), _count(record, LENGTH_KEYS), _count(record, LIMIT_KEYS), _fields(record))


def _read_turns(record: Record) -> Iterator[_Draft]:
    """Turns of aiperf (objects with a text and a delay in milliseconds), or plain texts."""
    value = record["turns"]
    if not isinstance(value, list) or not value:
        raise ValueError("turns is not a list with at least one turn")
    turns = [_turn(v) for v in value]
    first, extra = turns[0], _fields(record)
    if len(turns) == 1:
        text = conversations.plain_text(first.messages[0]["content"])
        yield _Draft(text, None, first.answer, first.output_tokens, first.max_tokens, extra)
        return
    talk = Conversation(first.messages, first.answer, tuple(turns[1:]))
    yield _Draft(None, talk, None, first.output_tokens, first.max_tokens, extra)


def _turn(value: object) -> Turn:
    record = value if isinstance(value, Mapping) else {"text": value}
    delay = record.get("delay")
    think = None
    if delay is not None:
        if isinstance(delay, bool) or not isinstance(delay, (int, float)) or not 0 <= delay < 1e12:
            raise ValueError(f"delay is {_short(delay)}, and it must be a number of milliseconds")
        think = delay / 1000
    text = _text(_prompt(record), "the text of a turn")
    role = conversations.ROLES.get(str(record.get("role") or "user").lower(), "user")
    said = ({"role": role, "content": text},)
    lengths = _count(record, LENGTH_KEYS), _count(record, LIMIT_KEYS)
    return Turn(said, _answer(record), *lengths, think)


def _read_payloads(record: Record) -> Iterator[_Draft]:
    """A session of aiperf's ``inputs.json``: each payload is the body of a request."""
    value = record["payloads"]
    for payload in value if isinstance(value, list) else []:
        if not isinstance(payload, Mapping):
            raise ValueError("a payload is not an object")
        yield from _read_batch(payload)


def _read_report(record: Record) -> Iterator[_Draft]:
    """The requests of a guidellm report that kept their texts."""
    benchmarks = record["benchmarks"]
    for benchmark in benchmarks if isinstance(benchmarks, list) else []:
        groups = benchmark.get("requests") if isinstance(benchmark, Mapping) else None
        requests = groups.get("successful") if isinstance(groups, Mapping) else None
        for request in requests if isinstance(requests, list) else []:
            if isinstance(request, Mapping):
                yield from _reported(request)


def _reported(request: Record) -> Iterator[_Draft]:
    arguments = request.get("request_args")
    try:
        arguments = json.loads(arguments) if isinstance(arguments, str) else arguments
    except ValueError:
        arguments = None
    body = arguments.get("body", arguments) if isinstance(arguments, Mapping) else None
    answer, length = _answer(request), _count(request, LENGTH_KEYS)
    if isinstance(body, Mapping) and ("messages" in body or "prompt" in body):
        for draft in _read_batch(body):
            yield replace(draft, answer=answer, output_tokens=length)
    elif isinstance(request.get("prompt"), str):
        yield _Draft(text=str(request["prompt"]), answer=answer, output_tokens=length)


def _prompt(record: Record) -> object:
    return next((record[k] for k in PROMPT_KEYS if record.get(k) is not None), None) or record.get("texts")


def _read_prompt(record: Record) -> Iterator[_Draft]:
    text = _text(_prompt(record), "the prompt")
    if "instruction" in record and isinstance(record.get("input"), str):
        text = f"{text}\n{record['input']}".strip()
    if isinstance(record.get("prefix"), str):  # guidellm: a beginning that prompts have in common
        text = f"{record['prefix']}{text}"
    yield _Draft(text, None, _answer(record), _count(record, LENGTH_KEYS), _count(record, LIMIT_KEYS), _fields(record))


def _text(value: object, name: str) -> str:
    """A text, or the texts of aiperf's lists.

    Raises:
        ValueError: it is something else, such as token ids.
    """
    if isinstance(value, list) and value and all(isinstance(v, int) for v in value):
        raise ValueError(f"{name} has token ids; give the text instead")
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, Mapping) and isinstance(value.get("contents"), list):
        return " ".join(map(str, value["contents"]))
    if not isinstance(value, str):
        raise ValueError(f"{name} is {'missing' if value is None else 'a ' + _kind(value)}, not one text")
    return value


def _has(*names: str) -> Callable[[Record], bool]:
    return lambda record: any(record.get(n) is not None for n in names)


def _is_request(record: Record) -> bool:
    return isinstance(record.get("body"), Mapping)


def _has_messages(record: Record) -> bool:
    prompt = record.get("prompt")
    listed = isinstance(prompt, list) and bool(prompt) and isinstance(prompt[0], Mapping)
    return record.get("messages") is not None or listed


_FORMATS = (
    RecordFormat("a line of an OpenAI batch file", ("openai-batch",), _is_request, _read_batch),
    RecordFormat("a report of guidellm", ("guidellm",), _has("benchmarks"), _read_report),
    RecordFormat("a session of aiperf", ("aiperf",), _has("payloads"), _read_payloads),
    RecordFormat("a conversation of ShareGPT", ("sharegpt",), _has("conversations", "conversation", "items"),
                 _read_sharegpt),
    RecordFormat("a list of messages", ("jsonl",), _has_messages, _read_messages),
    RecordFormat("a list of turns", ("aiperf", "jsonl"), _has("turns"), _read_turns),
    RecordFormat("a prompt", ("jsonl", "custom", "guidellm", "aiperf", "csv"), _has(*PROMPT_KEYS, "texts"),
                 _read_prompt),
)  # fmt: skip
