"""The context that a workload needs, for engines whose memory does not hold the model's own."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from rooftune.formatting import number
from rooftune.vllm_rules.defaults import GIB

HEAD_ROOM = 1.25
"""Factor above the longest request, since other seeds draw longer ones."""
MULTIPLE = 256
LEAST = 2048


class FittedContext(BaseModel):
    """A ``max_model_len`` that rooftune set, and why."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    tokens: int
    longest_request_tokens: int
    model_tokens: int = Field(description="the model's own context")
    model_bytes: int = Field(description="KV cache that one request of that length needs")
    available_bytes: int = Field(description="KV cache that there is")

    @property
    def sentence(self) -> str:
        """What was set and why, without a full stop."""
        return (
            f"max_model_len {self.tokens} set by rooftune: the model's {self.model_tokens:,} tokens need "
            f"{number(self.model_bytes / GIB)} GiB of KV cache, {number(self.available_bytes / GIB)} GiB are there; "
            f"the longest request of the workload has {self.longest_request_tokens:,} tokens"
        )


def needed_context(longest_request: int, model_tokens: int) -> int:
    """The context for a workload: its longest request with head-room, at least 2,048, at most the model's.

    >>> needed_context(700, 131072), needed_context(6000, 131072), needed_context(9000, 8192)
    (2048, 7680, 8192)
    """
    length = -(-round(longest_request * HEAD_ROOM) // MULTIPLE) * MULTIPLE
    return min(max(length, LEAST), model_tokens)
