"""Whether an engine would start: refusals by GPU, model, flags and version, ways out that start, and the budget."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rooftune.engines.failures import classify
from rooftune.hardware.named import accelerator
from rooftune.models.catalogue import from_config, model_facts
from rooftune.models.facts import ModelFacts
from rooftune.vllm_rules.config import EngineConfig
from rooftune.vllm_rules.refusals import RULES, StartRefused
from rooftune.vllm_rules.start.context import needed_context
from rooftune.vllm_rules.start.startup import Startup, startup
from rooftune.vllm_rules.start.ways_out import BY_RULE

GIB = 2**30


def start(gpu: str, model: str, version: str = "0.32.0", longest: int | None = None, **flags: Any) -> Startup:
    facts = model_facts(model, quantization=flags.get("quantization"))
    return startup(accelerator(gpu), facts, EngineConfig(model=model).with_change(flags), version, longest)


@dataclass(frozen=True)
class Case:
    """A configuration that does not start: the rule, and the way out in words."""

    rule: str
    gpu: str
    model: str
    version: str
    flags: dict[str, Any]
    way_out: str

    def __str__(self) -> str:
        return f"{self.rule}-{self.gpu}-{self.version}"


CASES = [
    Case("wheel", "V100", "tinyllama-1.1b", "0.32.0", {}, "vLLM 0.19.1"),
    Case("quantization-capability", "T4", "qwen2.5-3b", "0.11.0", {"quantization": "fp8", "max_model_len": 2048}, "vLLM 0.15.1"),
    Case("fp8-weight-only", "A100-80", "llama-3.1-8b", "0.29.0", {"quantization": "fp8"}, "linear_backend=marlin"),
    Case("fp8-weight-only", "T4", "qwen2.5-3b", "0.29.0", {"quantization": "fp8"}, "linear_backend=marlin"),
    Case("bfloat16", "T4", "qwen2.5-3b", "0.32.0", {"dtype": "bfloat16"}, "dtype=half"),
    Case("float16-model", "T4", "gemma-2-2b", "0.23.0", {}, "dtype=float32"),
    Case("float16-model", "L4", "gemma-2-2b", "0.23.0", {"dtype": "half"}, "dtype=bfloat16"),
    Case("context-of-model", "H100", "llama-3-8b", "0.19.1", {"max_model_len": 9000}, "max_model_len=8192"),
    Case("budget-below-context", "H100", "llama-3-8b", "0.11.0", {"enable_chunked_prefill": False, "max_num_batched_tokens": 4096},
        "max_num_batched_tokens=8192"),
    Case("budget-below-sequences", "H100", "llama-3-8b", "0.15.1", {"max_num_batched_tokens": 64, "max_num_seqs": 128},
        "max_num_batched_tokens=128"),
    Case("attention-heads", "H100", "llama-3.1-8b", "0.32.0", {"tensor_parallel_size": 3}, "tensor_parallel_size=2"),
    Case("attention-heads", "H100", "qwen2.5-7b", "0.19.1", {"tensor_parallel_size": 8}, "tensor_parallel_size=4"),
    Case("kv-heads", "H100", "qwen2.5-14b", "0.19.1", {"tensor_parallel_size": 5}, "tensor_parallel_size=4"),
    Case("quantization-group", "A100-80", "qwen2.5-72b", "0.32.0", {"tensor_parallel_size": 8, "quantization": "awq_marlin"},
        "tensor_parallel_size=1"),
    Case("fp8-block", "H100", "qwen3-30b-a3b", "0.32.0", {"tensor_parallel_size": 4, "quantization": "fp8"},
        "enable_expert_parallel=true"),
    Case("fp8-weight-only", "A40", "qwen2.5-3b", "0.29.0", {"quantization": "fp8", "max_num_seqs": 256}, "linear_backend=marlin"),
    Case("attention-backend", "T4", "qwen2.5-3b", "0.32.0", {"attention_backend": "FLASH_ATTN"}, "without attention_backend"),
    Case("attention-backend", "L4", "qwen2.5-3b", "0.15.1", {"attention_backend": "FLASH_ATTN", "kv_cache_dtype": "fp8"},
        "without attention_backend"),
    Case("kv-dtype", "T4", "qwen2.5-3b", "0.32.0", {"kv_cache_dtype": "fp8"}, "kv_cache_dtype=auto"),
    Case("kv-dtype", "T4", "qwen2.5-3b", "0.11.0", {"kv_cache_dtype": "fp8"}, "kv_cache_dtype=auto"),
    Case("kv-dtype", "L4", "qwen2.5-3b", "0.15.1", {"kv_cache_dtype": "int8_per_token_head"}, "kv_cache_dtype=auto"),
    Case("free-memory", "H100", "llama-3.1-8b", "0.32.0", {"gpu_memory_utilization": 1.0}, "gpu_memory_utilization=0.99"),
    Case("free-memory", "RTX 4090", "qwen2.5-3b", "0.11.0", {"gpu_memory_utilization": 0.995}, "gpu_memory_utilization=0.97"),
    Case("nccl-buffers", "H100", "llama-3.1-70b", "0.15.1", {"tensor_parallel_size": 4, "gpu_memory_utilization": 0.95},
        "gpu_memory_utilization=0.92"),
    Case("nccl-buffers", "A100-80", "llama-3.1-70b", "0.32.0", {"tensor_parallel_size": 4, "gpu_memory_utilization": 0.99},
        "gpu_memory_utilization=0.98"),
    Case("weights", "T4", "llama-2-13b", "0.32.0", {}, "quantization=awq_marlin"),
    Case("weights", "T4", "mixtral-8x7b", "0.32.0", {}, "tensor_parallel_size=8"),
    Case("no-kv-memory", "L4", "qwen2.5-3b", "0.32.0", {"gpu_memory_utilization": 0.2}, "gpu_memory_utilization=0.9"),
    Case("longest-request", "L4", "llama-3.1-8b", "0.32.0", {}, "max_model_len="),
    Case("longest-request", "L4", "llama-3.1-8b", "0.11.0", {"max_model_len": 131072}, "max_model_len="),
    Case("warm-up", "L4", "qwen2.5-3b", "0.32.0", {"kv_cache_memory_bytes": 20 * GIB}, "kv_cache_memory_bytes="),
    Case("warm-up", "L4", "qwen2.5-3b", "0.32.0", {"num_gpu_blocks_override": 50000}, "without kv_cache_memory_bytes and num_gpu_blocks_override"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_refusals_have_their_rule_and_a_way_out_that_starts(case: Case) -> None:
    found = start(case.gpu, case.model, case.version, **case.flags)
    assert found.refusal is not None
    assert (found.refusal.rule, found.refusal.source) == (case.rule, RULES[case.rule].source)
    way = found.refusal.way_out
    assert way is not None
    assert case.way_out in way.words
    assert found.refusal.message in found.refusal.sentence
    assert way.words in found.refusal.sentence
    changed = {**case.flags, **way.change}
    again = start(case.gpu, case.model, way.engine_version or case.version, **changed)
    assert again.starts, again.error


@pytest.mark.parametrize(
    ("gpu", "model", "version", "flags"),
    [
        ("A100-80", "llama-3.1-8b", "0.23.0", {"quantization": "fp8"}),
        ("A100-80", "llama-3.1-8b", "0.32.0", {"quantization": "fp8"}),
        ("L4", "llama-3.1-8b", "0.29.0", {"quantization": "fp8", "max_model_len": 8192}),
        ("A100-80", "llama-3.1-8b", "0.29.0", {"quantization": "fp8_per_block"}),
        ("A100-80", "qwen3-8b", "0.29.0", {"quantization": "fp8"}),
        ("H100", "qwen3-30b-a3b", "0.32.0", {"quantization": "fp8", "tensor_parallel_size": 2}),
        ("T4", "qwen2.5-3b", "0.15.1", {"kv_cache_dtype": "fp8"}),
        ("T4", "qwen2.5-3b", "0.32.0", {"kv_cache_dtype": "int8_per_token_head"}),
        ("V100", "tinyllama-1.1b", "0.19.1", {}),
        ("H100", "llama-3.1-70b", "0.32.0", {"tensor_parallel_size": 4, "gpu_memory_utilization": 0.95}),
        ("A100-80", "llama-3.1-70b", "0.15.1", {"tensor_parallel_size": 4, "gpu_memory_utilization": 0.95}),
        ("H100", "qwen2.5-14b", "0.19.1", {"tensor_parallel_size": 8}),
    ],
)
def test_what_starts_is_not_refused(gpu: str, model: str, version: str, flags: dict[str, Any]) -> None:
    assert start(gpu, model, version, **flags).error is None


def test_layers_with_a_window_do_not_grow_with_the_longest_request() -> None:
    """gemma-3-12b: 40 of 48 layers look back 1,024 tokens, so 131,072 tokens need a fifth of what 48 layers would."""
    facts = from_config(Path(__file__).parent.parent / "models" / "data" / "configs" / "gemma-3-12b.json")

    def at(**flags: Any) -> Startup:
        config = EngineConfig(model="m", max_num_seqs=64).with_change(flags)
        return startup(accelerator("A100-40"), facts, config, "0.32.0")

    hybrid, plain = at(), at(disable_hybrid_kv_cache_manager=True)
    assert hybrid.memory is not None
    assert hybrid.memory.kv_cache_bytes < 131072 * hybrid.memory.kv_bytes_per_token
    assert hybrid.memory.kv_cache_tokens > hybrid.memory.longest_request_tokens == 131072
    assert plain.refusal is not None
    assert plain.refusal.rule == "longest-request"


def test_a_method_that_is_not_the_checkpoints_is_refused() -> None:
    facts = model_facts("qwen2.5-3b", quantization="awq")
    found = startup(accelerator("L4"), facts, EngineConfig(model="m", quantization="fp8"), "0.32.0")
    assert found.refusal is not None
    assert found.refusal.rule == "quantization-mismatch"
    assert found.refusal.way_out is not None
    assert found.refusal.way_out.words == "without quantization"


@pytest.mark.parametrize("name", ["minimax-m2", "qwen3-235b-a22b-fp8"])
def test_block_fp8_over_eight_gpus_needs_expert_parallelism(name: str) -> None:
    """Experts of 1,536 over 8 GPUs are 192 wide, a block is 128 (vLLM issue 17569, pull request 39046)."""
    facts = from_config(Path(__file__).parent.parent / "models" / "data" / "configs" / f"{name}.json")
    assert facts.fp8_block == 128
    eight = startup(accelerator("H200"), facts, EngineConfig(model="m", tensor_parallel_size=8), "0.32.0")
    assert eight.refusal is not None
    assert "weight = 192 is not divisible by weight quantization block_n = 128" in eight.refusal.message
    assert eight.refusal.way_out is not None
    assert eight.refusal.way_out.words == "enable_expert_parallel=true"
    assert startup(accelerator("H200"), facts, EngineConfig(model="m", tensor_parallel_size=4), "0.32.0").starts


@pytest.mark.parametrize(
    ("gpu", "kind", "version", "rule"),
    [
        ("T4", "fp8", "0.15.1", "quantization-scheme"),
        ("T4", "fp8", "0.19.1", None),
        ("T4", "gptq", "0.11.0", "quantization-scheme"),
        ("T4", "gptq", "0.15.1", None),
        ("A100-80", "fp8", "0.29.0", None),
        ("V100", "int8", "0.19.1", "quantization-scheme"),
    ],
)
def test_schemes_of_compressed_tensors_have_their_own_minimum(
    gpu: str, kind: str, version: str, rule: str | None
) -> None:
    facts = model_facts("tinyllama-1.1b").model_copy(
        update={
            "quantization": kind,
            "quantization_method": "compressed-tensors",
            "weight_bits": 4 if kind == "gptq" else None,
        }
    )
    found = startup(accelerator(gpu), facts, EngineConfig(model="m"), version)
    assert (found.error.rule.id if found.error else None) == rule
    if rule:
        assert found.refusal is not None
        assert found.refusal.way_out is not None or gpu == "V100"


def gpt_oss(**changes: Any) -> ModelFacts:
    """A small model with the attention of gpt-oss."""
    facts = model_facts("qwen2.5-3b", quantization="mxfp4")
    return facts.model_copy(update={"architecture": "GptOssForCausalLM", **changes})


@pytest.mark.parametrize(
    ("gpu", "version", "flags", "rule"),
    [
        ("A100-80", "0.15.1", {}, None),
        ("A100-80", "0.32.0", {"attention_backend": "FLASH_ATTN"}, "sinks"),
        ("H100", "0.32.0", {"attention_backend": "FLASH_ATTN"}, None),
        ("H100", "0.32.0", {"attention_backend": "FLASHINFER"}, "sinks"),
        ("B200", "0.32.0", {"attention_backend": "FLASHINFER"}, None),
        ("A100-80", "0.32.0", {"kv_cache_dtype": "fp8"}, "kv-dtype"),
        ("L4", "0.32.0", {"kv_cache_dtype": "fp8"}, None),
        ("RTX PRO 6000", "0.19.1", {}, None),
        ("T4", "0.32.0", {}, "quantization-capability"),
    ],
)
def test_attention_sinks_need_a_backend_that_has_them(
    gpu: str, version: str, flags: dict[str, Any], rule: str | None
) -> None:
    found = startup(accelerator(gpu), gpt_oss(), EngineConfig(model="m", **flags), version)
    assert (found.error.rule.id if found.error else None) == rule
    if rule in ("sinks", "kv-dtype"):
        assert found.refusal is not None
        assert found.refusal.way_out is not None
        changed = EngineConfig(model="m", **flags).with_change(found.refusal.way_out.change)
        assert startup(accelerator(gpu), gpt_oss(), changed, version).starts


@pytest.mark.parametrize(
    ("version", "quantized", "graphs_inside", "fp8_on_ampere"),
    [
        ("0.11.0", False, False, True),
        ("0.15.1", True, False, True),
        ("0.19.1", True, False, True),
        ("0.23.0", True, True, True),
        ("0.29.0", False, True, False),
        ("0.32.0", True, True, True),
        ("0.33.0", True, True, True),
    ],
)
def test_start_rules_by_version(version: str, quantized: bool, graphs_inside: bool, fp8_on_ampere: bool) -> None:
    turing = start("T4", "qwen2.5-3b", version, quantization="fp8", max_model_len=2048)
    assert turing.starts is quantized
    ampere = start("A100-80", "qwen2.5-3b", version, quantization="fp8")
    assert ampere.starts is fp8_on_ampere
    plain = start("A100-80", "qwen2.5-3b", version).memory
    assert plain is not None
    assert bool(plain.graphs_bytes) is graphs_inside
    assert bool(plain.graphs_beyond_limit_bytes) is not graphs_inside


@pytest.mark.parametrize("case", [c for c in CASES if c.rule not in ("fp8-weight-only", "kv-heads")], ids=str)
def test_the_log_reader_gives_a_refusal_the_same_class(case: Case) -> None:
    """Of the other two, vLLM prints no text."""
    error = start(case.gpu, case.model, case.version, **case.flags).error
    assert error is not None
    read = classify(f"ValueError: {error}", 1)
    assert read is not None
    assert read.kind == error.kind == RULES[case.rule].kind


@pytest.mark.parametrize(
    ("name", "gpu", "rule"),
    [
        ("gpt-oss-20b", "T4", "quantization-capability"),
        ("gpt-oss-20b", "A100-80", None),
        ("gpt-oss-120b", "A100-80", None),
        ("gpt-oss-120b", "L40S", "weights"),
        ("gemma-3-4b", "T4", "float16-model"),
        ("glm-4.5-air", "H200", "weights"),
        ("smollm3-3b", "T4", None),
    ],
)
def test_current_models_by_their_config(name: str, gpu: str, rule: str | None) -> None:
    facts = from_config(Path(__file__).parent.parent / "models" / "data" / "configs" / f"{name}.json")
    found = startup(accelerator(gpu), facts, EngineConfig(model="m"), "0.32.0", longest_request=1000)
    assert (found.error.rule.id if found.error else None) == rule


def test_every_rule_has_suggestions_and_a_source() -> None:
    assert set(BY_RULE) == set(RULES)
    assert all(rule.source and rule.kind for rule in RULES.values())


def test_a_refusal_survives_a_process_boundary() -> None:
    import pickle

    found = pickle.loads(pickle.dumps(StartRefused("bfloat16", "words")))
    assert (found.rule.id, str(found), found.kind) == ("bfloat16", "words", "dtype")


def test_the_context_is_lowered_to_the_workload_where_the_models_own_does_not_fit() -> None:
    found = start("L4", "llama-3.1-8b", longest=560)
    assert found.starts
    assert found.config.max_model_len == 2048
    assert found.context is not None
    assert (
        found.context.sentence.startswith(
            "max_model_len 2048 set by rooftune: the model's 131,072 tokens need 16.0 GiB of KV cache, 4."
        )
        or "need 16 GiB" in found.context.sentence
    )
    assert start("H100", "llama-3.1-8b", longest=560).context is None, "the model's own context fits"
    assert not start("L4", "llama-3.1-8b", longest=560, max_model_len=131072).starts, "the user set it"


def test_a_request_that_fits_without_head_room_gets_exactly_its_length() -> None:
    most = start("L4", "llama-3.1-8b", longest=560).memory
    assert most is not None
    longest = most.kv_cache_tokens - 64
    found = start("L4", "llama-3.1-8b", longest=longest)
    assert found.config.max_model_len is not None
    assert longest <= found.config.max_model_len < longest + 16


def test_a_workload_that_never_fits_is_refused_with_another_way_out() -> None:
    found = start("L4", "llama-3.1-8b", longest=100_000)
    assert found.refusal is not None
    assert found.refusal.rule == "longest-request"
    assert found.refusal.way_out is not None
    assert "max_model_len" not in found.refusal.way_out.change or found.refusal.way_out.gpus


@pytest.mark.parametrize(
    ("longest", "model", "context"), [(1, 131072, 2048), (1638, 131072, 2048), (1639, 131072, 2304), (9000, 8192, 8192)]
)
def test_the_needed_context(longest: int, model: int, context: int) -> None:
    assert needed_context(longest, model) == context


GPUS = ("T4", "L4", "A10G", "A100-40", "A100-80", "H100", "RTX 4090", "B200", "RTX PRO 6000", "V100")
MODELS = ("qwen2.5-0.5b", "llama-3.1-8b", "qwen2.5-72b", "mixtral-8x7b", "gemma-2-9b", "qwen3-30b-a3b", "phi-3-mini")
VERSIONS = ("0.11.0", "0.15.1", "0.19.1", "0.23.0", "0.29.0", "0.32.0", "0.33.0")
CHOICES: dict[str, tuple[Any, ...]] = {
    "quantization": ("awq", "awq_marlin", "fp8", "gptq_marlin"),
    "dtype": ("half", "bfloat16"),
    "max_model_len": (2048, 8192, 32768),
    "gpu_memory_utilization": (0.5, 0.9, 0.95, 0.98),
    "kv_cache_dtype": ("fp8", "fp8_e5m2"),
    "max_num_seqs": (1, 64, 1024),
    "max_num_batched_tokens": (512, 8192, 65536),
    "enable_chunked_prefill": (False,),
    "enforce_eager": (True,),
    "tensor_parallel_size": (2, 3, 4, 8),
    "kv_cache_memory_bytes": (GIB, 30 * GIB),
}


def test_a_start_adds_up_and_a_way_out_starts() -> None:
    rng = random.Random(1)
    yes = no = 0
    for _ in range(1500):
        flags = {name: rng.choice(values) for name, values in CHOICES.items() if rng.random() < 0.25}
        gpu, model, version = rng.choice(GPUS), rng.choice(MODELS), rng.choice(VERSIONS)
        longest = rng.choice((None, 700, 5000))
        found = start(gpu, model, version, longest, **flags)
        if found.starts:
            yes += 1
            _adds_up(found)
        elif rng.random() < 0.3:
            no += 1
            _way_out_starts(found)
    assert yes > 200
    assert no > 100


def _adds_up(found: Startup) -> None:
    m = found.memory
    assert m is not None
    assert m.used_bytes <= m.limit_bytes + 4, "each part is rounded"
    assert m.used_bytes + m.graphs_beyond_limit_bytes - m.activations_bytes + m.sampler_bytes <= m.free_bytes + 4
    assert m.kv_cache_bytes >= m.longest_request_bytes
    if not found.facts.windowed_layers:
        assert m.kv_cache_tokens >= m.longest_request_tokens
        assert m.longest_request_bytes == pytest.approx(m.longest_request_tokens * m.kv_bytes_per_token, rel=0.01)
        assert m.kv_cache_tokens * m.kv_bytes_per_token <= m.kv_cache_bytes + 4
    assert m.kv_cache_blocks * m.pool.bytes_per_block <= m.kv_cache_bytes + 4
    assert m.scheduled_tokens() >= m.longest_request_tokens
    if found.config.kv_cache_memory_bytes is None:
        assert found.resolved is not None
        assert m.limit_bytes <= found.resolved.gpu_memory_utilization * m.total_bytes + 1


def _way_out_starts(found: Startup) -> None:
    refusal = found.refusal
    assert refusal is not None
    way = refusal.way_out
    if way is None:
        return
    facts = way.facts_of(found.facts)
    config = found.config.with_change(way.change)
    assert startup(found.gpu, facts, config, way.engine_version or found.engine_version, found.longest_request).starts
