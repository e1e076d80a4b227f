"""How other servers stream: the same eight tokens in each server's own dialect of the OpenAI API.

The shapes are those that the sources of vLLM, SGLang, TGI, llama.cpp, Ollama, LMDeploy, LiteLLM and Mistral write;
texts and ids are made up.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.faults.server import Answering, Fault

Json = dict[str, Any]
WORDS = ("one", " two", " three", " four", " five", " six", " seven", " eight")
DONE = "data: [DONE]\n\n"
ASSISTANT = {"role": "assistant", "content": ""}


def usage(tokens: int = 8, **more: Any) -> Json:
    """The counts of a server; the prompt has 20 tokens."""
    return {"prompt_tokens": 20, "completion_tokens": tokens, "total_tokens": 20 + tokens, **more}


def chat(delta: Json | None, finish: str | None = None, **top: Any) -> Json:
    """An event of ``/v1/chat/completions``."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice], **top}


def completion(text: str | None, finish: str | None = None, **top: Any) -> Json:
    """An event of ``/v1/completions``."""
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}
    return {"id": "c-1", "object": "text_completion", "created": 1, "model": "m", "choices": [choice], **top}


def counted(tokens: int = 8, **more: Any) -> Json:
    """The event without choices that has only the counts."""
    return {"id": "c-1", "object": "chat.completion.chunk", "choices": [], "usage": usage(tokens, **more)}


def contents(words: Sequence[str] = WORDS, **top: Any) -> list[Json]:
    """One event for each word."""
    return [chat({"content": w}, **top) for w in words]


def with_role(words: Sequence[str] = WORDS, **top: Any) -> list[Json]:
    """Servers that repeat the role in each event."""
    return [chat({"role": "assistant", "content": w}, **top) for w in words]


@dataclass(frozen=True)
class Dialect:
    """What a server sends for one request, and the record that follows from it."""

    events: Sequence[Json | str]
    """A text is sent as it is, in the place of an event."""
    done: str = DONE
    prefix: str = "data: "
    line_end: str = "\n\n"
    error_class: str = ""
    output_tokens: int | None = 8
    chunks: int = 8
    prompt_tokens: int | None = 20
    endpoint: str = field(default="chat")

    def pieces(self) -> list[bytes]:
        """The stream as the server writes it."""
        texts = [e if isinstance(e, str) else f"{self.prefix}{json.dumps(e)}{self.line_end}" for e in self.events]
        return [text.encode() for text in [*texts, self.done] if text]

    def fault(self) -> Fault:
        """The answer of the test server."""

        async def answer(to: Answering) -> None:
            await to.stream(self.pieces())

        return answer


def completions(events: Sequence[Json | str], **more: Any) -> Dialect:
    """A dialect of ``/v1/completions``."""
    return Dialect(events, endpoint="completions", **more)


STOP = chat({}, "stop")
PLAIN = [chat(ASSISTANT), *contents(), STOP]
THINKING = [chat({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": w}]}]}) for w in WORDS[:4]]
ERROR = {"error": {"message": "EngineCore encountered an issue.", "type": "InternalServerError", "code": 500}}
NAME = {"id": "call_1", "type": "function", "index": 0, "function": {"name": "get_weather"}}
ARGUMENTS = [
    chat({"tool_calls": [{"index": 0, "function": {"arguments": a}}]}) for a in ('{"c', 'ity":', '"Bern', '"}')
]

DIALECTS: dict[str, Dialect] = {
    "vllm": Dialect([chat(ASSISTANT), *contents(WORDS[:-1]), chat({"content": WORDS[-1]}, "length"), counted()]),
    "vllm-reasoning": Dialect(
        [
            chat({**ASSISTANT, "reasoning_content": None}),
            *[chat({"reasoning": w, "reasoning_content": w}) for w in WORDS],
            chat({}, "length"),
            counted(),
        ]
    ),
    "vllm-tools": Dialect(
        [chat(ASSISTANT), chat({"tool_calls": [NAME]}), *ARGUMENTS, chat({"content": ""}, "tool_calls"), counted(9)],
        output_tokens=9,
        chunks=5,
    ),
    "vllm-keep-alive": Dialect([chat(ASSISTANT), ": keep-alive\n\n", *contents(), STOP, counted()]),
    "vllm-many-tokens-per-event": Dialect(
        [chat(ASSISTANT), *contents([a + b for a, b in zip(WORDS[::2], WORDS[1::2], strict=True)]), STOP, counted()],
        chunks=4,
    ),
    "litellm-ping": Dialect([": ping\n\n: ping\n\n", *with_role(WORDS[:1]), *contents(WORDS[1:]), STOP, counted()]),
    "litellm-usage-beside-empty-delta": Dialect([*PLAIN, chat({}, usage=usage())]),
    "litellm-usage-beside-bare-choice": Dialect([*PLAIN, {"id": "c-1", "choices": [{"index": 0}], "usage": usage()}]),
    "sglang": Dialect(
        [
            chat(ASSISTANT, usage=None),
            *[chat({"role": None, "content": w, "tool_calls": None}, usage=None) for w in WORDS],
            chat({"role": None, "content": None}, "length", usage=None),
            counted(prompt_tokens_details=None),
        ]
    ),
    "sglang-continuous-usage": Dialect(
        [
            chat(ASSISTANT, usage=usage(0)),
            *[chat({"role": None, "content": w}, usage=usage(i + 1)) for i, w in enumerate(WORDS)],
            chat({"role": None, "content": None}, "length", usage=usage()),
            counted(),
        ]
    ),
    "sglang-gateway": Dialect([*with_role(), STOP, counted()]),
    "tgi-2": Dialect(
        [*with_role(WORDS[:-1]), chat({"role": "assistant", "content": WORDS[-1]}, "length", usage=usage())],
        prefix="data:",
        done="",
        error_class="no_done",
    ),
    "tgi-3": Dialect([*with_role(usage=None), chat(ASSISTANT, "length", usage=None), counted()]),
    "llama.cpp": Dialect(
        [
            chat({"role": "assistant", "content": None}),
            *contents(),
            chat({}, "length"),
            {**counted(), "timings": {"prompt_n": 20, "predicted_n": 8}},
        ]
    ),
    "ollama-counts-its-end": Dialect([*with_role(), chat(ASSISTANT, "stop"), counted(9)], output_tokens=9, chunks=9),
    "ollama-reasoning": Dialect(
        [
            *[chat({**ASSISTANT, "reasoning": w}) for w in WORDS[:6]],
            *with_role(WORDS[6:]),
            chat(ASSISTANT, "stop"),
            counted(),
        ]
    ),
    "openai-obfuscation": Dialect(
        [
            chat({**ASSISTANT, "refusal": None}, usage=None, obfuscation="aa", service_tier="default"),
            *contents(usage=None, obfuscation="ab"),
            chat({}, "stop", usage=None, obfuscation="ac"),
            counted(),
        ]
    ),
    "azure-filter-first": Dialect([{"id": "", "choices": [], "prompt_filter_results": []}, *PLAIN, counted()]),
    "groq": Dialect([*PLAIN[:-1], chat({}, "stop", x_groq={"id": "r", "usage": usage()}), counted()]),
    "lmdeploy": Dialect(
        [
            *[chat({"role": "assistant", "content": w, "gen_tokens": None}, usage=None) for w in WORDS],
            chat({**ASSISTANT, "gen_tokens": None}, "length", usage=usage()),
        ]
    ),
    "usage-beside-role-alone": Dialect([*PLAIN, chat(ASSISTANT, usage=usage())]),
    "mistral-thinking": Dialect(
        [chat(ASSISTANT), *THINKING, *contents(WORDS[4:]), chat({"content": ""}, "stop", usage=usage())]
    ),
    "finish-reason-is-empty-text": Dialect(
        [*[chat({"role": "assistant", "content": w}, "") for w in WORDS], chat(ASSISTANT, "stop", usage=usage())]
    ),
    "crlf": Dialect([*PLAIN, counted()], line_end="\r\n\r\n", done="data: [DONE]\r\n\r\n"),
    "done-without-blank": Dialect([*PLAIN, counted()], done="data:[DONE]\n\n"),
    "done-without-blank-line": Dialect([*PLAIN, counted()], done="data: [DONE]\n"),
    "done-without-line-end": Dialect([*PLAIN, counted()], done="data: [DONE]"),
    "no-done": Dialect([*PLAIN, counted()], done="", error_class="no_done"),
    "no-usage": Dialect(PLAIN, error_class="no_usage", output_tokens=None, prompt_tokens=None),
    "usage-is-null": Dialect(
        [chat(ASSISTANT, usage=None), *contents(usage=None), chat({}, "stop", usage=None)],
        error_class="no_usage",
        output_tokens=None,
        prompt_tokens=None,
    ),
    "usage-is-empty": Dialect(
        [*PLAIN, {**counted(), "usage": {}}], error_class="no_usage", output_tokens=None, prompt_tokens=None
    ),
    "usage-without-choices": Dialect([*PLAIN, {"id": "c-1", "usage": usage()}]),
    "usage-beside-null-choices": Dialect([*PLAIN, {**counted(), "choices": None}]),
    "usage-in-floats": Dialect(
        [*PLAIN, {**counted(), "usage": {"prompt_tokens": 20.0, "completion_tokens": 8.0, "total_tokens": 28.0}}]
    ),
    "usage-of-the-answer-alone": Dialect(
        [*PLAIN, {**counted(), "usage": {"completion_tokens": 8}}], prompt_tokens=None
    ),
    "delta-is-null": Dialect([chat(ASSISTANT), *contents(), chat(None, "stop"), counted()]),
    "delta-is-absent": Dialect([chat(ASSISTANT), *contents(), {"choices": [{"finish_reason": "stop"}]}, counted()]),
    "error-in-stream": Dialect(
        [chat(ASSISTANT), *contents(WORDS[:3]), ERROR],
        done="",
        error_class="error_event",
        output_tokens=None,
        prompt_tokens=None,
        chunks=3,
    ),
    "error-in-stream-of-vllm-0.8": Dialect(
        [chat(ASSISTANT), *contents(WORDS[:3]), {"object": "error", "message": "out of memory", "code": 500}],
        error_class="error_event",
        output_tokens=None,
        prompt_tokens=None,
        chunks=3,
    ),
    "error-by-name": Dialect(
        [*with_role(WORDS[:1]), 'event: error\ndata: {"error":"overloaded","error_type":"overloaded"}\n\n'],
        done="",
        error_class="error_event",
        output_tokens=None,
        prompt_tokens=None,
        chunks=1,
    ),
    "completions-vllm": completions([*map(completion, WORDS[:-1]), completion(WORDS[-1], "length"), counted()]),
    "completions-sglang": completions(
        [*[completion(w, usage=None) for w in WORDS], completion("", "length", usage=None), counted()]
    ),
    "completions-tgi": completions([*map(completion, WORDS[:-1]), completion(WORDS[-1], "length", usage=usage())]),
    "completions-llama.cpp": completions(
        [*map(completion, WORDS), completion("", "length", usage=usage(), timings={"predicted_n": 8})]
    ),
    "completions-lmdeploy": completions(
        [*[completion(w, usage=None) for w in WORDS], completion("", "length", usage=usage())]
    ),
    "completions-text-is-null": completions([*map(completion, WORDS), completion(None, "length", usage=usage())]),
    "completions-text-is-absent": completions(
        [*map(completion, WORDS), {"choices": [{"index": 0, "finish_reason": "length"}], "usage": usage()}]
    ),
    "completions-usage-after-the-end": completions(
        [*map(completion, WORDS), completion("", "length"), completion("", usage=usage())]
    ),
    "completions-usage-without-choices": completions([*map(completion, WORDS), {"usage": usage()}]),
    "completions-no-usage": completions(
        [*map(completion, WORDS), completion("", "length")],
        error_class="no_usage",
        output_tokens=None,
        prompt_tokens=None,
    ),
}
