"""What model cards and reports say of public models whose config.json is in ``data/configs``.

The configurations were written by hand from the public files of the hub ids below: keys about layers, heads, experts
and quantisation as published, most others left out. Parameters agree with transformers' own model classes within 0.1 %.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DATA = Path(__file__).parent / "data"


@dataclass(frozen=True)
class Card:
    """A model card: parameters in billions, KV bytes per token in 16 bits by arithmetic from the published sizes."""

    hub_id: str
    total: float
    kv_bytes: int
    active: float | None = None
    """As the card rounds it; cards differ in whether embedding and LM head are included."""
    full_kv_bytes: int | None = None
    """Of the layers without a window, where not all layers are."""
    vision: float = 0.0
    """Part of ``total`` that is the vision tower."""


CARDS = {
    "afm-4.5b": Card("arcee-ai/AFM-4.5B", 4.62, 73_728),
    "apertus-8b": Card("swiss-ai/Apertus-8B-2509", 8.05, 131_072),
    "command-r7b": Card("CohereLabs/c4ai-command-r7b-12-2024", 8.03, 131_072, full_kv_bytes=32_768),
    "dbrx": Card("databricks/dbrx-instruct", 132, 163_840, active=36),
    "deepseek-moe-16b": Card("deepseek-ai/deepseek-moe-16b-chat", 16.4, 229_376, active=2.8),
    "dots.llm1": Card("rednote-hilab/dots.llm1.inst", 142, 1_015_808, active=14),
    "ernie-4.5-21b-a3b": Card("baidu/ERNIE-4.5-21B-A3B-PT", 21.8, 57_344, active=3),
    "exaone-4.0-32b": Card("LGAI-EXAONE/EXAONE-4.0-32B", 32.0, 262_144, full_kv_bytes=65_536),
    "gemma-2-9b": Card("google/gemma-2-9b-it", 9.24, 344_064, full_kv_bytes=172_032),
    "gemma-3-4b": Card("google/gemma-3-4b-it", 4.30, 139_264, full_kv_bytes=20_480, vision=0.42),
    "gemma-3-12b": Card("google/gemma-3-12b-it", 12.2, 393_216, full_kv_bytes=65_536, vision=0.42),
    "gemma-3-27b": Card("google/gemma-3-27b-it", 27.4, 507_904, full_kv_bytes=81_920, vision=0.42),
    "gemma-4-26b-a4b": Card("google/gemma-4-26B-A4B", 25.8, 225_280, active=3.8, full_kv_bytes=20_480, vision=0.57),
    "gemma-4-31b": Card("google/gemma-4-31B", 31.3, 901_120, full_kv_bytes=81_920, vision=0.57),
    "glm-4.5-air": Card("zai-org/GLM-4.5-Air", 106, 188_416, active=12),
    "gpt-oss-20b": Card("openai/gpt-oss-20b", 20.9, 49_152, active=3.6, full_kv_bytes=24_576),
    "gpt-oss-120b": Card("openai/gpt-oss-120b", 116.8, 73_728, active=5.1, full_kv_bytes=36_864),
    "granite-3.1-3b-a800m": Card("ibm-granite/granite-3.1-3b-a800m-instruct", 3.3, 65_536, active=0.8),
    "granite-4.0-micro": Card("ibm-granite/granite-4.0-micro", 3.4, 81_920),
    "hunyuan-a13b": Card("tencent/Hunyuan-A13B-Instruct", 80.4, 131_072, active=13),
    "llama-3.1-405b-fp8": Card("meta-llama/Llama-3.1-405B-Instruct-FP8", 405.9, 516_096),
    "llama-4-maverick": Card(
        "meta-llama/Llama-4-Maverick-17B-128E-Instruct", 402, 196_608, active=17, full_kv_bytes=49_152, vision=0.87
    ),
    "llama-4-scout": Card(
        "meta-llama/Llama-4-Scout-17B-16E-Instruct", 109, 196_608, active=17, full_kv_bytes=49_152, vision=0.87
    ),
    "llava-1.5-7b": Card("llava-hf/llava-1.5-7b-hf", 7.06, 524_288, vision=0.32),
    "mimo-v2-flash": Card("XiaomiMiMo/MiMo-V2-Flash", 309, 222_720, active=15, full_kv_bytes=23_040),
    "minimax-m2": Card("MiniMaxAI/MiniMax-M2", 229, 253_952, active=10),
    "mistral-small-3.2-24b": Card("mistralai/Mistral-Small-3.2-24B-Instruct-2506", 24.0, 163_840, vision=0.44),
    "mixtral-8x22b": Card("mistralai/Mixtral-8x22B-v0.1", 140.6, 229_376, active=39),
    "nemotron-mini-4b": Card("nvidia/Nemotron-Mini-4B-Instruct", 4.19, 131_072),
    "olmo-3-7b": Card("allenai/Olmo-3-1025-7B", 7.3, 524_288, full_kv_bytes=131_072),
    "olmoe-1b-7b": Card("allenai/OLMoE-1B-7B-0924", 6.92, 131_072, active=1.3),
    "phi-3.5-moe": Card("microsoft/Phi-3.5-MoE-instruct", 41.9, 131_072, active=6.6),
    "phi-4": Card("microsoft/phi-4", 14.7, 204_800),
    "phi-4-mini": Card("microsoft/Phi-4-mini-instruct", 3.84, 131_072),
    "qwen2-57b-a14b": Card("Qwen/Qwen2-57B-A14B-Instruct", 57.4, 57_344, active=14),
    "qwen2.5-7b-gptq-int4": Card("Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4", 7.61, 57_344),
    "qwen2.5-vl-7b": Card("Qwen/Qwen2.5-VL-7B-Instruct", 8.29, 57_344, vision=0.68),
    "qwen3-8b": Card("Qwen/Qwen3-8B", 8.2, 147_456),
    "qwen3-32b": Card("Qwen/Qwen3-32B", 32.8, 262_144),
    "qwen3-30b-a3b": Card("Qwen/Qwen3-30B-A3B", 30.5, 98_304, active=3.3),
    "qwen3-235b-a22b-fp8": Card("Qwen/Qwen3-235B-A22B-FP8", 235, 192_512, active=22),
    "qwen3-coder-480b-a35b": Card("Qwen/Qwen3-Coder-480B-A35B-Instruct", 480, 253_952, active=35),
    "qwen3-vl-30b-a3b": Card("Qwen/Qwen3-VL-30B-A3B-Instruct", 31.1, 98_304, active=3.3, vision=0.54),
    "seed-oss-36b": Card("ByteDance-Seed/Seed-OSS-36B-Instruct", 36.2, 262_144),
    "smollm3-3b": Card("HuggingFaceTB/SmolLM3-3B", 3.08, 73_728),
    "starcoder2-7b": Card("bigcode/starcoder2-7b", 7.17, 65_536, full_kv_bytes=0),
    "trinity-mini": Card("arcee-ai/Trinity-Mini", 26.1, 65_536, active=3, full_kv_bytes=16_384),
    "gemma-3n-e4b": Card("google/gemma-3n-E4B-it", 6.87, 40_960, full_kv_bytes=8_192),
}
"""gemma-3n-e4b: the language part alone, of which 20 of 35 layers have their own KV cache."""

WEIGHTS_GIB = {
    "gpt-oss-20b": 12.8,  # size of its files
    "gpt-oss-120b": 60.8,  # size of its files
    "gemma-3-27b": 51.1,  # 54.9 GB of files in 16 bits
    "qwen3-8b": 15.27,  # "Loading model weights took 15.27 GiB" (vLLM)
    "qwen3-235b-a22b-fp8": 220.2,  # 236 GB of files
    "qwen2.5-7b-gptq-int4": 5.2,  # 5.6 GB of files
}
"""GiB of weights as published."""

REFUSED = {
    "bamba-9b": "attn_layer_indices",
    "deepseek-v3": "kv_lora_rank",
    "deepseek-v4-flash": "compress_ratios",
    "falcon-h1-7b": "mamba_d_ssm",
    "granite-4.0-h-small": "layer_types with 'mamba'",
    "jamba-mini": "attn_layer_period",
    "kimi-linear-48b-a3b": "kv_lora_rank",
    "lfm2-8b-a1b": "layer_types with 'conv'",
    "llama-3.2-11b-vision": "cross_attention_layers",
    "minimax-m1": "attn_type_list",
    "minimax-m3": "sparse_attention_config",
    "nemotron-3-nano-30b-a3b": "hybrid_override_pattern",
    "nemotron-3-ultra": "layers_block_type with 'mamba'",
    "nemotron-h-56b": "hybrid_override_pattern",
    "nemotron-super-49b": "block_configs",
    "qwen3-next-80b-a3b": "full_attention_interval",
    "qwen3-next-without-its-keys": "model_type 'qwen3_next'",
    "qwen3.5-27b": "layer_types with 'linear_attention'",
    "recurrentgemma-9b": "block_types",
    "step-3.7-flash": "share_expert_dim",
    "zamba2-7b": "layers_block_type with 'mamba'",
}
"""The key that a refusal names, by file of ``data/refused``."""
