"""The rules by which vLLM refuses to start, each with its source; a refusal has vLLM's words."""

from __future__ import annotations

from dataclasses import dataclass

from rooftune.errors import EngineError


@dataclass(frozen=True)
class Rule:
    """Why an engine does not start."""

    id: str
    kind: str
    """Failure class, as the log reader names it."""
    source: str
    """File of vLLM, release notes, or issue."""
    estimated: bool = False
    """It follows from an estimate of memory, so a real engine may start all the same."""


RULES = {
    rule.id: rule
    for rule in (
        Rule("wheel", "driver", "vLLM installation guide, wheels by compute capability"),
        Rule("quantization-mismatch", "quantization", "config/model.py, _verify_quantization"),
        Rule("quantization-capability", "quantization", "config/vllm.py, get_min_capability of the method"),
        Rule("quantization-scheme", "quantization", "quantization/compressed_tensors/compressed_tensors.py, _check_scheme_supported"),
        Rule("fp8-weight-only", "quantization", "kernels/linear/__init__.py; vLLM issues 53376 and 55008, pull request 55884"),
        Rule("bfloat16", "dtype", "platforms/cuda.py, check_if_supports_dtype"),
        Rule("float16-model", "dtype", "config/model.py, _FLOAT16_NOT_SUPPORTED_MODELS"),
        Rule("context-of-model", "max_model_len", "config/model.py, _get_and_verify_max_len"),
        Rule("budget-below-context", "budget", "config/scheduler.py"),
        Rule("budget-below-sequences", "budget", "config/scheduler.py"),
        Rule("attention-heads", "tensor parallel", "config/model.py, verify_with_parallel_config"),
        Rule("kv-heads", "tensor parallel", "models/llama.py and its descendants: assert in the attention layer"),
        Rule("shards", "tensor parallel", "distributed/utils.py, ensure_divisibility"),
        Rule("fp8-block", "tensor parallel", "quantization/utils/fp8_utils.py, validate_fp8_block_shape; vLLM issue 17569"),
        Rule("quantization-group", "tensor parallel", "quantization/awq.py and gptq.py, create_weights; vLLM issue 11671"),
        Rule("attention-backend", "attention", "v1/attention/selector.py"),
        Rule("kv-dtype", "attention", "platforms/cuda.py and v1/attention/backends"),
        Rule("sinks", "attention", "v1/attention/backends, supports_sink; vLLM issues 22331 and 40153"),
        Rule("free-memory", "memory taken", "v1/worker/utils.py, request_memory", estimated=True),
        Rule("nccl-buffers", "memory taken", "v1/worker/gpu_worker.py; vLLM pull request 25359", estimated=True),
        Rule("weights", "oom", "v1/worker/gpu_model_runner.py, load_model", estimated=True),
        Rule("no-kv-memory", "kv memory", "v1/core/kv_cache_utils.py", estimated=True),
        Rule("longest-request", "kv memory", "v1/core/kv_cache_utils.py", estimated=True),
        Rule("warm-up", "oom", "v1/worker/gpu_worker.py, compile_or_warm_up_model; vLLM issue 27508", estimated=True),
    )
}  # fmt: skip


class StartRefused(EngineError):
    """The engine would not start. The message has vLLM's words; ``rule`` says why."""

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(message, RULES[rule].kind)
        self.rule = RULES[rule]

    def __reduce__(self) -> tuple[type, tuple[str, str]]:  # type: ignore[override]
        return (type(self), (self.rule.id, str(self)))
