"""The size of a server's vocabulary, which limits the token ids of prompts: from the model's facts or by trial
requests."""

from __future__ import annotations

from rooftune.engines.http_client import request
from rooftune.errors import RooftuneError

USUAL = 32_000
"""Vocabulary of Llama 2. Nearly every current model has at least this many; the default limit for token ids."""
LEAST = 128


def known_vocabulary(model: str) -> int | None:
    """The vocabulary of a model in the catalogue or of a local model; None for others."""
    from rooftune.models.catalogue import model_facts

    try:
        return model_facts(model).vocab_size if model else None
    except RooftuneError:
        return None


async def vocabulary(url: str, model: str) -> int | None:
    """A limit below which the server accepts token ids; None when the usual limit works or the server accepts no ids.

    A server with an unknown model is sent the largest usual id, and smaller ones as long as it refuses.
    """
    known = known_vocabulary(model)
    if known is not None:
        return known
    size = USUAL
    while size >= LEAST:
        body = {"model": model, "prompt": [size - 1], "max_tokens": 1, "temperature": 0.0}
        reply = await request(url, "/v1/completions", body=body, timeout_s=60.0)
        if reply.status not in (400, 422):
            return size if reply.status == 200 and size < USUAL else None
        size //= 2
    return None
