"""Real trials: one configuration under one closed loop each, with what was measured.

``data/trials.json`` was typed from the public result files that it names. The source's own client
(``polyserve/calibrate/measure.py``) sends every prompt over one ``httpx`` client: ``concurrency`` requests at a
time, at most a hundred connections, the time to the first token counted from when a request may go, throughput over
the whole time.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

DATA = Path(__file__).parent / "data" / "trials.json"
QUANTIZATION = {"bf16": "none", "fp8": "fp8", "gptq": "gptq", "awq": "awq"}


class Trial(BaseModel):
    """One record: a configuration at one concurrency."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    source_file: str
    gpu: str
    vllm_version: str
    model: str
    workload: str
    quant: str
    max_model_len: int
    max_num_seqs: int
    gpu_memory_utilization: float
    kv_dtype: str
    prefix_cache: bool
    spec: str | None
    max_num_batched_tokens: int | None
    attention_backend: str | None
    mean_prompt_tokens: int
    prompt_tokens_assumed: bool
    shared_prefix_tokens: int
    natural_stop: bool
    max_output_tokens: int
    concurrency: int | None
    mean_output_tokens: float | None
    requests: int | None
    tok_s: float | None
    ttft_p50_ms: float | None
    tpot_ms: float | None
    power_w: float | None
    kv_tokens_logged: int | None
    weights_mb: float | None
    failed: str | None
    prompts_cached_by_earlier_level: bool

    @property
    def flags(self) -> dict[str, Any]:
        """The flags of its server."""
        flags: dict[str, Any] = {
            "max_model_len": self.max_model_len,
            "max_num_seqs": self.max_num_seqs,
            "gpu_memory_utilization": self.gpu_memory_utilization,
        }
        if self.kv_dtype != "auto":
            flags["kv_cache_dtype"] = self.kv_dtype
        if self.quant == "fp8":
            flags["quantization"] = "fp8"
        if not self.prefix_cache:
            flags["enable_prefix_caching"] = False
        for name in ("max_num_batched_tokens", "attention_backend"):
            if getattr(self, name) is not None:
                flags[name] = getattr(self, name)
        if self.spec:
            flags["speculative_config"] = self.speculation
        return flags

    @property
    def speculation(self) -> dict[str, Any]:
        """vLLM's speculative_config; 'draft:0.5B:4' names the model of that size in the same family."""
        method, *size, tokens = (self.spec or "none:0").split(":")
        if method == "draft":
            named = {"0.5B": "qwen2.5-0.5b", "1B": "llama-3.2-1b"}[size[0]]
            return {"method": "draft_model", "model": named, "num_speculative_tokens": int(tokens)}
        return {"method": method, "num_speculative_tokens": int(tokens)}

    @property
    def group(self) -> str:
        """Trials that one would choose between: the same GPU, model, workload, concurrency and engine version."""
        parts = (self.gpu, self.model, self.workload, str(self.concurrency), self.vllm_version, str(self.requests))
        return "/".join([*parts, "cached" if self.prompts_cached_by_earlier_level else "fresh"])

    @property
    def words(self) -> str:
        """The trial in one line."""
        more = [self.spec or "", "" if self.prefix_cache else "no prefix cache", self.attention_backend or ""]
        what = f"{self.gpu} vLLM {self.vllm_version} {self.model} {self.quant} KV {self.kv_dtype}"
        return " ".join(
            [what, self.workload, f"c={self.concurrency}", f"seqs={self.max_num_seqs}", *filter(None, more)]
        )


@cache
def trials() -> tuple[Trial, ...]:
    """All records."""
    read = json.loads(DATA.read_text(encoding="utf-8"))
    return tuple(Trial.model_validate(t) for t in read["trials"])


def measured(speculative: bool = False) -> list[Trial]:
    """The trials that ran, with or without speculative decoding."""
    return [t for t in trials() if t.failed is None and t.tok_s is not None and bool(t.spec) == speculative]
