"""Below which number token ids may be drawn for a server: by its model's facts, or by asking it."""

from __future__ import annotations

from rooftune.engines.ask import ask
from rooftune.errors import RooftuneError

USUAL = 32_000
"""Vocabulary of Llama 2, which nearly every model of today reaches; ids are drawn below it when nothing is known."""
LEAST = 128


def known_vocabulary(model: str) -> int | None:
    """Vocabulary of a model whose facts are known here."""
    from rooftune.models.catalogue import model_facts

    try:
        return model_facts(model).vocab_size if model else None
    except RooftuneError:
        return None


async def vocabulary(url: str, model: str) -> int | None:
    """A number below which the server takes token ids; None = the usual ones will do, or it takes no ids at all.

    A model that is not known here is asked for one token after the largest usual id, and after smaller ones as long as it refuses.
    """
    known = known_vocabulary(model)
    if known is not None:
        return known
    size = USUAL
    while size >= LEAST:
        body = {"model": model, "prompt": [size - 1], "max_tokens": 1, "temperature": 0.0}
        answer = await ask(url, "/v1/completions", body=body, timeout_s=60.0)
        if answer.status not in (400, 422):
            return size if answer.status == 200 and size < USUAL else None
        size //= 2
    return None
