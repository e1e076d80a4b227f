"""Which of a plan's real texts were sent, how many times, and what the prefix cache should have had of them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from rooftune.workloads.request_plan import RequestPlan


class TextsSent(BaseModel):
    """What a load sent of its real texts, without the texts. Part of load.json."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    available: int = Field(description="prompts of the part that was sent")
    sent: int = Field(description="prompts that were sent; a conversation counts as one")
    distinct: int = Field(description="different prompts among those sent")
    passes: int = Field(description="number of passes through the available prompts; the last may be a part of one")
    salted: bool = Field(description="each pass had its own cache_salt, so that vLLM caches it apart from the others")
    shared_share: float = Field(
        description="share of all prompt tokens that repeat the beginning of an earlier request"
    )


def texts_sent(plan: RequestPlan, index: npt.NDArray[np.integer]) -> TextsSent | None:
    """What the sent requests of a plan had in common; None where its prompts are drawn.

    Args:
        plan: the whole plan.
        index: the requests that were sent.
    """
    if plan.prompts is None or plan.prompt is None:
        return None
    sent = plan.take(np.sort(index))
    first = sent.turn == 0
    assert sent.prompt is not None
    chosen = sent.prompt[first]
    keys = {plan.prompts[i].key for i in np.unique(chosen).tolist()}
    return TextsSent(
        available=len(plan.prompts),
        sent=len(chosen),
        distinct=len(keys),
        passes=-(-len(chosen) // len(plan.prompts)),
        salted=plan.salt is not None,
        shared_share=shared_share(sent),
    )


def shared_share(plan: RequestPlan) -> float:
    """Share of the prompt tokens with which an earlier request began, if a cache kept all of them."""
    blocks = plan.blocks or ((),) * len(plan)
    seen_blocks: set[int] = set()
    seen_prompts: set[int] = set()
    common = 0
    for i in range(len(plan)):
        size, named = int(plan.prompt_tokens[i]), blocks[i]
        known = sum(1 for b in named if b in seen_blocks) * plan.block_tokens
        if plan.turn[i] and i and plan.conversation[i - 1] == plan.conversation[i]:
            known = max(known, int(plan.prompt_tokens[i - 1] + plan.output_tokens[i - 1]))
        elif int(plan.prompt_seed[i]) in seen_prompts:
            known = size - 1
        seen_blocks.update(named)
        seen_prompts.add(int(plan.prompt_seed[i]))
        common += min(known, size - 1) // plan.block_tokens * plan.block_tokens
    total = int(plan.prompt_tokens.sum(dtype=np.int64))
    return common / total if total else 0.0
