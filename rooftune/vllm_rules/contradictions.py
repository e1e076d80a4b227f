"""Flags that do not go together: refused with one sentence where vLLM would refuse or ignore one of them."""

from __future__ import annotations

from typing import Any

from rooftune.errors import InputError
from rooftune.vllm_rules.config import EngineConfig
from rooftune.vllm_rules.flags import OLD, default, parse_version

AT_LEAST_ONE = (
    "max_num_seqs",
    "max_num_batched_tokens",
    "tensor_parallel_size",
    "pipeline_parallel_size",
    "data_parallel_size",
    "block_size",
    "stream_interval",
    "max_num_active_seqs",
    "max_num_scheduled_tokens",
    "num_gpu_blocks_override",
)
SLOW_METHODS = ("ngram", "suffix", "medusa", "mlp_speculator")
"""Speculative methods that do not go with asynchronous scheduling (vLLM 0.15.1 and 0.32.0, ``config/vllm.py``)."""
NEED_A_MODEL = ("draft_model", "eagle", "eagle3", "medusa", "mlp_speculator")


def find(config: EngineConfig, engine_version: str) -> list[str]:
    """Check the flags against each other; return what a user should know.

    Raises:
        InputError: the first contradiction.
    """
    _ranges(config)
    _budget(config)
    _graphs(config)
    _speculation(config, engine_version)
    return _notes(config, engine_version)


def _ranges(config: EngineConfig) -> None:
    flags = config.flags()
    for name in AT_LEAST_ONE:
        value = flags.get(name)
        if isinstance(value, int) and value < 1:
            raise InputError(f"{name} is {value}, but it must be at least 1.")
    length = config.max_model_len
    if length is not None and length < 1 and length != -1:
        raise InputError(f"max_model_len is {length}, but it must be at least 1 (or -1: the longest that fits).")
    utilization = config.gpu_memory_utilization
    if utilization is not None and not 0 < utilization <= 1:
        raise InputError(f"gpu_memory_utilization is {utilization:g}, but it is a share: above 0 and at most 1.")
    if config.watermark is not None and not 0 <= config.watermark < 1:
        raise InputError(f"watermark is {config.watermark:g}, but it is a share: from 0 to below 1.")


def _budget(config: EngineConfig) -> None:
    budget, seqs, length = config.max_num_batched_tokens, config.max_num_seqs, config.max_model_len
    if budget is not None and seqs is not None and budget < seqs:
        raise InputError(
            f"max_num_batched_tokens ({budget}) is below max_num_seqs ({seqs}): every sequence needs a token a step; "
            "raise the first or lower the second."
        )
    if config.enable_chunked_prefill is False and budget is not None and length is not None and budget < length:
        raise InputError(
            f"without chunked prefill a prompt must fit one step, but max_num_batched_tokens ({budget}) is below max_model_len "
            f"({length}); raise it or leave chunked prefill on."
        )
    threshold = config.long_prefill_token_threshold
    if threshold is not None and length is not None and threshold > length > 0:
        raise InputError(f"long_prefill_token_threshold ({threshold}) is above max_model_len ({length}); lower it.")
    for name, limit_name, limit in (
        ("max_num_active_seqs", "max_num_seqs", seqs),
        ("max_num_scheduled_tokens", "max_num_batched_tokens", budget),
    ):
        value = config.other_flags.get(name)
        if isinstance(value, int) and limit is not None and value > limit:
            raise InputError(f"{name} ({value}) is above {limit_name} ({limit}); lower it.")


def _graphs(config: EngineConfig) -> None:
    compilation = config.compilation_config or {}
    asked = str(compilation.get("cudagraph_mode") or "NONE").upper()
    if config.enforce_eager and asked != "NONE":
        raise InputError(
            f"enforce_eager switches CUDA graphs off, but compilation_config asks for {asked}; drop one of them."
        )
    off = str(compilation.get("mode", compilation.get("level", ""))).lower() in ("0", "none")
    if off and "PIECEWISE" in asked:
        raise InputError(
            f"cudagraph_mode {asked} needs compilation, but compilation_config switches it off; use FULL_DECODE_ONLY or FULL."
        )
    if config.enforce_eager and any(
        n in config.other_flags for n in ("cudagraph_capture_sizes", "max_cudagraph_capture_size")
    ):
        raise InputError("enforce_eager switches CUDA graphs off, so there are no sizes to capture; drop one of them.")


def _speculation(config: EngineConfig, engine_version: str) -> None:
    spec = config.speculative_config
    if spec is None:
        return
    short = [n for n in ("spec_method", "spec_model", "spec_tokens") if n in config.other_flags]
    if short:
        raise InputError(f"{short[0]} and speculative_config say the same thing; drop one of them.")
    method, model = _text(spec.get("method")), _text(spec.get("model"))
    if not method and not model:
        raise InputError('speculative_config names neither a method nor a model; for example {"method": "ngram", ...}.')
    if method in NEED_A_MODEL and not model:
        raise InputError(
            f"speculative decoding by {method} needs a model; name it in speculative_config, or use ngram."
        )
    tokens = spec.get("num_speculative_tokens")
    if tokens is not None and (not isinstance(tokens, int) or isinstance(tokens, bool) or tokens < 1):
        raise InputError(f"num_speculative_tokens is {tokens!r}, but it must be a whole number of at least 1.")
    if tokens is None and method in (*SLOW_METHODS[:2], "ngram_gpu", "draft_model"):
        raise InputError(f"speculative decoding by {method} needs num_speculative_tokens in speculative_config.")
    slow = (*SLOW_METHODS, "draft_model") if parse_version(engine_version) <= OLD else SLOW_METHODS
    if config.async_scheduling and method in slow:
        raise InputError(
            f"async_scheduling does not go with speculative decoding by {method}: vLLM {engine_version} refuses to start; "
            "leave async_scheduling out."
        )


def _notes(config: EngineConfig, engine_version: str) -> list[str]:
    notes = []
    if config.kv_cache_memory_bytes is not None and config.gpu_memory_utilization is not None:
        notes.append("kv_cache_memory_bytes sizes the KV cache, gpu_memory_utilization then does not")
    if config.enable_prefix_caching is False and "prefix_caching_hash_algo" in config.other_flags:
        notes.append("prefix_caching_hash_algo has no effect without prefix caching")
    if config.other_flags.get("disable_log_stats"):
        notes.append("disable_log_stats silences /metrics, so the audit cannot check the client against the server")
    for name, value in config.flags().items():
        if value == default(name, engine_version) and name not in ("seed", "dtype"):
            notes.append(f"{name}={value} is the default of vLLM {engine_version}")
    return notes


def _text(value: Any) -> str:
    return str(value) if value else ""
