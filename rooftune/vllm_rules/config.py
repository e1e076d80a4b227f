"""The engine flags of one server, typed, with vLLM's names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

FlagValue = bool | int | float | str | dict[str, Any]


class EngineConfig(BaseModel):
    """Flags of one vLLM server. None = not passed: the engine's own default of its version applies."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    model: str
    dtype: str | None = None
    quantization: str | None = None
    max_model_len: int | None = None
    gpu_memory_utilization: float | None = None
    kv_cache_memory_bytes: int | None = None
    kv_cache_dtype: str | None = None
    block_size: int | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    long_prefill_token_threshold: int | None = None
    enable_chunked_prefill: bool | None = None
    enable_prefix_caching: bool | None = None
    async_scheduling: bool | None = None
    scheduling_policy: str | None = None
    stream_interval: int | None = None
    enforce_eager: bool | None = None
    compilation_config: dict[str, Any] | None = None
    attention_backend: str | None = None
    speculative_config: dict[str, Any] | None = None
    tensor_parallel_size: int | None = None
    watermark: float | None = None
    performance_mode: str | None = None
    served_model_name: str | None = None
    tokenizer: str | None = None
    seed: int | None = None
    other_flags: dict[str, FlagValue] = Field(
        default_factory=dict, validation_alias=AliasChoices("other_flags", "extra")
    )
    """Flags without a field here, passed on as they are. Old plan.json files call them ``extra``."""

    def with_change(self, change: Mapping[str, FlagValue | None]) -> EngineConfig:
        """A copy with the flags of ``change`` set; None removes a flag.

        ``rooftune.vllm_rules.validation`` checks the names.
        """
        fields = {k: v for k, v in change.items() if k in EngineConfig.model_fields and k != "other_flags"}
        others = {**self.other_flags, **{k: v for k, v in change.items() if k not in fields}}
        kept = {k: v for k, v in others.items() if v is not None}
        return EngineConfig.model_validate({**self.model_dump(), **fields, "other_flags": kept})

    def flags(self) -> dict[str, FlagValue]:
        """The flags that are set, without ``model``."""
        fields = self.model_dump(exclude={"model", "other_flags"}, exclude_none=True)
        return {**fields, **self.other_flags}
