"""Prompts from their seeds: equal where the plan says so, otherwise distinct."""

from __future__ import annotations

import numpy as np

from rooftune.workloads.request_plan import RequestPlan

DEFAULT_VOCAB = 32000
WORDS = (  # noqa: SIM905
    "able acid aged also area army away baby back ball band bank base bath bear beat been best bill bird blow blue "
    "boat body bond bone book boot born boss both bowl burn bush busy call calm came camp card care case cash cast "
    "cell chat city club coal coat code cold come cook cool copy cost crew crop dark data date dawn days dead deal "
    "dear debt deep desk diet dirt disk does done door down draw drew drop drug dual duke dust duty each earn east "
    "easy edge else even ever evil exit face fact fail fair fall farm fast fear feed feel feet fell felt file fill "
    "film find fine fire firm fish five flat flow food foot ford form fort four free from fuel full fund gain game "
    "gate gave gear gift girl give glad goal goes gold golf gone good gray grew grow gulf hair half hall hand hang "
    "hard harm head hear heat held help here hero high hill hire hold hole holy home hope host hour huge hung hunt "
    "hurt idea inch into iron item join jump jury just keen keep kept kick kind king knee knew know lack lady laid "
    "lake land lane last late lead left less life lift like line link list live load loan lock"
).split()
"""Short common words: each is about one token, with the blank before it, for the tokenizers of most models."""


def prompt_token_ids(plan: RequestPlan, i: int, vocab_size: int = DEFAULT_VOCAB) -> list[int]:
    """Token ids of request i, exactly ``plan.prompt_tokens[i]`` of them.

    A turn of a conversation begins with the ids of the turn before it: its prompt and, in the place of the answer, as
    many ids from the seed. So the same seed gives the same requests whatever the server answers.
    """
    ids = usual_ids(vocab_size)
    low, high = ids.start, ids.stop
    n, shared = int(plan.prompt_tokens[i]), int(plan.prefix_tokens[i])
    if plan.conversation[i] >= 0:
        return _numbers(int(plan.prompt_seed[i - int(plan.turn[i])]), n, low, high)
    if plan.blocks is not None and plan.blocks[i]:
        return _of_blocks(plan, i, low, high)
    prefix = _numbers(-1 - int(plan.prefix_id[i]), shared, low, high, plan.seed) if shared else []
    return prefix + _numbers(int(plan.prompt_seed[i]), n - shared, low, high)


def usual_ids(vocab_size: int) -> range:
    """Ids that are ordinary tokens: special ones are at the very beginning or end of a vocabulary."""
    return range(min(1000, vocab_size // 4), vocab_size - vocab_size // 100)


def prompt_text(plan: RequestPlan, i: int) -> str:
    """Plain words for request i: about one token per word. Only the server's count of the length is exact."""
    n, shared = int(plan.prompt_tokens[i]), int(plan.prefix_tokens[i])
    if plan.conversation[i] >= 0:
        if plan.texts is not None:
            return plan.texts[i]
        return _words(_numbers(int(plan.prompt_seed[i - int(plan.turn[i])]), n, 0, len(WORDS)))
    if plan.texts is not None and plan.texts[i]:
        return plan.texts[i]
    if plan.blocks is not None and plan.blocks[i]:
        return _words(_of_blocks(plan, i, 0, len(WORDS)))
    prefix = _numbers(-1 - int(plan.prefix_id[i]), shared, 0, len(WORDS), plan.seed) if shared else []
    return _words(prefix + _numbers(int(plan.prompt_seed[i]), n - shared, 0, len(WORDS)))


def said_text(plan: RequestPlan, i: int) -> str:
    """What the user adds in turn i of a conversation, without the history."""
    if plan.texts is not None:
        return plan.texts[i]
    before = int(plan.prompt_tokens[i - 1] + plan.output_tokens[i - 1]) if plan.turn[i] else 0
    said = max(1, int(plan.prompt_tokens[i]) - before)
    return _words(_numbers(int(plan.prompt_seed[i]), said, 0, len(WORDS)))


def answer_text(plan: RequestPlan, i: int) -> str:
    """Words in the place of the answer to request i, as many as the plan asks for."""
    return _words(_numbers(int(plan.prompt_seed[i]), int(plan.output_tokens[i]), 0, len(WORDS), 1 + plan.seed))


def _of_blocks(plan: RequestPlan, i: int, low: int, high: int) -> list[int]:
    assert plan.blocks is not None
    n, found = int(plan.prompt_tokens[i]), list[int]()
    for block in plan.blocks[i]:
        found += _numbers(-1 - block, min(plan.block_tokens, n - len(found)), low, high, plan.seed)
    return found + _numbers(int(plan.prompt_seed[i]), n - len(found), low, high) if len(found) < n else found


def _numbers(seed: int, n: int, low: int, high: int, salt: int = 0) -> list[int]:
    rng = np.random.Generator(np.random.PCG64([seed & 0xFFFFFFFFFFFFFFFF, salt]))
    found: list[int] = rng.integers(low, high, n).tolist()
    return found


def _words(numbers: list[int]) -> str:
    return " ".join([WORDS[k] for k in numbers])
