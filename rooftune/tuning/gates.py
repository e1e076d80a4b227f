"""Rules that say why a candidate cannot or need not run here, true for the engine version at hand."""

from __future__ import annotations

from packaging.version import Version

from rooftune.engines.server import EffectiveConfig
from rooftune.errors import EngineError, InputError
from rooftune.hardware.accelerator import Accelerator, Capability, Hardware
from rooftune.knobs.installed import unknown_flags
from rooftune.models.facts import ModelFacts
from rooftune.tuning.plan import Candidate, Gate, Plan
from rooftune.vllm_rules.attention import AttentionShape, attention_backend
from rooftune.vllm_rules.config import EngineConfig, FlagValue
from rooftune.vllm_rules.defaults import batch_limits, block_size, gpu_memory_utilization
from rooftune.vllm_rules.graphs import graphs
from rooftune.vllm_rules.kernels import linear_kernel, quantization_of
from rooftune.vllm_rules.scheduling import async_scheduling
from rooftune.vllm_rules.speculation import speculation
from rooftune.vllm_rules.versions import version

PREDICTED = "predicted from the defaults of vLLM {version}; the running baseline will confirm or refute it"
_KERNELS = {"marlin": "Marlin", "machete": "Machete", "awq_gemm": "AWQ GEMM", "exllama": "Exllama"}
_ALIASES = {"fp8_e4m3": "fp8", "half": "float16", "triton": "triton_attn", "flash": "flash_attn"}


def predicted_effective(
    config: EngineConfig, hardware: Hardware, facts: ModelFacts | None, engine_version: str
) -> EffectiveConfig:
    """What vLLM of this version will resolve the flags to on this hardware; None where the rules do not say."""
    engine, gpu = version(engine_version), hardware.accelerator
    limits = batch_limits(gpu, config, config.max_model_len or (facts.max_position if facts else None), engine)
    spec = speculation(config)
    captured = graphs(gpu, config, engine, limits, spec.tokens if spec else 0)
    return EffectiveConfig(
        engine_version=engine_version,
        quantization=config.quantization,
        linear_kernel=_linear_kernel(config, gpu, facts, engine),
        attention_backend=_attention(config, gpu, facts, engine),
        max_model_len=config.max_model_len,
        max_num_seqs=limits.sequences,
        max_num_batched_tokens=limits.tokens,
        block_size=block_size(gpu, config),
        chunked_prefill=config.enable_chunked_prefill is not False,
        prefix_caching=config.enable_prefix_caching is not False,
        async_scheduling=async_scheduling(gpu, facts, config, engine).on,
        enforce_eager=bool(config.enforce_eager),
        cuda_graphs=captured.on,
        kv_cache_dtype=config.kv_cache_dtype or "auto",
        gpu_memory_utilization=gpu_memory_utilization(config, engine),
        speculative=spec.method if spec else None,
    )


def _attention(config: EngineConfig, gpu: Accelerator, facts: ModelFacts | None, engine: Version) -> str | None:
    if gpu.kind == "cuda" and gpu.compute_capability is None:
        return None
    try:
        return attention_backend(gpu, config, engine, AttentionShape.of(facts))
    except EngineError:
        return None


def _linear_kernel(config: EngineConfig, gpu: Accelerator, facts: ModelFacts | None, engine: Version) -> str | None:
    """The kernel as a log names it; None where it is not known, or nothing to choose from."""
    if facts is None or gpu.kind != "cuda" or gpu.compute_capability is None:
        return None
    try:
        kind = quantization_of(facts, config, gpu.compute_capability, engine)
        found = linear_kernel(gpu, facts, config, kind, engine)
    except EngineError:
        return None
    return _KERNELS.get(found.family) if found.certain else None


def gate_effective(candidate: Candidate, effective: EffectiveConfig, engine_version: str) -> list[Gate]:
    """The gate "already on", from what a running engine resolved its flags to; empty when something would change.

    The gate closes only if every flag of the change is on already.
    """
    states = [state_of(name, value, effective) for name, value in candidate.change.items()]
    if not states or any(s is None for s in states):
        return []
    return [
        Gate(
            id="already-on",
            verdict="already on",
            reason=f"vLLM {effective.engine_version or engine_version} reports " + ", ".join(map(str, states)),
        )
    ]


def state_of(name: str, value: FlagValue | None, effective: EffectiveConfig) -> str | None:
    """A phrase when the engine already does what the flag asks for, else None."""
    if name == "enforce_eager":
        return _eager_state(bool(value), effective)
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
    return f"{name} {found}" if same_value(found, value) else None


def _eager_state(value: bool, effective: EffectiveConfig) -> str | None:
    if value:
        return "eager mode on" if effective.enforce_eager else None
    if effective.cuda_graphs:
        return "CUDA graphs captured"
    on_cpu = effective.attention_backend == "CPU_ATTN"  # compiles without CUDA graphs
    return "eager mode off" if on_cpu and effective.enforce_eager is False else None


def _quantization_state(value: str, effective: EffectiveConfig) -> str | None:
    kernel = (effective.linear_kernel or "").lower()
    if "marlin" in value:
        if "marlin" in kernel or "machete" in kernel:
            return f"the kernel {effective.linear_kernel} for the linear layers"
        return f"quantization {value}" if effective.quantization == value else None
    return f"quantization {value}" if effective.quantization == value and "marlin" not in kernel else None


def with_listed_flags(plan: Plan, listed: frozenset[str] | None) -> Plan:
    """The plan with a gate on every candidate that sets a flag which the installed engine does not list.

    Args:
        listed: flags of the engine's own ``--help=all``; None = not known.

    Raises:
        InputError: the baseline sets such a flag.
    """
    if listed is None:
        return plan
    baseline = plan.candidates[0].config
    missing = unknown_flags(baseline.flags(), listed)
    if missing:
        raise InputError(
            f"the installed vLLM does not list {_written(missing)}; leave out such flags, or name another interpreter "
            "with --vllm-python."
        )
    return plan.model_copy(update={"candidates": [_with_listed(c, listed) for c in plan.candidates]})


def _with_listed(candidate: Candidate, listed: frozenset[str]) -> Candidate:
    missing = unknown_flags([name for name, value in candidate.change.items() if value is not None], listed)
    if not missing:
        return candidate
    gate = Gate(id="listed", verdict="not supported", reason=f"the installed vLLM does not list {_written(missing)}")
    return candidate.model_copy(update={"gates": [*candidate.gates, gate]})


def _written(flags: list[str]) -> str:
    return ", ".join("--" + name.replace("_", "-") for name in flags)


def same_value(reported: FlagValue, asked: FlagValue) -> bool:
    """Whether an engine reports the value that was asked for, perhaps by another name of it."""
    return _plain(reported) == _plain(asked)


def _plain(value: FlagValue) -> str:
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
