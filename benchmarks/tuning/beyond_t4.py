"""The rule for equal configurations, on the published T4: how batch limits get through a minute beyond the capacity."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.tuning.cases import T4_FLAGS
from rooftune.search.beyond import BEYOND, beyond_capacity
from rooftune.search.options import Beyond
from rooftune.simulator.virtual.capacity import capacity, sample
from rooftune.simulator.virtual.predict import engine_of
from rooftune.vllm_rules.config import FlagValue
from rooftune.workloads.load import load_workload

LIMITS = (64, 96, 128, 192, 256)
REQUESTS = 8_000


@dataclass(frozen=True)
class Limit:
    """One value of ``max_num_seqs``."""

    capacity_per_s: float
    beyond: Beyond


def beyond_the_capacity() -> list[str]:
    """Print the table; what falls short."""
    found = limits()
    print(
        f"T4, llama-2-7b, AWQ with Marlin, FP8 KV, chat-medium (TTFT 2 s, TPOT 100 ms), at {BEYOND} times the capacity:"
    )
    print("\n| `max_num_seqs` | capacity, requests/s | TPOT, ms | goodput, requests/s | score |")
    print("|---:|---:|---:|---:|---:|")
    for sequences, limit in found.items():
        beyond = limit.beyond
        print(
            f"| {sequences} | {limit.capacity_per_s:.2f} | {beyond.tpot_ms:.0f} | {beyond.goodput_per_s:.2f} "
            f"| {beyond.score:.2f} |"
        )
    print()
    if found[128].beyond.score > found[256].beyond.score:
        return []
    return ["T4: 256 sequences behave better beyond the capacity than 128"]


def limits() -> dict[int, Limit]:
    """Capacity and behaviour of each batch limit."""
    drawn = sample(load_workload("chat-medium"), REQUESTS)
    found = {}
    for sequences in LIMITS:
        flags: dict[str, FlagValue] = {
            **T4_FLAGS, "quantization": "awq_marlin", "kv_cache_dtype": "fp8", "max_num_seqs": sequences,
        }  # fmt: skip
        engine = engine_of("T4", "llama-2-7b", "0.15.1", flags)
        carried = capacity(engine, drawn).rate_per_s
        found[sequences] = Limit(carried, beyond_capacity(engine, drawn, carried))
    return found
