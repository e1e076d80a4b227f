"""What the levers that may change answers gain against the load, by the simulator: content of levers.json."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from rooftune.vllm_rules.config import FlagValue

LEVERS = "levers.json"
STREAMS = (1, 8, 64)
"""Requests in flight at which each lever is simulated, besides those at the load of the recommended configuration."""
LeverName = Literal["weights", "kv_cache_dtype", "speculation"]
"""The knobs that may change answers and whose gain depends on the load."""
NAMES: tuple[LeverName, ...] = get_args(LeverName)


class GainAtStreams(BaseModel):
    """One load."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    streams: int = Field(description="requests that are always in flight")
    gain: float = Field(description="tokens per second with the lever over those without it: 1.2 = 20 % more")


class Lever(BaseModel):
    """One lever in the best configuration that uses it."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: LeverName
    candidate: str = Field(description="the best configuration with the lever: recommended, measured, or predicted")
    change: dict[str, FlagValue | None] = Field(description="what of that configuration is the lever")
    gains: list[GainAtStreams] = Field(
        default_factory=list, description="simulated, compared with the same configuration without the lever"
    )
    refused: str = Field(default="", description="why nothing was simulated")


class Levers(BaseModel):
    """Content of levers.json."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    format: int = 1
    levers: list[Lever] = Field(default_factory=list)
