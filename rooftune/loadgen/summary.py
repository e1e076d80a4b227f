"""The options of a load, and what the client reports about itself: the content of load.json."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from rooftune.loadgen.texts_sent import TextsSent


class LoadOptions(BaseModel):
    """How to load a server. Times are workload seconds; real seconds are these divided by ``time_scale``."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    url: str
    model: str
    endpoint: Literal["completions", "chat"] = "completions"
    prompt_format: Literal["tokens", "text"] = "tokens"
    vocab_size: int | None = None
    ends: Literal["model", "planned"] = Field(
        default="model",
        description="where answers end by themselves: planned gives each its planned length, for the simulated engine, "
        "which has no text that could end",
    )
    processes: int | None = Field(default=None, description="None = as many as the rate needs, limited by idle cores")
    time_scale: float = 1.0
    request_timeout_s: float = 600.0
    api_key_env: str = "OPENAI_API_KEY"
    stream: bool = True
    continuous_usage: bool = Field(
        default=False,
        description="request usage with every chunk (vLLM), which reports the tokens in each; costs the server time",
    )


class LoadSummary(BaseModel):
    """What the client reports about one load. All times are workload seconds from the start of the load."""

    model_config = ConfigDict(extra="forbid")
    workload: str
    seed: int
    started_at: float = Field(description="seconds since the epoch at load start")
    window_start_s: float
    window_end_s: float
    drain_s: float = Field(description="limit of the drain")
    drained_after_s: float = Field(description="when the last request ended or was cut")
    scheduled: int
    asked_rate_per_s: float | None = Field(description="of the schedule over the measured window; None = closed loop")
    concurrency: int | None = None
    planned_lengths: str = Field(
        default="exact", description="where planned lengths of real texts are from: tokenizer, server or estimate"
    )
    texts: TextsSent | None = Field(default=None, description="None = prompts were drawn")
    processes: int = 1
    time_scale: float = 1.0
    send_lag_p50_ms: float = 0.0
    send_lag_p99_ms: float = 0.0
    send_lag_max_ms: float = 0.0
    client_cpu_share: float = Field(default=0.0, description="busiest client process: CPU seconds / wall seconds")
    loop_lag_p99_ms: float | None = None
    gc_pause_max_ms: float | None = None
    descriptors_limit: int | None = None
    descriptors_peak: int | None = None
    connections_peak: int | None = None
    stream_interval_seen: float | None = Field(
        default=None, description="tokens per chunk, mean over completed responses"
    )
    host: dict[str, float] = Field(default_factory=dict)
    notes: list[str] = Field(default_factory=list)
