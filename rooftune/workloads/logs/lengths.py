"""Gives every request of a log its lengths: as logged, else counted in its text, else what the user assumes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from rooftune.errors import InputError
from rooftune.formatting import quantity
from rooftune.workloads.logs.entries import LoggedRequest, LogReading
from rooftune.workloads.seeds import stream
from rooftune.workloads.traces.talks import estimated_tokens

TokenCounter = Callable[[str], int]
"""Tokens of a text."""


@dataclass(frozen=True)
class Assumed:
    """Lengths for requests of which the log has neither a length nor a text. None: such a log is refused."""

    prompt_tokens: int | None = None
    output_tokens: int | None = None


@dataclass(frozen=True)
class _Side:
    """Prompts or answers, and the fields of a request that have their length and their text."""

    name: str
    tokens: Literal["prompt_tokens", "output_tokens"]
    text: Literal["text", "answer"]


PROMPT, ANSWER = _Side("prompt", "prompt_tokens", "text"), _Side("answer", "output_tokens", "answer")


def complete_lengths(reading: LogReading, assumed: Assumed, count: TokenCounter | None = None) -> None:
    """Fill in the lengths of all requests, and note where they come from.

    Args:
        count: tokens of a text by the model's tokenizer; None: estimated from its words.

    Raises:
        InputError: lengths are not known and not assumed.
    """
    _prompts(reading, assumed, count)
    _outputs(reading, assumed, count)


def _prompts(reading: LogReading, assumed: Assumed, count: TokenCounter | None) -> None:
    unknown = _counted(reading, PROMPT, count)
    if not unknown:
        return
    if assumed.prompt_tokens is None:
        raise _unknown(reading, PROMPT, unknown)
    for request in unknown:
        request.prompt_tokens = assumed.prompt_tokens
    reading.notes.append(
        f"{quantity(len(unknown), 'prompt')} without a length get the assumed {assumed.prompt_tokens:,} tokens"
    )


def _outputs(reading: LogReading, assumed: Assumed, count: TokenCounter | None) -> None:
    unknown = _counted(reading, ANSWER, count)
    if not unknown:
        return
    known = [r.output_tokens for r in reading.requests if r.output_tokens is not None]
    if assumed.output_tokens is not None:
        for request in unknown:
            request.output_tokens = assumed.output_tokens
        source = f"get the assumed {assumed.output_tokens:,} tokens"
    elif known:
        drawn = stream(0, "answers of a log").choice(np.asarray(known), len(unknown))
        for request, tokens in zip(unknown, drawn.tolist(), strict=True):
            request.output_tokens = min(tokens, request.max_tokens or tokens)
        source = "get lengths drawn from the other answers"
    elif all(r.max_tokens is not None for r in unknown):
        for request in unknown:
            request.output_tokens = request.max_tokens
        source = "get their max_tokens, which is the longest that they can be; --output-tokens assumes another length"
    else:
        raise _unknown(reading, ANSWER, unknown)
    reading.notes.append(f"{quantity(len(unknown), 'answer')} without a length {source}")


def _counted(reading: LogReading, side: _Side, count: TokenCounter | None) -> list[LoggedRequest]:
    """Count the texts whose length the log does not have; return the requests that have no text either."""
    missing = [r for r in reading.requests if getattr(r, side.tokens) is None]
    with_text = [r for r in missing if getattr(r, side.text)]
    for request in with_text:
        setattr(request, side.tokens, max(1, (count or estimated_tokens)(getattr(request, side.text))))
    if with_text:
        how = "are estimated from their words" if count is None else "are counted with the tokenizer"
        reading.notes.append(f"the lengths of {quantity(len(with_text), side.name)} {how}")
    return [r for r in missing if getattr(r, side.tokens) is None]


def _unknown(reading: LogReading, side: _Side, unknown: Sequence[LoggedRequest]) -> InputError:
    """Why the log is refused, and the way out."""
    total = len(reading.requests)
    who = f"the {side.name}s have"
    if len(unknown) < total:
        have = "has" if len(unknown) == 1 else "have"
        who = f"{quantity(len(unknown), side.name)} of {total:,} (the first on line {unknown[0].line:,}) {have}"
    option = f"--{side.tokens.replace('_', '-')}"
    return InputError(
        f"{who} neither a length nor a text in the log; {_way_out(reading, side.tokens)} or assume a length with "
        f"{option}."
    )


def _way_out(reading: LogReading, column: str) -> str:
    """Where the lengths come from, by the kind of the log."""
    if reading.format == "vllm":
        flag = "--enable-log-outputs" if column == "output_tokens" else "VLLM_LOGGING_LEVEL=DEBUG"
        return f"start vLLM with --enable-log-requests and {flag},"
    return f"name the column that has it with --column {column}=COLUMN,"
