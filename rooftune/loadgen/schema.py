"""Parquet schemas of what a trial records. All times are workload seconds from the start of the load."""

from __future__ import annotations

import pyarrow as pa

from rooftune.engines.metrics import POSITIONS, position_column

VERSION = "1"
_METADATA = {b"rooftune.schema": VERSION.encode()}

STATUSES = ("completed", "failed", "refused", "cut", "never_begun")
"""completed: ended as requested. failed: error, broken stream, timeout. refused: HTTP 429 or 503. cut: in flight when
the drain ended. never_begun: scheduled but not sent."""

REQUESTS = pa.schema(
    [
        pa.field("index", pa.int32(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("error_class", pa.string()),
        pa.field("error", pa.string()),
        pa.field("http_status", pa.int16()),
        pa.field("scheduled_s", pa.float64(), nullable=False),
        pa.field("sent_s", pa.float64()),
        pa.field("first_token_s", pa.float64()),
        pa.field("last_token_s", pa.float64()),
        pa.field("answer_s", pa.float64()),  # first token after the reasoning; None where nothing was reasoned
        pa.field("end_s", pa.float64()),
        pa.field("planned_prompt_tokens", pa.int32(), nullable=False),
        pa.field("planned_output_tokens", pa.int32(), nullable=False),
        pa.field("prompt_tokens", pa.int32()),  # usage
        pa.field("output_tokens", pa.int32()),  # usage; None when the server sent none
        pa.field("cached_tokens", pa.int32()),  # usage.prompt_tokens_details
        pa.field("reasoning_tokens", pa.int32()),  # before the answer, by usage or by the chunks; None: no reasoning
        pa.field("streamed_tokens", pa.int32(), nullable=False),  # tokens that arrived, also of a cut request
        pa.field("chunks", pa.int32(), nullable=False),
        pa.field("finish_reason", pa.string()),
        pa.field("prefix_id", pa.int32(), nullable=False),
        pa.field("conversation", pa.int32(), nullable=False),
        pa.field("turn", pa.int32(), nullable=False),
        pa.field("part", pa.int16(), nullable=False),
        pa.field("adapter", pa.string()),  # LoRA adapter that was asked for; None: the base model
        pa.field("process", pa.int16(), nullable=False),
        pa.field("bytes_received", pa.int64(), nullable=False),
        pa.field("chunk_s", pa.list_(pa.float32()), nullable=False),  # arrival of each content chunk after scheduled_s
        pa.field("chunk_tokens", pa.list_(pa.int16())),  # tokens in each chunk if the server reports them; else null
    ],
    metadata=_METADATA,
)

TICKS = pa.schema(
    [
        pa.field("t_s", pa.float64(), nullable=False),
        pa.field("up", pa.bool_(), nullable=False),  # /metrics answered
        pa.field("running", pa.float64()),
        pa.field("waiting", pa.float64()),
        pa.field("kv_usage", pa.float64()),  # 0..1
        pa.field("prompt_tokens_total", pa.float64()),
        pa.field("generation_tokens_total", pa.float64()),
        pa.field("request_success_total", pa.float64()),
        pa.field("preemptions_total", pa.float64()),
        pa.field("prefix_queries_total", pa.float64()),
        pa.field("prefix_hits_total", pa.float64()),
        pa.field("spec_drafts_total", pa.float64()),
        pa.field("spec_draft_tokens_total", pa.float64()),
        pa.field("spec_accepted_tokens_total", pa.float64()),
        *(pa.field(position_column(n + 1), pa.float64()) for n in range(POSITIONS)),
        pa.field("ttft_sum_s", pa.float64()),
        pa.field("ttft_count", pa.float64()),
        pa.field("queue_sum_s", pa.float64()),
        pa.field("queue_count", pa.float64()),
        pa.field("iteration_tokens_sum", pa.float64()),
        pa.field("iteration_tokens_count", pa.float64()),
        pa.field("behind_s", pa.float64()),  # simulated engine: how late its clock was, p99 so far
        pa.field("client_in_flight", pa.int32(), nullable=False),
        pa.field("client_connections", pa.int32(), nullable=False),
        pa.field("client_cpu_share", pa.float64()),
        pa.field("host_cpu_share", pa.float64()),
        pa.field("host_swap_bytes", pa.float64()),
        pa.field("gpu_count", pa.float64()),  # GPUs that a sample covers: those on which a process computes
        pa.field("gpu_power_w", pa.float64()),
        pa.field("gpu_energy_j", pa.float64()),  # counter of the driver
        pa.field("gpu_temperature_c", pa.float64()),
        pa.field("gpu_sm_clock_mhz", pa.float64()),
        pa.field("gpu_memory_clock_mhz", pa.float64()),
        pa.field("gpu_utilization", pa.float64()),
        pa.field("gpu_memory_used_bytes", pa.float64()),
        pa.field("gpu_throttle_reasons", pa.int64()),  # NVML bit mask
    ],
    metadata=_METADATA,
)
