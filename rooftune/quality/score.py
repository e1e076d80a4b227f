"""Asks a server how probable it finds the tokens of known answers: ``prompt_logprobs`` over prompt and answer."""

from __future__ import annotations

from collections.abc import Sequence

from rooftune.answers.answer import Answer
from rooftune.answers.ask import first_choice
from rooftune.answers.collect import TIMEOUT_S
from rooftune.answers.post import Poster, each_accepted, posting
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
    async with posting(url, timeout_s) as poster:
        return Scores(tuple(await each_accepted(answers, at_once, lambda a: _score_one(poster, model, a, top))))


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
    inner = (first_choice(reply) or {}).get("prompt_logprobs")
    return inner if inner is not None else reply.get("prompt_logprobs")
