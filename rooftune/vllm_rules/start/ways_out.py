"""What to change when an engine would not start: suggestions, of which ``startup`` keeps what starts."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from rooftune.hardware.accelerator import Accelerator
from rooftune.models.facts import ModelFacts
from rooftune.vllm_rules.config import EngineConfig, FlagValue
from rooftune.vllm_rules.defaults import GIB, batch_limits
from rooftune.vllm_rules.kernels import KINDS
from rooftune.vllm_rules.refusals import StartRefused
from rooftune.vllm_rules.start.context import LEAST
from rooftune.vllm_rules.versions import parse_version

VERSIONS = ("0.33.0", "0.32.0", "0.29.0", "0.23.0", "0.19.1", "0.15.1", "0.11.0")
"""Releases that were read, newest first."""
MOST_GPUS = 8
CHECKPOINTS = {"awq": "awq_marlin", "gptq": "gptq_marlin", "fp8": "fp8"}
"""Kind of a published checkpoint -> value of ``quantization`` for it."""
_LONGEST = re.compile(r"estimated maximum model length is (\d+)")


class WayOut(BaseModel):
    """A change with which the engine would start."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    change: dict[str, FlagValue | None] = Field(default_factory=dict, description="flags to set; None = leave it out")
    engine_version: str | None = Field(default=None, description="another version of vLLM")

    @property
    def words(self) -> str:
        """The change as ``--set`` takes it."""
        parts = [f"{k}={_text(v)}" for k, v in self.change.items() if v is not None]
        left_out = [k for k, v in self.change.items() if v is None]
        parts += [f"without {' and '.join(left_out)}"] if left_out else []
        parts += [f"vLLM {self.engine_version}"] if self.engine_version else []
        return " and ".join(parts)

    @property
    def gpus(self) -> int:
        """GPUs that the change asks for; 0 = as before."""
        found = self.change.get("tensor_parallel_size")
        return found if isinstance(found, int) else 0

    def followed_by(self, more: WayOut) -> WayOut:
        """Both changes, the second one on top."""
        return WayOut(change={**self.change, **more.change}, engine_version=more.engine_version or self.engine_version)

    def facts_of(self, facts: ModelFacts) -> ModelFacts:
        """The facts of the checkpoint that the change names."""
        method = self.change.get("quantization")
        if not isinstance(method, str) or KINDS.get(method, method) not in CHECKPOINTS:
            return facts
        kind = KINDS.get(method, method)
        return facts.stored_as(kind)


@dataclass(frozen=True)
class Situation:
    """An engine that would not start, and why."""

    gpu: Accelerator
    facts: ModelFacts
    config: EngineConfig
    engine_version: str
    error: StartRefused
    longest_request: int | None

    @property
    def gpus(self) -> int:
        """GPUs of the configuration."""
        return self.config.tensor_parallel_size or 1

    @property
    def useful_context(self) -> int:
        """The shortest context that is of use: the workload's longest request, or what most chats need."""
        return self.longest_request or LEAST


def suggestions(s: Situation) -> Iterator[WayOut]:
    """Changes that may help, the least intrusive first."""
    yield from BY_RULE[s.error.rule.id](s)


def _text(value: FlagValue) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _set(**change: FlagValue | None) -> WayOut:
    return WayOut(change=change)


def _versions(s: Situation) -> Iterator[WayOut]:
    """Other versions, the nearest first, newer before older."""
    now = parse_version(s.engine_version)
    newer = [v for v in reversed(VERSIONS) if parse_version(v) > now]
    older = [v for v in VERSIONS if parse_version(v) < now]
    for version in (*newer, *older):
        yield WayOut(engine_version=version)


def _checkpoints(s: Situation) -> Iterator[WayOut]:
    """Quantised checkpoints of this model that are published."""
    for kind, method in CHECKPOINTS.items():
        if kind in s.facts.hub_ids and kind != s.facts.quantization:
            yield _set(quantization=method)


def _more_gpus(s: Situation) -> Iterator[WayOut]:
    for n in (2, 4, 8):
        if s.gpus < n <= MOST_GPUS:
            yield _set(tensor_parallel_size=n)


def _quantization(s: Situation) -> Iterator[WayOut]:
    if s.config.quantization is not None:
        yield _set(quantization=None)
    yield from _versions(s)
    if s.config.quantization is None:
        yield from _checkpoints(s)


def _fp8(s: Situation) -> Iterator[WayOut]:
    yield _set(linear_backend="marlin")
    yield from _versions(s)


def _float16(s: Situation) -> Iterator[WayOut]:
    if (s.gpu.compute_capability or (9, 0)) >= (8, 0):
        yield _set(dtype="bfloat16")
    yield _set(dtype="float32")


def _budget_for_context(s: Situation) -> Iterator[WayOut]:
    length = s.config.max_model_len or s.facts.max_position
    yield _set(max_num_batched_tokens=length)
    yield _set(enable_chunked_prefill=None)
    budget = s.config.max_num_batched_tokens or 0
    if budget >= s.useful_context:
        yield _set(max_model_len=budget)


def _budget_for_sequences(s: Situation) -> Iterator[WayOut]:
    row = batch_limits(s.gpu, s.config, s.config.max_model_len, parse_version(s.engine_version))
    yield _set(max_num_batched_tokens=row.sequences)
    yield _set(max_num_seqs=row.tokens)


def _other_split(s: Situation) -> Iterator[WayOut]:
    """Another number of GPUs: fewer first, then more."""
    if s.facts.experts > 1 and s.error.rule.id not in ("attention-heads", "kv-heads"):
        yield _set(enable_expert_parallel=True)
    for n in (*range(s.gpus - 1, 0, -1), *range(s.gpus + 1, MOST_GPUS + 1)):
        yield _set(tensor_parallel_size=n)


def _backend(s: Situation) -> Iterator[WayOut]:
    if s.config.attention_backend is not None:
        yield _set(attention_backend=None)
    if s.config.kv_cache_dtype is not None:
        yield _set(kv_cache_dtype="auto")
        yield _set(kv_cache_dtype="auto", attention_backend=None)
    elif s.facts.kv_cache_dtype is not None:
        yield _set(kv_cache_dtype="bfloat16")
        yield _set(kv_cache_dtype="float16")
    yield from _versions(s)


def _utilization(s: Situation) -> Iterator[WayOut]:
    """Hundredths from what was asked for downwards."""
    top = math.floor(100 * (s.config.gpu_memory_utilization or 0.92))
    for hundredths in range(top - 1, max(top - 31, 10), -1):
        yield _set(gpu_memory_utilization=hundredths / 100)


def _longest(s: Situation) -> Iterator[WayOut]:
    """The longest context that fits, as a multiple of 256; one of little use comes last."""
    found = _LONGEST.search(str(s.error))
    fits = int(found[1]) if found else 0
    length = fits // 256 * 256 or fits
    useful = length >= s.useful_context
    if useful:
        yield _set(max_model_len=length)
    yield from _more_room(s)
    if not useful and length >= max(s.longest_request or 1, 1):
        yield _set(max_model_len=length)


def _more_room(s: Situation) -> Iterator[WayOut]:
    """More memory for the KV cache."""
    if s.config.kv_cache_memory_bytes or s.config.other_flags.get("num_gpu_blocks_override"):
        yield _set(kv_cache_memory_bytes=None, num_gpu_blocks_override=None)
    asked = s.config.gpu_memory_utilization
    if asked is None or asked < 0.95:
        yield from (_set(gpu_memory_utilization=u) for u in (0.9, 0.92, 0.95) if u > (asked or 0.9))
    limits = batch_limits(s.gpu, s.config, s.config.max_model_len, parse_version(s.engine_version))
    if limits.tokens > 2048 or limits.sequences > 64:
        yield _set(max_num_seqs=min(limits.sequences, 64), max_num_batched_tokens=min(limits.tokens, 2048))
    if not s.config.enforce_eager and s.gpu.kind == "cuda":
        yield _set(enforce_eager=True)
    yield from _checkpoints(s)
    yield from _more_gpus(s)


def _weights(s: Situation) -> Iterator[WayOut]:
    yield from _checkpoints(s)
    yield from _more_gpus(s)


def _warm_up(s: Situation) -> Iterator[WayOut]:
    if s.config.kv_cache_memory_bytes or s.config.other_flags.get("num_gpu_blocks_override"):
        asked = s.config.kv_cache_memory_bytes or 0
        step = GIB // 4
        yield from (_set(kv_cache_memory_bytes=n) for n in range(asked // step * step - step, 0, -step))
        yield _set(kv_cache_memory_bytes=None, num_gpu_blocks_override=None)
        return
    yield from _utilization(s)
    yield _set(enforce_eager=True)
    yield from (_set(max_num_seqs=n) for n in (512, 256, 128, 64, 32, 16))


BY_RULE: dict[str, Callable[[Situation], Iterator[WayOut]]] = {
    "wheel": _versions,
    "quantization-mismatch": _quantization,
    "quantization-capability": _quantization,
    "quantization-scheme": _quantization,
    "fp8-weight-only": _fp8,
    "bfloat16": lambda s: iter([_set(dtype="half")]),
    "float16-model": _float16,
    "context-of-model": lambda s: iter([_set(max_model_len=s.facts.max_position)]),
    "budget-below-context": _budget_for_context,
    "budget-below-sequences": _budget_for_sequences,
    "attention-heads": _other_split,
    "kv-heads": _other_split,
    "shards": _other_split,
    "fp8-block": _other_split,
    "quantization-group": _other_split,
    "attention-backend": _backend,
    "kv-dtype": _backend,
    "sinks": _backend,
    "free-memory": _utilization,
    "nccl-buffers": _utilization,
    "weights": _weights,
    "no-kv-memory": _more_room,
    "longest-request": _longest,
    "warm-up": _warm_up,
}
"""Rule -> suggestions."""
