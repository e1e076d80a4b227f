"""A running server as the rest of rooftune sees it. Content of server.json."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from rooftune.engines.target import EngineKind


class EffectiveConfig(BaseModel):
    """The values that the engine reports for its flags, read from its log, ``/metrics``, ``/v1/models`` and
    ``/server_info``.

    None means that the engine did not report the value.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    engine_version: str | None = None
    model: str | None = None
    dtype: str | None = None
    quantization: str | None = None
    linear_kernel: str | None = None
    attention_backend: str | None = None
    max_model_len: int | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    chunked_prefill: bool | None = None
    prefix_caching: bool | None = None
    async_scheduling: bool | None = None
    enforce_eager: bool | None = None
    cuda_graphs: bool | None = None
    kv_cache_dtype: str | None = None
    kv_cache_tokens: int | None = None
    kv_cache_gib: float | None = None
    block_size: int | None = None
    weights_gib: float | None = None
    gpu_memory_utilization: float | None = None
    speculative: str | None = None
    warnings: list[str] = Field(default_factory=list)
    recommended: dict[str, str] = Field(default_factory=dict, description="flags that the log recommends")
    raw: dict[str, Any] = Field(default_factory=dict)


class Limits(BaseModel):
    """The limits of a scheduler that rooftune can lower while the server runs (``rooftune/engines/switching.py``)."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    max_num_seqs: int
    max_num_batched_tokens: int
    long_prefill_token_threshold: int = Field(description="0 = long prompts are not cut")


class Switched(BaseModel):
    """How a running server became that of another trial."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    server_of: str = Field(description="the trial that started the server, such as baseline/1")
    started: Limits = Field(description="limits that the server started with")
    limits: Limits = Field(description="limits that its scheduler acknowledged")
    log_from: int = Field(description="byte of that trial's server.log at which this trial begins")


class ServerInfo(BaseModel):
    """A server that is up and has answered a warm-up request."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    engine: EngineKind
    url: str
    model: str = Field(description="model name to send in requests")
    command: list[str] = Field(default_factory=list)
    environment: dict[str, str] = Field(default_factory=dict, description="what was set on top of the environment")
    supervisor_pid: int | None = None
    server_pid: int | None = None
    started_at: float = Field(description="seconds since the epoch")
    ready_after_s: float
    log: str | None = None
    time_scale: float = 1.0
    simulated: bool
    vocab_size: int | None = None
    effective: EffectiveConfig = Field(default_factory=EffectiveConfig)
    switchable: Limits | None = Field(
        default=None, description="limits that it started with, if its scheduler can lower them while it runs"
    )
    switched: Switched | None = Field(default=None, description="None = the server was started for this trial")
