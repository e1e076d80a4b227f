"""What a real vLLM resolves flags to, beside what the rules say: several configurations in one process."""

from __future__ import annotations

import json
import subprocess
import textwrap
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from rooftune.engines.interpreter import Installed
from rooftune.hardware.processor import cpu
from rooftune.models.catalogue import model_facts
from rooftune.vllm_rules.config import EngineConfig
from rooftune.vllm_rules.resolve import resolve

CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "few sequences": {"max_num_seqs": 4, "max_model_len": 256},
    "a small budget": {"max_num_batched_tokens": 64},
    "throughput mode": {"performance_mode": "throughput"},
    "without chunked prefill": {"enable_chunked_prefill": False, "max_model_len": 4096},
    "without prefix caching": {"enable_prefix_caching": False},
    "asynchronous scheduling asked for": {"async_scheduling": True},
    "n-gram speculation": {"speculative_config": {"method": "ngram", "num_speculative_tokens": 3}},
    "eager": {"enforce_eager": True, "gpu_memory_utilization": 0.5},
    "own block size": {"block_size": 64},
}
SETTINGS = (
    "max_num_seqs",
    "max_num_batched_tokens",
    "max_model_len",
    "block_size",
    "gpu_memory_utilization",
    "async_scheduling",
    "chunked_prefill",
    "prefix_caching",
    "runner",
    "whole_prompt_must_fit",
)
ENGINE = textwrap.dedent(
    """
    import json, sys
    from vllm.engine.arg_utils import EngineArgs
    from vllm.usage.usage_lib import UsageContext

    model, configurations = sys.argv[1], json.loads(sys.argv[2])
    found = {}
    for name, flags in configurations.items():
        args = EngineArgs(model=model, dtype="float32", **flags)
        config = args.create_engine_config(UsageContext.OPENAI_API_SERVER)
        scheduler, cache = config.scheduler_config, config.cache_config
        found[name] = {
            "max_num_seqs": scheduler.max_num_seqs,
            "max_num_batched_tokens": scheduler.max_num_batched_tokens,
            "max_model_len": config.model_config.max_model_len,
            "block_size": cache.block_size,
            "gpu_memory_utilization": cache.gpu_memory_utilization,
            "async_scheduling": scheduler.async_scheduling,
            "chunked_prefill": scheduler.enable_chunked_prefill,
            "prefix_caching": cache.enable_prefix_caching,
            "runner": "V2" if config.use_v2_model_runner else "V1",
            "whole_prompt_must_fit": scheduler.scheduler_reserve_full_isl,
        }
    print("RESOLVED " + json.dumps(found))
    """
)


@cache
def resolved_by_vllm(python: str, model: str) -> dict[str, dict[str, Any]]:
    done = subprocess.run(
        [python, "-c", ENGINE, model, json.dumps(CONFIGURATIONS)], capture_output=True, text=True, check=False
    )
    line = next((x for x in done.stdout.splitlines() if x.startswith("RESOLVED ")), None)
    assert line, done.stderr[-2000:]
    found: dict[str, dict[str, Any]] = json.loads(line.removeprefix("RESOLVED "))
    return found


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_the_rules_resolve_flags_as_a_real_vllm_does(vllm: Installed, tiny: Path, name: str) -> None:
    if not vllm.cpu:
        pytest.skip("compared on the CPU build, whose device is known")
    theirs = resolved_by_vllm(vllm.python, str(tiny))[name]
    config = EngineConfig(model=str(tiny), dtype="float32").with_change(CONFIGURATIONS[name])
    ours = resolve(cpu(), model_facts(str(tiny)), config, vllm.version.split("+")[0])
    assert {setting: getattr(ours, setting) for setting in SETTINGS} == theirs
