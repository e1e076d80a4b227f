"""Reads the effective configuration of an engine from its start-up log, ``/metrics``, ``/v1/models`` and
``/server_info``.

The parser understands vLLM from 0.11 to 0.33 and the simulated engine, which writes the same lines. A value that the
engine does not report stays None. Nothing is guessed, except where a missing line has a meaning (see
``_asynchronous``).
"""

from __future__ import annotations

import ast
import math
import os
import re
from pathlib import Path
from typing import Any

from packaging.version import Version

from rooftune.engines import failures, metrics
from rooftune.engines.log_lines import without_colours
from rooftune.engines.server import EffectiveConfig
from rooftune.engines.start_stages import start_facts
from rooftune.vllm_rules.log_texts import PRINTS_ASYNC
from rooftune.vllm_rules.scheduling import ON_BY_DEFAULT
from rooftune.vllm_rules.versions import version as parsed

_CONFIG = re.compile(r"Initializing a V1 LLM engine \(v([^)]+)\) with config: (.+)")
_ATTENTION = re.compile(r"Using (?:AttentionBackendEnum\.)?(\w+) attention backend")
_ATTENTION_NAMED = re.compile(r"Using AttentionBackendEnum\.(\w+) backend|Using ([A-Z][A-Z0-9_]{3,}) backend\.")
_KERNEL = re.compile(r"(?:Using|Selected) (\w+LinearKernel) for (\w+)")
_KV_TOKENS = re.compile(r"(?:GPU|CPU) KV cache size: ([\d,]+) tokens")
_KV_GIB = re.compile(r"Available KV cache memory: (-?[\d.]+) GiB")
_KV_GIB_CPU = re.compile(r"(?:Explicitly|Auto) set \(([\d.]+)/[\d.]+\) GiB for KV cache")
_WEIGHTS = re.compile(r"Model loading took ([\d.]+) GiB")
_CONCURRENCY = re.compile(r"Maximum concurrency for [\d,]+ tokens per request: ([\d.]+)x")
_BUDGET = re.compile(r"Chunked prefill is enabled with max_num_batched_tokens=(\d+)")
_RANGES = re.compile(r"'compile_ranges_(?:endpoints|split_points)': \[([\d, ]*)\]")
_INIT = re.compile(r"init engine \(profile, create kv cache, warmup model\) took ([\d.]+) s")
_ARGUMENTS = re.compile(r"non-default args: (\{.*\})")
_ADVICE = re.compile(r"\b[Uu]se (?:--([a-z][\w-]*)[= ]|([a-z]\w*)=)([\w.-]*\w) for (?:faster|better)\b")
"""A flag with a value that the engine itself recommends, such as "Use quantization=awq_marlin for faster inference"."""
_DTYPE = re.compile(r"Casting torch\.\w+ to torch\.(\w+)")


def read_effective(
    log_text: str,
    metrics_text: str | None = None,
    models_json: object = None,
    version: str | None = None,
    server_info: object = None,
) -> EffectiveConfig:
    """Read the effective configuration.

    Args:
        log_text: the start-up log; empty for an endpoint.
        metrics_text: the ``/metrics`` page, or None.
        models_json: the reply of ``/v1/models``, or None.
        version: the reply of ``/version``; None reads it from the log.
        server_info: the reply of ``/server_info?config_format=json`` (vLLM's development mode), or None.
    """
    log_text = without_colours(log_text)
    found = _CONFIG.search(log_text)
    line = found[2] if found else ""
    cache = metrics.info(metrics_text or "")
    stated = _settings(server_info)
    passed = _passed(log_text)
    engine_version = version or (found[1] if found else None)
    values: dict[str, Any] = {
        "engine_version": engine_version,
        "model": _model(models_json) or _field(line, "model"),
        "dtype": _field(line, "dtype", r"(?:torch\.)?(\w+)"),
        "quantization": _nothing(_field(line, "quantization")),
        "linear_kernel": _linear_kernel(log_text),
        "attention_backend": _attention(log_text, line),
        "max_model_len": _length(models_json) or _number(_field(line, "max_seq_len")),
        "max_num_seqs": _number(
            stated.get("max_num_seqs") or passed.get("max_num_seqs") or _field(line, "max_num_seqs")
        ),
        "max_num_batched_tokens": _number(stated.get("max_num_batched_tokens")) or _budget(log_text, line),
        "chunked_prefill": _truth(_field(line, "enable_chunked_prefill")),
        "prefix_caching": _truth(cache.get("enable_prefix_caching") or _field(line, "enable_prefix_caching")),
        "async_scheduling": _asynchronous(log_text, engine_version, stated.get("async_scheduling")),
        "enforce_eager": _truth(_field(line, "enforce_eager")),
        "cuda_graphs": _graphs(line),
        "kv_cache_dtype": cache.get("cache_dtype") or _field(line, "kv_cache_dtype"),
        "kv_cache_tokens": _kv_tokens(log_text, cache),
        "kv_cache_gib": _first(log_text, _KV_GIB) or _first(log_text, _KV_GIB_CPU),
        "block_size": _number(cache.get("block_size") or _field(line, "block_size")),
        "weights_gib": _first(log_text, _WEIGHTS),
        "gpu_memory_utilization": _decimal(cache.get("gpu_memory_utilization")),
        "speculative": _speculative(line, passed),
    }
    advice = {(found[1] or found[2]).replace("-", "_"): found[3] for found in _ADVICE.finditer(log_text)}
    warnings = failures.log_warnings(log_text)
    return EffectiveConfig(**values, warnings=warnings, recommended=advice, raw=_raw(log_text, cache, passed))


def log_tail(path: Path, most: int = 4 * 2**20) -> str:
    """The end of a log, at most ``most`` bytes."""
    try:
        with path.open("rb") as handle:
            handle.seek(0, os.SEEK_END)
            handle.seek(max(0, handle.tell() - most))
            return handle.read().decode(errors="replace")
    except OSError:
        return ""


def _field(line: str, name: str, value: str = r"'?([^',)]*)'?") -> str | None:
    """The value of ``name=value`` in the line with the resolved configuration."""
    found = re.search(rf"(?:^|, ){name}={value}", line)
    return found[1] if found else None


def _passed(log_text: str) -> dict[str, Any]:
    """The flags that were passed, as the engine logs them."""
    found = _ARGUMENTS.search(log_text)
    if found is None:
        return {}
    try:
        value = ast.literal_eval(found[1])
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return {}
    return {str(k): _storable(v) for k, v in _mapping(value).items()}


def _storable(value: object) -> Any:
    """The value as JSON can hold it."""
    if isinstance(value, dict):
        return {str(k): _storable(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_storable(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, (str, int, float)) or value is None else repr(value)


def _settings(server_info: object) -> dict[str, Any]:
    """The scheduler's settings from ``/server_info``, whose layout differs between versions."""
    config = _mapping(_mapping(server_info).get("vllm_config"))
    return _mapping(config.get("scheduler_config"))


def _mapping(value: object) -> dict[str, Any]:
    """The value if it is a mapping, else an empty one."""
    return value if isinstance(value, dict) else {}


def _asynchronous(log_text: str, version: str | None, stated: object) -> bool | None:
    """Some versions log whether it is on. Later ones log only that it is off, so a missing line means on, except on a
    CPU."""
    if isinstance(stated, bool):
        return stated
    if re.search(r"Async(?:hronous)? scheduling (?:is|will be) disabled|Async scheduling not supported", log_text):
        return False
    found = re.search(r"Asynchronous scheduling is (enabled|disabled)", log_text)
    if found:
        return found[1] == "enabled"
    config = _CONFIG.search(log_text)
    if config is None or version is None or _field(config[2], "device_config") == "cpu":
        return None
    if _passed(log_text).get("async_scheduling") is False:
        return False
    return _silence(parsed(version))


def _silence(engine: Version) -> bool | None:
    """What a log means that says nothing about asynchronous scheduling."""
    return bool(ON_BY_DEFAULT.has(engine)) if PRINTS_ASYNC.has(engine) is not True else None


def _graphs(line: str) -> bool | None:
    """Whether CUDA graphs are replayed. They are not in eager mode, on a CPU, or with ``cudagraph_mode`` NONE."""
    if not line:
        return None
    if _field(line, "enforce_eager") == "True" or _field(line, "device_config") == "cpu":
        return False
    mode = re.search(r"'cudagraph_mode': (?:<CUDAGraphMode\.(\w+)|'(\w+)')", line)
    return (mode[1] or mode[2]) != "NONE" if mode else True


def _attention(log_text: str, line: str) -> str | None:
    found = _ATTENTION.search(log_text) or _ATTENTION_NAMED.search(log_text)
    if found:
        return str(found[found.lastindex or 1]).upper()
    return "CPU_ATTN" if _field(line, "device_config") == "cpu" else None


def _linear_kernel(log_text: str) -> str | None:
    if "so forcing awq" in log_text:
        return "AWQ GEMM"
    found = _KERNEL.search(log_text)
    if found:
        return found[1].removesuffix("LinearKernel")
    return (
        "Marlin" if re.search(r"(?:Using|The model is convertible to) (?:awq_|gptq_)?marlin", log_text, re.I) else None
    )


def _budget(log_text: str, line: str) -> int | None:
    """The token budget. vLLM 0.32 does not log it, but it is the end of the ranges that it compiles for."""
    found = _BUDGET.search(log_text)
    if found:
        return _number(found[1])
    ranges = _RANGES.search(line)
    numbers = [n for text in ranges[1].split(",") if (n := _number(text)) is not None] if ranges else []
    return max(numbers) if numbers else _number(_passed(log_text).get("max_num_batched_tokens"))


def _kv_tokens(log_text: str, cache: dict[str, str]) -> int | None:
    tokens = _number(cache.get("kv_cache_size_tokens")) or _number(
        (_match(_KV_TOKENS, log_text) or "").replace(",", "")
    )
    blocks, size = _number(cache.get("num_gpu_blocks")), _number(cache.get("block_size"))
    return tokens or (blocks * size if blocks and size else None)


def _speculative(line: str, passed: dict[str, Any]) -> str | None:
    text = _field(line, "speculative_config", r"(None|SpeculativeConfig\([^)]*\)|\{[^}]*\})")
    if text in (None, "None"):
        return None
    found = re.search(r"method='(\w+)'", text or "")
    config = passed.get("speculative_config")
    method = config.get("method") if isinstance(config, dict) else None
    return found[1] if found else str(method or "on")


def _raw(log_text: str, cache: dict[str, str], passed: dict[str, Any]) -> dict[str, Any]:
    """What a report may quote: figures that the engine logs when it starts, and its cache labels."""
    raw: dict[str, Any] = {"passed": {k: v for k, v in passed.items() if k != "api_key"}, "cache_config": cache}
    concurrency = _first(log_text, _CONCURRENCY)
    if concurrency is not None:
        raw["max_concurrency_at_max_model_len"] = concurrency
    took = _first(log_text, _INIT)
    if took is not None:
        raw["init_s"] = took
    cast = _match(_DTYPE, log_text)
    if cast:
        raw["cast_to"] = cast
    return raw | start_facts(log_text)


def _first_card(models_json: object) -> dict[str, Any]:
    """The first model of ``/v1/models``."""
    cards = _mapping(models_json).get("data")
    return _mapping(cards[0]) if isinstance(cards, list) and cards else {}


def _model(models_json: object) -> str | None:
    name = _first_card(models_json).get("id")
    return str(name) if name else None


def _length(models_json: object) -> int | None:
    return _number(_first_card(models_json).get("max_model_len"))


def _match(pattern: re.Pattern[str], text: str) -> str | None:
    found = pattern.search(text)
    return found[1] if found else None


def _first(text: str, pattern: re.Pattern[str]) -> float | None:
    return _decimal(_match(pattern, text))


def _number(value: object) -> int | None:
    found = _decimal(value)
    return None if found is None else int(found)


def _decimal(value: object) -> float | None:
    """A finite number; None for anything else."""
    try:
        found = float(str(value))
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def _truth(value: str | None) -> bool | None:
    return {"True": True, "False": False, "true": True, "false": False}.get(value or "")


def _nothing(value: str | None) -> str | None:
    return None if value in (None, "None", "none", "") else value
