"""The run that the tests export, and a configuration whose values need every escape."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "report"))

import made_capacity_run

from rooftune.runfolder import RunFolder
from rooftune.vllm_rules.config import EngineConfig

HARD = EngineConfig(
    model="/models/My model $(HOME) 50%",
    dtype="bfloat16",
    max_model_len=2000000,
    gpu_memory_utilization=0.9,
    enable_prefix_caching=False,
    compilation_config={"cudagraph_mode": "FULL", "cudagraph_capture_sizes": [1, 2], "note": 'it\'s "$x" {{ y }}'},
    speculative_config={"model": "/models/draft\\one", "num_speculative_tokens": 3},
    tensor_parallel_size=2,
    served_model_name='name "with" $quotes\'',
    other_flags={
        "cudagraph_capture_sizes": "1,2,4",
        "scheduling_policy": "on",
        "chat_template_content_format": "12:30",
    },
)
"""Spaces, quotes, dollars, percent signs, braces, backslashes, and words that YAML 1.1 reads as bool or number."""
VARIABLES = {"VLLM_ATTENTION_NOTE": "a $HOME 'b' \"c\" 5% \\d", "OMP_NUM_THREADS": "8"}


def made_run(root: Path) -> RunFolder:
    """The folder of that run."""
    return made_capacity_run.run_without_report(root)
