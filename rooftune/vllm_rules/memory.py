"""What the memory of one GPU holds when an engine has started, and how many tokens are left for the KV cache.

Read in ``v1/worker/gpu_worker.py`` (determine_available_memory: 0.11.0 line 222, 0.15.1 284, 0.19.1 332, 0.23.0 372,
0.29.0 513, 0.32.0 634, 0.33.0 641) and ``v1/worker/cpu_worker.py``; the sizes of activations are fitted.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

from rooftune.hardware.accelerator import Accelerator
from rooftune.models.costs import weight_bytes
from rooftune.models.facts import ModelFacts
from rooftune.vllm_rules.adapters import adapter_bytes
from rooftune.vllm_rules.budget import MemoryBudget
from rooftune.vllm_rules.config import EngineConfig
from rooftune.vllm_rules.defaults import GIB
from rooftune.vllm_rules.expert_padding import padding_bytes
from rooftune.vllm_rules.kv_groups import REQUEST_BY_GROUPS, KvPool, draft_beside, kv_pool
from rooftune.vllm_rules.refusals import StartRefused
from rooftune.vllm_rules.reserved import Reserved, reserved
from rooftune.vllm_rules.resolve import Resolved, resolve
from rooftune.vllm_rules.versions import Releases

OVERHEAD_BYTES = 0.05 * GIB
"""What the weights take beyond their own bytes (3.67 GiB in the log of the T4 run, 3.62 GiB by arithmetic)."""
FIXED_ACTIVATION_BYTES = 0.123 * GIB
"""Workspaces and buffers; set, with what follows, by the two logs of the T4 run: 18,608 and 18,640 tokens."""
COMPILED_BYTES = 0.1 * GIB
"""What a compiled model with CUDA graphs keeps besides: workspaces of its matrix products (RTX 3090 and 4090)."""
SAMPLER_BYTES = 28.5
"""Per logit while vLLM profiles top-k and top-p for ``max_num_seqs`` requests: the logits in 16 and 32 bits, sorted
with their places, probabilities and sums. By the logs of a T4 (0.15) and an RTX 4090 (0.19)."""
OLD_SAMPLER_BYTES = 34.5
OLD_SAMPLER = Releases(until="0.11")
"""By the logs of an RTX 3090 (0.11) with 64 and with 256 sequences; an H100 with gpt-oss-120b and 1,024 agrees."""
GRAPH_BYTES = 0.4 * 2**20
"""What vLLM estimates for a captured size and layer in each of its two modes: eight logs of an A100 (0.29), between
0.1 and 1.4 MiB."""
GRAPHS_ARE_SUBTRACTED = Releases(since="0.21")
"""The memory of CUDA graphs is subtracted ("default since v0.21.0", as the log of 0.29 says); before, graphs came on
top of the utilisation."""
V2_ESTIMATES_GRAPHS = Releases(since="0.29")
"""``profile_cudagraph_memory`` of the V2 runner returns 0 in 0.23.0 (v1/worker/gpu/model_runner.py line 660), so its
graphs still come on top there."""
V2_SAMPLER_BYTES = 6.0
"""Per logit: the V2 runner profiles the sampler without top-k and top-p (0.23.0 line 616, 0.32.0 line 981 of the same
file), so only the logits in 16 and in 32 bits are held. Two logs of an H200 (0.23, 1,024 sequences) agree."""
NULL_BLOCK_IS_SPARE = Releases(since="0.29")
"""The first block, which is never handed out, is left out of the check of the longest request."""
CPU_SHARE = Releases(since="0.23")
"""A CPU engine takes gpu_memory_utilization of the memory; 0.15 and 0.19 take half of it, 0.11 takes 4 GiB."""
CPU_HALF = Releases(since="0.15")
NO_MEMORY = (
    "No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing the engine."
)


@dataclass(frozen=True)
class Room:
    """The bytes that the KV cache gets, and the limit that all parts together keep."""

    kv_cache: float
    limit: float


def memory_budget(gpu: Accelerator, facts: ModelFacts, r: Resolved) -> MemoryBudget:
    """The memory of one GPU, part by part.

    Raises:
        StartRefused: the weights do not fit, nothing is left for the KV cache, the longest request does not fit, or
            graphs and warm-up run out of memory.
    """
    held = reserved(gpu, r)
    draft = draft_beside(r)
    weights = weight_bytes(facts, r.tensor_parallel) + padding_bytes(gpu, facts, r) + OVERHEAD_BYTES
    weights += weight_bytes(draft, r.tensor_parallel) if draft else 0.0
    weights += adapter_bytes(facts, r.adapter_slots, r.adapter_rank, r.tensor_parallel)
    _check_weights(gpu, facts, r, weights, held)
    cpu = gpu.kind == "cpu"
    if not cpu:
        _check_free(gpu, r, held)
    activations = 0.0 if cpu else activation_bytes(facts, r)
    graphs = 0.0 if cpu else captured_graph_bytes(facts, r)
    subtracted = graphs_are_subtracted(r) and not cpu
    inside = estimated_graph_bytes(facts, r) if subtracted else 0.0
    pool = kv_pool(facts, r)
    room = _room(gpu, r, weights + activations + inside, weights, pool.bytes_per_block)
    blocks = int(room.kv_cache / pool.bytes_per_block)
    found = MemoryBudget(
        total_bytes=gpu.memory_bytes,
        context_bytes=held.context,
        communication_bytes=held.communication,
        limit_bytes=round(room.limit),
        weights_bytes=round(weights),
        activations_bytes=round(activations),
        sampler_bytes=0 if cpu else round(sampler_bytes(facts, r)),
        graphs_bytes=round(inside),
        graphs_beyond_limit_bytes=0 if subtracted else round(graphs),
        kv_cache_bytes=int(room.kv_cache),
        kv_bytes_per_token=sum(
            f.kv_bytes_per_token(r.kv_bytes_per_value, r.tensor_parallel) for f in (facts, draft) if f is not None
        ),
        kv_cache_tokens=pool.logged_tokens(blocks, r.max_model_len, r),
        kv_cache_blocks=blocks,
        pool=pool,
        longest_request_tokens=r.max_model_len,
        longest_request_bytes=round(request_bytes(facts, r, r.max_model_len, pool)),
    )
    spare = pool.bytes_per_block if NULL_BLOCK_IS_SPARE.has(r.version) else 0.0
    _check_request(found, facts, r, blocks * pool.bytes_per_block - spare)
    if not cpu:
        _check_warm_up(found, r)
    return found


def kv_cache_tokens(
    gpu: Accelerator, facts: ModelFacts, config: EngineConfig | Resolved, engine_version: str | None = None
) -> int:
    """Tokens of the KV cache, as the engine logs them.

    Raises:
        StartRefused: see ``memory_budget``.
    """
    r = resolve(gpu, facts, config, engine_version or "0.32.0") if isinstance(config, EngineConfig) else config
    return memory_budget(gpu, facts, r).kv_cache_tokens


def request_bytes(facts: ModelFacts, r: Resolved, tokens: int, pool: KvPool | None = None) -> float:
    """Bytes that one request of this length needs on one GPU, as ``max_memory_usage_bytes`` has it.

    A layer with a sliding window holds its window, the tokens under way and one block more.
    """
    pool = pool or kv_pool(facts, r)
    if REQUEST_BY_GROUPS.has(r.version) or len(pool.groups) == 1:
        return pool.reserved_blocks(tokens) * pool.bytes_per_block
    page = pool.bytes_per_block / max(g.layers for g in pool.groups)
    return sum(g.layers * page * g.reserved_blocks(tokens, pool.in_flight_tokens) for g in pool.groups)


def activation_bytes(facts: ModelFacts, r: Resolved) -> float:
    """Peak while vLLM profiles: the forward pass of a full budget, or the sampler for all sequences after it."""
    fixed = FIXED_ACTIVATION_BYTES + (COMPILED_BYTES if r.cuda_graphs else 0.0)
    return max(forward_bytes(facts, r), sampler_bytes(facts, r)) + fixed


def forward_bytes(facts: ModelFacts, r: Resolved) -> float:
    """Activations of one layer for a full budget: residual and hidden states, queries, keys and values, and the
    MLP."""
    n = r.tensor_parallel
    heads = facts.heads * facts.head_dim + 2 * facts.kv_heads * facts.head_dim
    width = 2 * facts.hidden_size + (heads + 3 * facts.intermediate_size * facts.experts_per_token) / n
    return 2.0 * r.max_num_batched_tokens * width


def sampler_bytes(facts: ModelFacts, r: Resolved) -> float:
    """What the sampler takes while it is warmed up with ``max_num_seqs`` requests; part of ``activation_bytes``."""
    each = OLD_SAMPLER_BYTES if OLD_SAMPLER.has(r.version) else SAMPLER_BYTES
    each = V2_SAMPLER_BYTES if r.runner == "V2" else each
    return each * facts.vocab_size * min(r.max_num_seqs, r.max_num_batched_tokens)


def graphs_are_subtracted(r: Resolved) -> bool:
    """Whether the KV cache is smaller by what the graphs are expected to take."""
    estimated = r.runner == "V1" or V2_ESTIMATES_GRAPHS.has(r.version)
    return bool(GRAPHS_ARE_SUBTRACTED.has(r.version)) and bool(estimated)


def captured_graph_bytes(facts: ModelFacts, r: Resolved) -> float:
    """Memory that the CUDA graphs take: some MiB for each captured size and layer."""
    return len(r.capture_sizes) * facts.layers * 0.25 * 2**20


def estimated_graph_bytes(facts: ModelFacts, r: Resolved) -> float:
    """What vLLM subtracts for them: it captures two of each mode and multiplies, though graphs share their memory."""
    return 2 * len(r.capture_sizes) * facts.layers * GRAPH_BYTES


def _check_weights(gpu: Accelerator, facts: ModelFacts, r: Resolved, weights: float, held: Reserved) -> None:
    if weights <= gpu.memory_bytes - held.context - held.communication:
        return
    raise StartRefused(
        "weights",
        f"CUDA out of memory. Tried to allocate {facts.hidden_size * facts.intermediate_size * 4 / 2**20:.2f} MiB. "
        f"GPU 0 has a total capacity of {gpu.memory_bytes / GIB:.2f} GiB of which 0 bytes is free. The weights of "
        f"{facts.name} take {weights / GIB:.1f} GiB on each of {r.tensor_parallel} GPU.",
    )


def _check_free(gpu: Accelerator, r: Resolved, held: Reserved) -> None:
    """vLLM refuses a share of memory that is not free when it starts; NCCL has its buffers by then."""
    asked, free = r.gpu_memory_utilization * gpu.memory_bytes, gpu.memory_bytes - held.context - held.communication
    if asked <= free:
        return
    rule = "nccl-buffers" if asked <= gpu.memory_bytes - held.context else "free-memory"
    raise StartRefused(
        rule,
        f"Free memory on device ({free / GIB:.2f}/{gpu.memory_bytes / GIB:.2f} GiB) on startup is less than desired "
        f"GPU memory utilization ({r.gpu_memory_utilization:g}, {asked / GIB:.2f} GiB). Decrease GPU memory "
        "utilization or reduce GPU memory used by other processes.",
    )


def _room(gpu: Accelerator, r: Resolved, others: float, weights: float, per_block: float) -> Room:
    """What the other parts leave, or what the flags set."""
    if r.kv_cache_memory_bytes or r.kv_blocks_override:
        named = r.kv_cache_memory_bytes or 0
        kv = r.kv_blocks_override * per_block if r.kv_blocks_override else float(named)
        return Room(kv, others + kv)
    limit = r.gpu_memory_utilization * gpu.memory_bytes
    if gpu.kind == "cpu" and not CPU_SHARE.has(r.version):
        kv = 0.5 * gpu.memory_bytes if CPU_HALF.has(r.version) else 4.0 * GIB
        return Room(kv, weights + kv)
    if limit <= others:
        raise StartRefused("no-kv-memory", NO_MEMORY)
    return Room(limit - others, limit)


def _check_request(found: MemoryBudget, facts: ModelFacts, r: Resolved, available: float) -> None:
    longest, needed = found.longest_request_tokens, found.longest_request_bytes
    if needed <= available + 1:
        return
    pool = found.pool
    fits = bisect_right(range(1, longest + 1), available + 1, key=lambda n: request_bytes(facts, r, n, pool))
    estimate = f"Based on the available memory, the estimated maximum model length is {fits}. " if fits else ""
    raise StartRefused(
        "longest-request",
        f"To serve at least one request with the model's max seq len ({longest}), {needed / GIB:.2f} GiB KV cache is "
        f"needed, which is larger than the available KV cache memory ({available / GIB:.2f} GiB). {estimate}Try "
        "increasing `gpu_memory_utilization` or decreasing `max_model_len` when initializing the engine.",
    )


def _check_warm_up(found: MemoryBudget, r: Resolved) -> None:
    """Graphs are captured and the sampler is warmed up when the KV cache has its memory."""
    free = found.free_bytes - found.used_bytes + found.activations_bytes
    if found.graphs_beyond_limit_bytes + found.sampler_bytes <= free:
        return
    if r.runner == "V1":
        raise StartRefused(
            "warm-up",
            f"CUDA out of memory occurred when warming up sampler with {r.max_num_seqs} dummy requests. Please try "
            "lowering `max_num_seqs` or `gpu_memory_utilization` when initializing the engine.",
        )
    raise StartRefused(
        "warm-up",
        f"CUDA out of memory. Tried to allocate {max(found.sampler_bytes, 2**21) / 2**20:.2f} MiB. GPU 0 has a total "
        f"capacity of {found.total_bytes / GIB:.2f} GiB of which {max(free, 0) / 2**20:.2f} MiB is free.",
    )
