"""Flags that do not go together: refused in one sentence where vLLM would refuse or ignore one of them."""

from __future__ import annotations

from collections.abc import Mapping

from packaging.version import Version

from rooftune.errors import InputError
from rooftune.hardware.accelerator import Accelerator
from rooftune.vllm_rules.config import EngineConfig
from rooftune.vllm_rules.flags import default
from rooftune.vllm_rules.scheduling import async_scheduling
from rooftune.vllm_rules.speculation import (
    HAS_SCHEDULES,
    METHODS,
    NEED_A_MODEL,
    NEED_TOKENS,
    SCHEDULE,
    has_method,
    schedule_error,
    speculation,
)
from rooftune.vllm_rules.versions import parse_version

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
_ANY_GPU = Accelerator(
    name="any",
    compute_capability=(9, 0),
    memory_bytes=0,
    bandwidth_bytes_per_s=0.0,
    flops_per_s={},
)
"""Contradictions are checked before the device is known; what a GPU refuses, a CPU ignores."""


def refuse_contradictions(config: EngineConfig, engine_version: str) -> None:
    """Check the flags against each other.

    Raises:
        InputError: the first contradiction.
    """
    _ranges(config)
    _budget(config)
    _graphs(config)
    _speculation(config, engine_version)
    _asynchronous(config, engine_version)


def idle_flags(config: EngineConfig, engine_version: str) -> list[str]:
    """Flags that change nothing, and what a user should know about others."""
    notes = []
    if config.kv_cache_memory_bytes is not None and config.gpu_memory_utilization is not None:
        notes.append("kv_cache_memory_bytes sets the size of the KV cache, so gpu_memory_utilization does not")
    if config.enable_prefix_caching is False and "prefix_caching_hash_algo" in config.other_flags:
        notes.append("prefix_caching_hash_algo has no effect without prefix caching")
    if config.other_flags.get("disable_log_stats"):
        notes.append("disable_log_stats silences /metrics, so the audit cannot compare the client with the server")
    for name, value in config.flags().items():
        if value == default(name, engine_version) and name not in ("seed", "dtype"):
            notes.append(f"{name}={value} is the default of vLLM {engine_version}")
    return notes


def _ranges(config: EngineConfig) -> None:
    flags = config.flags()
    for name in AT_LEAST_ONE:
        value = flags.get(name)
        if isinstance(value, int) and value < 1:
            raise InputError(f"{name} is {value}, but it must be at least 1.")
    length = config.max_model_len
    if length is not None and length < 1 and length != -1:
        raise InputError(f"max_model_len is {length}, but it must be at least 1 (or -1 for the longest that fits).")
    utilization = config.gpu_memory_utilization
    if utilization is not None and not 0 < utilization <= 1:
        raise InputError(f"gpu_memory_utilization is {utilization:g}, but it is a share: above 0 and at most 1.")
    if config.watermark is not None and not 0 <= config.watermark < 1:
        raise InputError(f"watermark is {config.watermark:g}, but it is a share: from 0 to below 1.")


def _budget(config: EngineConfig) -> None:
    budget, seqs, length = config.max_num_batched_tokens, config.max_num_seqs, config.max_model_len
    if budget is not None and seqs is not None and budget < seqs:
        raise InputError(
            f"max_num_batched_tokens ({budget}) is below max_num_seqs ({seqs}), but every sequence needs one token per "
            "step; raise the first or lower the second."
        )
    if config.enable_chunked_prefill is False and budget is not None and length is not None and budget < length:
        raise InputError(
            f"without chunked prefill a prompt must fit one step, but max_num_batched_tokens ({budget}) is below "
            f"max_model_len ({length}); raise it or leave chunked prefill on."
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
            f"cudagraph_mode {asked} needs compilation, but compilation_config switches it off; use FULL_DECODE_ONLY "
            "or FULL."
        )
    sizes = ("cudagraph_capture_sizes", "max_cudagraph_capture_size")
    if config.enforce_eager and any(name in config.other_flags for name in sizes):
        raise InputError("enforce_eager switches CUDA graphs off, so there are no sizes to capture; drop one of them.")


def _speculation(config: EngineConfig, engine_version: str) -> None:
    engine = parse_version(engine_version)
    short = [n for n in ("spec_method", "spec_model", "spec_tokens") if n in config.other_flags]
    if config.speculative_config is not None and short:
        raise InputError(f"{short[0]} and speculative_config say the same thing; drop one of them.")
    spec = speculation(config)
    if spec is None:
        if config.speculative_config is not None:
            raise InputError(_NAMELESS)
        return
    if not spec.method and not spec.model:
        raise InputError(_NAMELESS)
    _method(spec.method, engine)
    if spec.method in NEED_A_MODEL and not spec.model:
        raise InputError(
            f"speculative decoding by {spec.method} needs a model; name it in speculative_config, or use ngram."
        )
    named = (config.speculative_config or {}).get("num_speculative_tokens", config.other_flags.get("spec_tokens"))
    if named is not None and (not isinstance(named, int) or isinstance(named, bool) or named < 1):
        raise InputError(f"num_speculative_tokens is {named!r}, but it must be a whole number of at least 1.")
    if named is None and spec.method in NEED_TOKENS:
        raise InputError(f"speculative decoding by {spec.method} needs num_speculative_tokens in speculative_config.")
    _schedule(config.speculative_config or {}, engine)


def _schedule(asked: Mapping[str, object], engine: Version) -> None:
    if SCHEDULE not in asked:
        return
    if HAS_SCHEDULES.has(engine) is False:
        raise InputError(f"vLLM {engine} has no {SCHEDULE}; leave it out, or use vLLM {HAS_SCHEDULES.since} or newer.")
    wrong = schedule_error(asked)
    if wrong:
        raise InputError(f"{SCHEDULE} is refused: {wrong}; write for example [[1, 8, 3], [9, 64, 1]].")


def _asynchronous(config: EngineConfig, engine_version: str) -> None:
    if not config.async_scheduling:
        return
    found = async_scheduling(_ANY_GPU, None, config, parse_version(engine_version))
    if found.refuses:
        raise InputError(
            f"async_scheduling cannot be on in vLLM {engine_version}: {found.reason}; leave async_scheduling out."
        )


_NAMELESS = 'speculative_config names neither a method nor a model; write for example {"method": "ngram", ...}.'


def _method(method: str, engine: Version) -> None:
    if has_method(method, engine) is not False:
        return
    others = [name for name in METHODS if has_method(name, engine)]
    raise InputError(f"vLLM {engine} has no speculative method {method}; it has {', '.join(others)}.")
