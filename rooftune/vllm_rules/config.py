"""The engine flags of one server, typed, with vLLM's names."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

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
    extra: dict[str, FlagValue] = {}
    """Flags that rooftune does not model but passes through (the registry knows them)."""

    def with_flags(self, flags: dict[str, FlagValue]) -> EngineConfig:
        """A copy with these flags set; unknown names go to ``extra`` (validate with ``engines.flags`` first)."""
        known = {k: v for k, v in flags.items() if k in EngineConfig.model_fields and k != "extra"}
        extra = {**self.extra, **{k: v for k, v in flags.items() if k not in known}}
        return EngineConfig.model_validate({**self.model_dump(), **known, "extra": extra})

    def flags(self) -> dict[str, FlagValue]:
        """What is set, as one mapping without ``model``."""
        own = self.model_dump(exclude={"model", "extra"}, exclude_none=True)
        return {**own, **self.extra}
