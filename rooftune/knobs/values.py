"""Which values of each knob are worth a look: rules from hardware, model, engine version and workload."""

from __future__ import annotations

from collections.abc import Callable

from rooftune.hardware.host import fast_dtype
from rooftune.knobs.context import SpaceContext
from rooftune.knobs.setting import Setting, of_flag
from rooftune.speculation.candidates import label_of, model_drafts, schedules
from rooftune.vllm_rules.attention import AttentionShape, priorities, refusal
from rooftune.vllm_rules.defaults import GIB, gpu_memory_utilization
from rooftune.vllm_rules.kernels import CUTLASS_FP8_ANYWHERE, KINDS, may_force_old_awq
from rooftune.vllm_rules.reserved import CONTEXT_BYTES, LARGE_CONTEXT_BYTES
from rooftune.vllm_rules.resolve import NEEDS_BFLOAT16
from rooftune.vllm_rules.start.context import needed_context
from rooftune.vllm_rules.versions import Releases

Rule = Callable[[SpaceContext], list[Setting]]

SMALLEST_BATCH, LARGEST_BATCH = 8, 1024
BUDGETS = (256, 512, 1024, 2048, 4096, 8192, 16384)
LONG_PROMPT = 512
"""Prompt tokens from which small budgets (by the mean) and a threshold for long prompts (by the longest) may help."""
KV_TYPES = {"auto": "", "fp8": "FP8 KV cache", "int8_per_token_head": "INT8 KV cache"}
"""Types of the KV cache and their words; the first is that of the activations."""
MARGIN_BYTES, MARGIN_SHARE = 0.6 * GIB, 0.02
"""What is left free beside the CUDA context when memory is filled up: allocations outside of the engine's account."""
INTERVAL_WITHOUT_DATA_PARALLEL = Releases(since="0.33")
"""prefill_schedule_interval acts on one engine (vLLM pull request 54627)."""
ONLINE_INT8 = Releases(since="0.23")


def dtype(c: SpaceContext) -> list[Setting]:
    """On a CPU the type that its units multiply fast; on a GPU only away from what is slow or does not run."""
    asked, cc = c.baseline.dtype, c.gpu.compute_capability
    if c.gpu.kind == "cpu":
        fast, now = fast_dtype().name, asked or "auto"
        own = c.facts.dtype if c.facts else ""
        if now == fast or (now == "auto" and own == fast):
            return []
        return of_flag("dtype", fast)
    if asked in ("float32", "float"):
        return [Setting("auto", {"dtype": None}, "16-bit activations")]
    if cc is None or cc >= (8, 0):
        return []
    if c.facts is not None and c.facts.architecture in NEEDS_BFLOAT16:
        return of_flag("dtype", "float32")
    return of_flag("dtype", "half") if asked == "bfloat16" else []


def weights(c: SpaceContext) -> list[Setting]:
    """The faster kernel for the weights at hand, quantisation while loading, and other checkpoints."""
    return [*_own_kernels(c), *_online(c), *_checkpoints(c)]


def _own_kernels(c: SpaceContext) -> list[Setting]:
    kind = c.facts.quantization if c.facts else KINDS.get(c.baseline.quantization or "", c.baseline.quantization)
    if kind == "awq" and may_force_old_awq(c.baseline, c.version):
        change = {"quantization": "awq_marlin"}
        return [Setting("awq_marlin", change, "Marlin kernel for the AWQ weights")]
    return []


def _online(c: SpaceContext) -> list[Setting]:
    """Quantisation of 16-bit weights while they are loaded; a GPU only."""
    if c.gpu.kind == "cpu" or c.facts is None or c.facts.quantization is not None:
        return []
    cc = c.gpu.compute_capability or (9, 0)
    weight_only = cc < (8, 9)
    change = {"quantization": "fp8"}
    if weight_only and CUTLASS_FP8_ANYWHERE.has(c.version):
        change["linear_backend"] = "marlin"
    found = [Setting("fp8", {**change}, "FP8 weights (weight-only)" if weight_only else "FP8 weights")]
    if ONLINE_INT8.has(c.version):
        name = "int8_per_channel_weight_only"
        found.append(Setting("int8", {"quantization": name}, "INT8 weights (weight-only)"))
    return found


def _checkpoints(c: SpaceContext) -> list[Setting]:
    """Other checkpoints, each with the method that its config.json names."""
    found = []
    for other in c.checkpoints:
        if other.model == c.baseline.model or (other.kind == "none" and c.facts and c.facts.quantization is None):
            continue  # the baseline's own weights, perhaps in another folder
        change = {"model": other.model, "quantization": None, "linear_backend": None}
        tokenizer = {} if c.baseline.tokenizer is None else {"tokenizer": c.baseline.tokenizer}
        found.append(Setting(other.model, {**change, **tokenizer}, other.label))
    return found


def kv_cache_dtype(c: SpaceContext) -> list[Setting]:
    """One byte per value in FP8 or INT8; the attention backends decide which can be read."""
    found = [Setting(kind, {"kv_cache_dtype": kind}, words) for kind, words in KV_TYPES.items() if words]
    if c.baseline.kv_cache_dtype not in (None, "auto"):
        found.append(Setting("auto", {"kv_cache_dtype": None}, "16-bit KV cache"))
    return found


def max_num_seqs(c: SpaceContext) -> list[Setting]:
    """Powers of two, and 1.5 times as many from 24 on, up to the default or to what a closed loop keeps in flight."""
    most = min(max(c.limits.sequences, 128), LARGEST_BATCH)
    if c.demand.concurrency is not None:
        most = min(most, _power_from(c.demand.concurrency))
    if c.gpu.kind == "cpu":
        return of_flag("max_num_seqs", *_powers(2, min(most, 64)))
    if most > 256:
        return of_flag("max_num_seqs", *_powers(2 * SMALLEST_BATCH, most))
    between = [n * 3 // 2 for n in _powers(2 * SMALLEST_BATCH, most) if n * 3 // 2 < most]
    return of_flag("max_num_seqs", *sorted([*_powers(SMALLEST_BATCH, most), *between]))


def max_num_batched_tokens(c: SpaceContext) -> list[Setting]:
    """Powers of two around the default: more than four of the longest prompts per step gain nothing."""
    most = max(c.limits.tokens, 4 * _power_from(c.demand.longest_prompt))
    least = 256 if c.demand.mean_prompt >= LONG_PROMPT or c.gpu.kind == "cpu" else 512
    return of_flag("max_num_batched_tokens", *(n for n in BUDGETS if least <= n <= min(most, BUDGETS[-1])))


def graphs(c: SpaceContext) -> list[Setting]:
    """Compiled code with CUDA graphs, graphs alone where compiled AWQ is a trap, and eager mode."""
    words = "CUDA graphs" if c.gpu.kind == "cuda" else "torch.compile"
    found = [Setting("graphs", {"enforce_eager": None, "compilation_config": None}, words)]
    if c.gpu.kind == "cuda" and may_force_old_awq(c.baseline, c.version):
        only = {"mode": 0, "cudagraph_mode": "FULL_DECODE_ONLY"}
        label = "CUDA graphs for decode steps, not compiled"
        found.append(Setting("decode-graphs", {"enforce_eager": None, "compilation_config": only}, label))
    eager = {"enforce_eager": True, "compilation_config": None}
    found.append(Setting("eager", eager, "eager mode", alone=c.gpu.kind == "cuda"))
    return found


def attention_backend(c: SpaceContext) -> list[Setting]:
    """The backends that vLLM itself would try, without the portable last resort."""
    if c.gpu.kind == "cpu" or c.gpu.compute_capability is None:
        return []
    cc, shape = c.gpu.compute_capability, AttentionShape.of(c.facts)
    return of_flag(
        "attention_backend",
        *(
            name
            for name in priorities(cc, c.version)
            if name != "FLEX_ATTENTION" and any(refusal(name, cc, c.version, kind, shape) is None for kind in KV_TYPES)
        ),
    )


def long_prefill_token_threshold(c: SpaceContext) -> list[Setting]:
    """A quarter and a half of the longest prompt, rounded up to powers of two, where prompts are long."""
    longest = c.demand.longest_prompt
    if longest < LONG_PROMPT:
        return []
    return of_flag("long_prefill_token_threshold", _power_from(longest) // 4, _power_from(longest) // 2)


def memory_utilization(c: SpaceContext) -> list[Setting]:
    """All memory beside the CUDA context but a margin."""
    if c.gpu.kind == "cpu" or c.baseline.kv_cache_memory_bytes is not None:
        return []
    total, memory = c.gpu.memory_bytes, c.start.memory if c.start else None
    context = LARGE_CONTEXT_BYTES if total >= 70 * GIB else CONTEXT_BYTES
    taken = context + (memory.communication_bytes if memory else 0)
    free = total - taken - max(MARGIN_BYTES, MARGIN_SHARE * total)
    most = int(100 * free / total) / 100
    if most <= gpu_memory_utilization(c.baseline, c.version):
        return []
    return of_flag("gpu_memory_utilization", most)


def max_model_len(c: SpaceContext) -> list[Setting]:
    """What the workload's longest request needs, with head-room."""
    if c.facts is None:
        return []
    needed = needed_context(c.demand.longest_request, c.facts.max_position)
    now = c.baseline.max_model_len or c.facts.max_position
    return of_flag("max_model_len", needed) if needed < now else []


def async_scheduling(c: SpaceContext) -> list[Setting]:
    """On where it is off; off where it is on, to find an engine that it slows down."""
    if c.gpu.kind == "cpu":
        return []
    return of_flag("async_scheduling", True, False)


def performance_mode(c: SpaceContext) -> list[Setting]:
    """Both presets; ``throughput`` only doubles limits that the baseline leaves open."""
    return [] if c.gpu.kind == "cpu" else of_flag("performance_mode", "interactivity", "throughput")


def capture_sizes(c: SpaceContext) -> list[Setting]:
    """Up to the batch limit where the default stops below it; few where the batch limit is small."""
    if c.gpu.kind == "cpu":
        return []
    resolved = c.start.resolved if c.start else None
    largest = max(resolved.capture_sizes, default=0) if resolved else 0
    wanted = c.limits.sequences if 0 < largest < c.limits.sequences else 0
    return of_flag("max_cudagraph_capture_size", *([wanted] if wanted else []))


def prefill_schedule_interval(c: SpaceContext) -> list[Setting]:
    """Prefill in every second or fourth step, where one engine does that."""
    return of_flag("prefill_schedule_interval", 2, 4) if INTERVAL_WITHOUT_DATA_PARALLEL.has(c.version) else []


def prefix_caching(c: SpaceContext) -> list[Setting]:
    """Off where no two prompts begin with the same text; on where the baseline switched it off."""
    if c.baseline.enable_prefix_caching is False:
        return of_flag("enable_prefix_caching", True)
    return [] if c.demand.shares_prefixes else of_flag("enable_prefix_caching", False)


def scheduling_policy(c: SpaceContext) -> list[Setting]:
    """None: requests of a workload carry no priorities, and without them both policies order equally."""
    return []


def stream_interval(c: SpaceContext) -> list[Setting]:
    """Several tokens per message, where answers are long enough for that."""
    return of_flag("stream_interval", *(n for n in (4, 10) if 4 * n <= c.demand.mean_output))


def api_server_count(c: SpaceContext) -> list[Setting]:
    """Two and four processes in front of one engine, where the load has many requests at once."""
    return [] if c.gpu.kind == "cpu" or c.limits.sequences < 128 else of_flag("api_server_count", 2, 4)


def moe_backend(c: SpaceContext) -> list[Setting]:
    """The portable kernel, for mixtures of experts."""
    experts = c.facts.experts if c.facts else 1
    return of_flag("moe_backend", "triton") if experts > 1 and c.gpu.kind == "cuda" else []


def kv_offload(c: SpaceContext) -> list[Setting]:
    """As much host memory as the GPU has, where prompts can share text."""
    if c.gpu.kind == "cpu" or not c.demand.shares_prefixes:
        return []
    return of_flag("kv_offloading_size", float(round(c.gpu.memory_bytes / GIB)))


def speculation(c: SpaceContext) -> list[Setting]:
    """With texts: proposers that a replay of recorded answers found best at some load, models that can draft, and
    lengths by batch size."""
    if not c.has_texts:
        return []
    asked: list[dict[str, object]] = [dict(known.speculation) for known in c.drafts.entries]
    asked += model_drafts(c.draft_models, c.version)
    asked += schedules(asked, c.version)
    return [Setting(label_of(one), {"speculative_config": {**one}}, label_of(one)) for one in asked]


def tensor_parallel_size(c: SpaceContext) -> list[Setting]:
    """Powers of two up to the accelerators that are there."""
    return (
        [] if c.gpu.kind == "cpu" else of_flag("tensor_parallel_size", *(n for n in (1, 2, 4, 8) if n <= c.count > 1))
    )


def _powers(least: int, most: int) -> list[int]:
    return [n for n in (2**i for i in range(20)) if least <= n <= most]


def _power_from(value: float) -> int:
    """The power of two that is at least ``value``."""
    return 1 << max(0, int(value) - 1).bit_length()


def without_texts(c: SpaceContext) -> str:
    """Why speculation has no values for a workload without texts; empty where it has texts."""
    if c.has_texts:
        return ""
    return (
        "the workload has no texts, and how many drafts are accepted depends on what users write; give prompts with "
        "--prompts"
    )


WHY_NONE: dict[str, Callable[[SpaceContext], str]] = {"speculation": without_texts}
"""Knob -> why it has no values here, where a user should know."""
RULES: dict[str, Rule] = {
    "tensor_parallel_size": tensor_parallel_size,
    "dtype": dtype,
    "weights": weights,
    "kv_cache_dtype": kv_cache_dtype,
    "graphs": graphs,
    "max_num_seqs": max_num_seqs,
    "max_num_batched_tokens": max_num_batched_tokens,
    "attention_backend": attention_backend,
    "gpu_memory_utilization": memory_utilization,
    "long_prefill_token_threshold": long_prefill_token_threshold,
    "max_model_len": max_model_len,
    "async_scheduling": async_scheduling,
    "performance_mode": performance_mode,
    "cuda_graph_sizes": capture_sizes,
    "prefill_schedule_interval": prefill_schedule_interval,
    "prefix_caching": prefix_caching,
    "scheduling_policy": scheduling_policy,
    "stream_interval": stream_interval,
    "api_server_count": api_server_count,
    "moe_backend": moe_backend,
    "kv_offload": kv_offload,
    "speculation": speculation,
}
"""Knob -> its rule. Knobs that are advice or follow from others have none."""
