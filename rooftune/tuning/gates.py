"""Rules that say why a candidate cannot or need not run here, true for the engine version at hand."""

from __future__ import annotations

from typing import Any

from packaging.version import InvalidVersion, Version

from rooftune.engines.server import EffectiveConfig
from rooftune.hardware.accelerator import Capability, Hardware
from rooftune.tuning.plan import Candidate, Gate
from rooftune.vllm_rules.config import EngineConfig

PREDICTED = "predicted from the defaults of vLLM {version}; the running baseline will confirm or refute it"
_ALIASES = {"fp8_e4m3": "fp8", "half": "float16", "triton": "triton_attn", "flash": "flash_attn"}


def version(text: str) -> Version:
    """An engine version as a comparable value; an unreadable one counts as the newest."""
    try:
        return Version(text)
    except InvalidVersion:
        return Version("9999")


def between(engine_version: str, since: str | None, until: str | None) -> bool:
    """Whether ``since <= engine_version <= until``; ``until`` '0.31' includes 0.31.2."""
    found = version(engine_version)
    if since is not None and found < version(since):
        return False
    if until is None:
        return True
    last = version(until)
    return found <= last or found.release[: len(last.release)] == last.release


def predicted_effective(config: EngineConfig, hardware: Hardware, engine_version: str) -> EffectiveConfig:
    """What vLLM of this version will resolve the flags to on this hardware, from its defaults.

    Sources: vLLM 0.15.1 and 0.32.0, ``engine/arg_utils.py`` (batch limits) and ``platforms/cuda.py`` (attention).
    """
    cuda = hardware.accelerator.kind == "cuda"
    eager = bool(config.enforce_eager)
    memory_gib = hardware.accelerator.memory_bytes / 2**30
    large = cuda and memory_gib >= 69 and "a100" not in hardware.accelerator.name.lower()
    huge = cuda and memory_gib >= 160
    graphs_mode = (config.compilation_config or {}).get("cudagraph_mode")
    return EffectiveConfig(
        engine_version=engine_version,
        quantization=config.quantization,
        linear_kernel=_linear_kernel(config, hardware, engine_version),
        attention_backend=config.attention_backend or _attention(hardware),
        max_model_len=config.max_model_len,
        max_num_seqs=config.max_num_seqs or (1024 if large or huge else 256),
        max_num_batched_tokens=config.max_num_batched_tokens or (16384 if huge else 8192 if large else 2048),
        chunked_prefill=config.enable_chunked_prefill is not False,
        prefix_caching=config.enable_prefix_caching is not False,
        async_scheduling=_async(config, engine_version),
        enforce_eager=eager,
        cuda_graphs=cuda and not eager and graphs_mode != "NONE",
        kv_cache_dtype=config.kv_cache_dtype or "auto",
        speculative=str(config.speculative_config["method"]) if config.speculative_config else None,
    )


def _async(config: EngineConfig, engine_version: str) -> bool:
    if config.async_scheduling is not None:
        return config.async_scheduling
    slow = (config.speculative_config or {}).get("method") in ("ngram", "suffix", "medusa")
    return version(engine_version) >= Version("0.14") and not slow


def _can(hardware: Hardware, capability: str) -> bool:
    return any(c.id == capability and c.available for c in hardware.capabilities)


def _attention(hardware: Hardware) -> str | None:
    if hardware.accelerator.kind == "cpu":
        return "CPU_ATTN"
    if _can(hardware, "flash_attention_3") or _can(hardware, "flash_attention_2"):
        return "FLASH_ATTN"
    return "FLASHINFER" if _can(hardware, "flashinfer") else "TRITON_ATTN"


def _linear_kernel(config: EngineConfig, hardware: Hardware, engine_version: str) -> str | None:
    quantization = config.quantization or ""
    if not quantization.startswith(("awq", "gptq")) and quantization != "auto_awq":
        return None
    automatic = version(engine_version) >= Version("0.32") or quantization.endswith("marlin")
    return "Marlin" if automatic and _can(hardware, "marlin") else "AWQ GEMM" if "awq" in quantization else "Exllama"


def gate_effective(candidate: Candidate, effective: EffectiveConfig, engine_version: str) -> list[Gate]:
    """The gate "already on", from what a running engine resolved its flags to; empty when something would change.

    Every flag of the change must be on already for the gate to close: then it is no change and not measured as one.
    """
    states = [_state(name, value, effective) for name, value in candidate.change.items()]
    if not states or any(s is None for s in states):
        return []
    return [
        Gate(
            id="already-on",
            verdict="already on",
            reason=f"vLLM {effective.engine_version or engine_version} reports " + ", ".join(map(str, states)),
        )
    ]


def _state(name: str, value: Any, effective: EffectiveConfig) -> str | None:
    """A phrase when the engine already does what the flag asks for, else None."""
    if name == "enforce_eager":
        on = effective.cuda_graphs if effective.attention_backend != "CPU_ATTN" else effective.enforce_eager is False
        return "CUDA graphs captured" if on and not value and effective.cuda_graphs else _eager_off(on, value)
    switches = {
        "enable_chunked_prefill": ("chunked prefill", effective.chunked_prefill),
        "enable_prefix_caching": ("prefix caching", effective.prefix_caching),
        "async_scheduling": ("asynchronous scheduling", effective.async_scheduling),
    }
    if name in switches:
        words, state = switches[name]
        return f"{words} {'on' if value else 'off'}" if state is not None and state == value else None
    if name == "quantization":
        return _quantization_state(str(value), effective)
    if name == "speculative_config":
        method = value.get("method") if isinstance(value, dict) else None
        return f"speculative decoding with {method}" if method and method == effective.speculative else None
    found = getattr(effective, name, None)
    if found is None or value is None:
        return None
    return f"{name} {found}" if _plain(found) == _plain(value) else None


def _eager_off(on: bool | None, value: Any) -> str | None:
    return "eager mode off" if on and not value else None


def _quantization_state(value: str, effective: EffectiveConfig) -> str | None:
    kernel = (effective.linear_kernel or "").lower()
    if "marlin" in value:
        if "marlin" in kernel or "machete" in kernel:
            return f"the kernel {effective.linear_kernel} for the linear layers"
        return f"quantization {value}" if effective.quantization == value else None
    return f"quantization {value}" if effective.quantization == value and "marlin" not in kernel else None


def _plain(value: Any) -> str:
    text = str(value).lower()
    return _ALIASES.get(text, text)


def capability_gates(needs: list[str], needs_any: list[str], hardware: Hardware) -> list[Gate]:
    """Gates from the capability table: each closed one quotes the table's reason."""
    table = {c.id: c for c in hardware.capabilities}
    gates = [
        Gate(id=f"needs-{i}", verdict="not supported", reason=_quoted(table[i]))
        for i in needs
        if i in table and not table[i].available
    ]
    some = [table[i] for i in needs_any if i in table]
    if some and not any(c.available for c in some):
        reason = "; ".join(_quoted(c) for c in some)
        gates.append(Gate(id="needs-one-of-" + "-".join(needs_any), verdict="not supported", reason=reason))
    return gates


def _quoted(capability: Capability) -> str:
    """The table's reason, with the feature's name in front where the reason does not begin with it."""
    if capability.reason.lower().startswith(capability.name.lower()):
        return capability.reason
    return f"{capability.name}: {capability.reason}"
