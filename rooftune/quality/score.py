"""Asks a server how probable it finds the tokens of known answers: ``prompt_logprobs`` over prompt and answer."""

from __future__ import annotations

from collections.abc import Sequence

from rooftune.answers.answer import Answer
from rooftune.answers.collect import TIMEOUT_S
from rooftune.answers.post import Poster, Rejected, each, posting
from rooftune.quality.scores import Scored, Scores, scored_of

TOP = 10
"""Most probable tokens of each position that are asked for. vLLM allows 20 by default."""
AT_ONCE = 4
"""Requests in flight. vLLM computes the probabilities of all tokens of a prompt at once, which takes memory."""


async def score(
    url: str,
    model: str,
    answers: Sequence[Answer],
    *,
    top: int = TOP,
    at_once: int = AT_ONCE,
    timeout_s: float = TIMEOUT_S,
) -> Scores:
    """The log-probabilities that a server gives to these answers, in their order.

    Answers that the server refuses are left out: those that do not fit into its context with one more token.

    Args:
        top: most probable tokens of each position that are asked for.
        at_once: requests in flight.
        timeout_s: seconds that one request may take.

    Raises:
        EngineError: the server returns no log-probabilities of a prompt, refuses all requests, or does not answer.
    """
    refused: list[Rejected] = []
    async with posting(url, timeout_s) as poster:

        async def one(answer: Answer) -> Scored | None:
            try:
                return await _score_one(poster, model, answer, top)
            except Rejected as error:
                refused.append(error)
                return None

        found = [scored for scored in await each(answers, at_once, one) if scored is not None]
    if refused and not found:
        raise refused[0]
    return Scores(tuple(found))


async def _score_one(poster: Poster, model: str, answer: Answer, top: int) -> Scored:
    body: dict[str, object] = {
        "model": model,
        "prompt": [*answer.prompt_ids, *answer.output_ids],
        "max_tokens": 1,
        "temperature": 0.0,
        "stream": False,
        "prompt_logprobs": top,
    }
    reply = await poster.post("/v1/completions", body)
    return scored_of(answer.key, answer.output_ids, _prompt_logprobs(reply), top, poster.url)


def _prompt_logprobs(reply: object) -> object:
    """vLLM has them in the choice; older versions beside the choices."""
    if not isinstance(reply, dict):
        return None
    choices = reply.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else {}
    inner = first.get("prompt_logprobs") if isinstance(first, dict) else None
    return inner if inner is not None else reply.get("prompt_logprobs")
