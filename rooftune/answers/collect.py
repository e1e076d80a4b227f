"""Asks a server for its answers to a user's prompts, a few at a time, outside of any measured window."""

from __future__ import annotations

from collections.abc import Sequence

from rooftune.answers.answer import Answer, Answers
from rooftune.answers.ask import Prompt, RequestFields, body_of, path_of, read_answer
from rooftune.answers.post import each, each_accepted, posting
from rooftune.errors import InputError

AT_ONCE = 16
"""Requests in flight."""
TIMEOUT_S = 600.0
"""Seconds that one answer may take."""


async def collect(
    url: str,
    model: str,
    prompts: Sequence[Prompt],
    sampling: RequestFields,
    max_tokens: int,
    *,
    at_once: int = AT_ONCE,
    keep_texts: bool = False,
    skip_rejected: bool = False,
    timeout_s: float = TIMEOUT_S,
) -> Answers:
    """The answers of a server as token ids, in the order of the prompts.

    Answers end by themselves, or after ``max_tokens`` (or a prompt's own limit).

    Args:
        at_once: requests in flight.
        keep_texts: the answers have texts too.
        skip_rejected: leave out prompts that the server refuses, such as those longer than its context.
        timeout_s: seconds that one answer may take.

    Raises:
        InputError: there are no prompts.
        NoTokenIds: the server does not return token ids.
        EngineError: the server rejects a request, or all where ``skip_rejected``, or does not answer.
    """
    if not prompts:
        raise InputError("there are no prompts to ask; give a file with --prompts.")
    async with posting(url, timeout_s) as poster:

        async def one(prompt: Prompt) -> Answer:
            reply = await poster.post(path_of(prompt), body_of(prompt, model, sampling, max_tokens))
            return read_answer(prompt, reply, url, keep_texts)

        return Answers(tuple(await (each_accepted if skip_rejected else each)(prompts, at_once, one)))
