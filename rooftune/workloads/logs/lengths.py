"""Gives every request of a log its lengths: as logged, else counted in its text, else what the user assumes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
    unknown, counted = [], 0
    for request in reading.requests:
        if request.prompt_tokens is not None:
            continue
        if request.text:
            request.prompt_tokens = max(1, (count or estimated_tokens)(request.text))
            counted += 1
        else:
            unknown.append(request)
    if counted:
        reading.notes.append(_counted(counted, "prompt", count))
    if unknown and assumed.prompt_tokens is None:
        raise InputError(
            f"{_all(unknown, reading.requests, 'prompt')} neither a length nor a text in the log; "
            f"{_way_out(reading, 'prompt_tokens')} or assume a length with --prompt-tokens."
        )
    for request in unknown:
        request.prompt_tokens = assumed.prompt_tokens
    if unknown:
        reading.notes.append(
            f"{quantity(len(unknown), 'prompt')} without a length get the assumed {assumed.prompt_tokens:,} tokens"
        )


def _outputs(reading: LogReading, assumed: Assumed, count: TokenCounter | None) -> None:
    unknown, counted = [], 0
    for request in reading.requests:
        if request.output_tokens is not None:
            continue
        if request.answer:
            request.output_tokens = max(1, (count or estimated_tokens)(request.answer))
            counted += 1
        else:
            unknown.append(request)
    if counted:
        reading.notes.append(_counted(counted, "answer", count))
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
        raise InputError(
            f"{_all(unknown, reading.requests, 'answer')} neither a length nor a text in the log; "
            f"{_way_out(reading, 'output_tokens')} or assume a length with --output-tokens."
        )
    reading.notes.append(f"{quantity(len(unknown), 'answer')} without a length {source}")


def _counted(n: int, what: str, count: TokenCounter | None) -> str:
    how = "are estimated from their words" if count is None else "are counted with the tokenizer"
    return f"the lengths of {quantity(n, what)} {how}"


def _all(unknown: Sequence[LoggedRequest], requests: Sequence[LoggedRequest], what: str) -> str:
    if len(unknown) == len(requests):
        return f"no {what} has"
    return f"{quantity(len(unknown), what)} of {len(requests):,} (the first on line {unknown[0].line:,}) have"


def _way_out(reading: LogReading, column: str) -> str:
    """Where the lengths come from, by the kind of the log."""
    if reading.format == "vllm":
        flag = "--enable-log-outputs" if column == "output_tokens" else "VLLM_LOGGING_LEVEL=DEBUG"
        return f"start vLLM with --enable-log-requests and {flag},"
    return f"name the column that has it with --column {column}=COLUMN,"
