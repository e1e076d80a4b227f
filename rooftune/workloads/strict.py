"""The base of everything that a workload file contains, and the counts that it may hold."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

MOST_TOKENS = 10_000_000
"""Longest prompt or answer, far above any context length and far below what a 32-bit column holds."""
MOST_REQUESTS = 20_000_000
"""Most requests, groups of prefixes or requests in flight: they are drawn before the load begins and kept in memory."""
Tokens = Annotated[int, Field(ge=1, le=MOST_TOKENS)]
Count = Annotated[int, Field(ge=1, le=MOST_REQUESTS)]


class Strict(BaseModel):
    """An unknown key is an error, and so are infinity and NaN."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
