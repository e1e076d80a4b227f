"""Reads what people said: conversations (ShareGPT, OpenAI messages), batch files of OpenAI, and lists of prompts.

Lengths are estimated from words, for planning only: the server counts the true ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rooftune.errors import InputError
from rooftune.workloads.traces.files import KNOWN, Numbered, Record
from rooftune.workloads.traces.rows import TraceRow, count, finite

_WORD = re.compile(r"\w+|[^\w\s]")
USERS = ("human", "user")
ASSISTANTS = ("gpt", "assistant", "chatgpt", "bing", "bard", "model")
SYSTEMS = ("system", "developer")
TALK_KEYS = ("conversations", "conversation", "messages", "items")
PROMPT_KEYS = ("prompt", "text_input", "text", "question", "instruction", "input_text")
ANSWER_KEYS = ("completion", "response", "answer", "output", "output_text")
LENGTH_KEYS = ("output_tokens", "output_length", "output_tokens_count", "output_len", "max_tokens",
               "max_completion_tokens", "max_output_tokens")  # fmt: skip
KEYS = (*TALK_KEYS, *PROMPT_KEYS, "body", "turns")


@dataclass(frozen=True)
class Exchange:
    """What a user asked and what was answered."""

    question: str
    answer: str = ""
    output_tokens: int | None = None
    """None: by the words of the answer, or, without one, by the workload."""
    before_tokens: int = 0
    """Of messages that came earlier in the same request."""
    delay_ms: float = 0.0


@dataclass(frozen=True)
class Talk:
    """One conversation, or one request."""

    exchanges: Sequence[Exchange]
    line: int
    at: float | None = None
    """Milliseconds, as aiperf writes them; None where the file has no times."""


def is_talk(record: Record) -> bool:
    """Whether a record has something that was said."""
    return any(key in record for key in KEYS)


def read_talks(records: Sequence[Numbered], path: Path) -> list[Talk]:
    """The conversations of a file.

    Raises:
        InputError: a record is of another shape; the message has the line.
    """
    found = []
    for numbered in records:
        try:
            talk = Talk(list(_exchanges(numbered.record)), numbered.line, _time(numbered.record))
        except ValueError as error:
            raise InputError(f"{path}, line {numbered.line}: {error}; a trace is {KNOWN}.") from None
        if talk.exchanges:
            found.append(talk)
    if not found:
        raise InputError(f"{path} has no conversation with a question (ShareGPT, OpenAI messages) and no prompt.")
    return found


def _time(record: Record) -> float | None:
    value = record.get("timestamp")
    return finite(value, "timestamp") if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _exchanges(record: Record) -> Iterator[Exchange]:
    body = record.get("body")
    if isinstance(body, dict):
        yield _request(body)
        return
    parts = next((record[k] for k in TALK_KEYS if k in record), None)
    if parts is not None:
        yield from _said(parts, record)
        return
    turns = record.get("turns")
    if turns is not None:
        yield from _turns(turns)
        return
    question = next((_text(record[k]) for k in PROMPT_KEYS if k in record), None)
    if question is None:
        raise ValueError("it has neither a conversation nor a prompt")
    extra = _text(record.get("input")) if "instruction" in record else ""
    answer = next((_text(record[k]) for k in ANSWER_KEYS if isinstance(record.get(k), str)), "")
    yield Exchange(f"{question}\n{extra}".strip(), answer, _length(record))


def _said(parts: object, record: Record) -> Iterator[Exchange]:
    """Questions with their answers. Without any answer the whole is one request."""
    said = [_message(p) for p in parts] if isinstance(parts, list) else []
    if not any(m.role in ASSISTANTS for m in said):
        if any(m.role in USERS for m in said) and "messages" in record:
            yield _request(record)
        return
    system = "\n".join(m.text for m in said if m.role in SYSTEMS)
    question = ""
    for message in said:
        if message.role in USERS:
            question = f"{system}\n{message.text}".strip()
        elif message.role in ASSISTANTS and question:
            yield Exchange(question, message.text)
            question, system = "", ""


@dataclass(frozen=True)
class _Message:
    role: str
    text: str


def _message(part: object) -> _Message:
    if not isinstance(part, dict):
        return _Message("", "")
    role = part.get("from") or part.get("role") or part.get("user")
    text = next((part[k] for k in ("value", "content", "text") if part.get(k) is not None), None)
    return _Message(str(role or "").lower(), _text(text))


def _request(body: Record) -> Exchange:
    """One request with all messages that it sends: the last one is what the user says now."""
    messages = body.get("messages")
    if isinstance(messages, list) and messages:
        said = [_message(m) for m in messages]
        before = sum(estimated_tokens(m.text) for m in said[:-1])
        return Exchange(said[-1].text, "", _length(body), before)
    prompt = body.get("prompt") if "prompt" in body else body.get("input")
    if prompt is None:
        raise ValueError("it has neither messages nor a prompt")
    return Exchange(_text(prompt), "", _length(body))


def _turns(turns: object) -> Iterator[Exchange]:
    for turn in turns if isinstance(turns, list) else []:
        record = turn if isinstance(turn, dict) else {"text": turn}
        question = next((_text(record[k]) for k in (*PROMPT_KEYS, "texts", "content") if k in record), "")
        delay = record.get("delay")
        wait = max(0.0, finite(delay, "delay")) if isinstance(delay, (int, float)) else 0.0
        yield Exchange(question, "", _length(record), delay_ms=wait)


def _length(record: Record) -> int | None:
    value = next((record[k] for k in LENGTH_KEYS if record.get(k) is not None), None)
    return None if value is None else count(value, "output_tokens")


def _text(value: object) -> str:
    """A text, or the text parts of a message."""
    if isinstance(value, list):
        return " ".join(_text(v.get("text") if isinstance(v, dict) else v) for v in value).strip()
    return value if isinstance(value, str) else "" if value is None or isinstance(value, dict) else str(value)


def estimated_tokens(text: str) -> int:
    """About how many tokens a text has: its words and marks, times 1.2."""
    return max(1, round(1.2 * len(_WORD.findall(text))))


def talk_rows(talks: Sequence[Talk], answers: Sequence[int] | None, path: Path) -> list[TraceRow]:
    """Requests with the number of the conversation as time where the file has none.

    Args:
        talks: the conversations.
        answers: lengths for requests without an answer, one for each exchange; None where the workload has none.
        path: the file.

    Raises:
        InputError: a request has no answer, and the workload has no lengths.
    """
    rows, place = [], 0
    timed = all(t.at is not None for t in talks)
    for number, talk in enumerate(talks):
        history = 0
        several = len(talk.exchanges) > 1
        for turn, said in enumerate(talk.exchanges):
            output = said.output_tokens or (estimated_tokens(said.answer) if said.answer else None)
            if output is None:
                if answers is None:
                    raise InputError(
                        f"{path}, line {talk.line}: a prompt without an answer; set output_tokens in the workload."
                    )
                output = int(answers[place])
            place += 1
            prompt = history + said.before_tokens + estimated_tokens(said.question)
            rows.append(
                TraceRow(
                    talk.at if timed and talk.at is not None else float(number),
                    prompt,
                    output,
                    talk.line,
                    conversation=number if several or not timed else -1,
                    turn=turn,
                    think_s=said.delay_ms / 1000,
                    text=said.question,
                )
            )
            history = prompt + output
    return rows
