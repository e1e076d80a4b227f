"""Which model runner runs, whether scheduling is asynchronous, and how the scheduler of a version admits requests.

Read in ``config/vllm.py`` (0.15.1 from line 562, 0.19.1 726, 0.23.0 928, 0.29.0 1218, 0.32.0 1540, 0.33.0 1640),
``platforms/cpu.py`` and ``v1/core/sched/scheduler.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from packaging.version import Version

from rooftune.hardware.accelerator import Accelerator
from rooftune.models.facts import ModelFacts
from rooftune.vllm_rules.config import EngineConfig
from rooftune.vllm_rules.speculation import Speculation, speculation
from rooftune.vllm_rules.versions import Releases

Runner = Literal["V1", "V2"]
ON_BY_DEFAULT = Releases(since="0.14")
"""Asynchronous scheduling (release notes of 0.14); before, ``async_scheduling`` switches it on."""
WHOLE_SEQUENCE = Releases(since="0.19")
"""A waiting request is admitted if all its known tokens fit (scheduler_reserve_full_isl, pull request 37307); before,
if its first chunk fits."""
THRESHOLD_SPARES_A_LONE_REQUEST = Releases(since="0.32")
"""long_prefill_token_threshold cuts prompts only while there is another request; before, it cuts every long prompt."""

_V2_BY_ARCHITECTURE = Releases(since="0.23")
_V2_BY_DEFAULT = Releases(since="0.29")
_QUANTISED_AT_LOAD = ("fp8", "fp8_per_tensor", "fp8_per_block", "int8_per_channel", "bitsandbytes")
"""Flags with which vLLM itself quantises a 16-bit checkpoint. The first releases with V2 look at the checkpoint alone
(``is_quantized``, config/model.py of 0.23.0 line 1876), so these do not keep a model from V2; a start with
``--quantization fp8`` on an H200 logged V2."""
_V2_FIRST_MODELS = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen3ForCausalLM")
_V1_METHODS = {
    "ngram": Releases(until="0.29"),
    "ngram_gpu": Releases(until="0.29"),
    "draft_model": Releases(until="0.29"),
    "medusa": Releases(),
    "mlp_speculator": Releases(),
    "suffix": Releases(),
    "custom_class": Releases(),
}
"""Methods that only the V1 runner has, from 0.23 on; eagle, mtp, dflash and dspark run on V2."""
_ASYNC_METHODS = {
    "eagle": Releases(),
    "eagle3": Releases(),
    "mtp": Releases(),
    "extract_hidden_states": Releases(since="0.19"),
    "ngram_gpu": Releases(since="0.19"),
    "dflash": Releases(since="0.23"),
    "draft_model": Releases(since="0.29"),
    "dspark": Releases(since="0.29"),
}
_ASYNC_IF_ASKED = {"draft_model": Releases(since="0.19", until="0.23")}
_METHOD_MATTERS_ON_V2 = Releases(until="0.32")
"""Up to 0.32 the method decides on both runners, from 0.33 on only on V1; so ngram keeps it on (inferred, not run)."""
_PIPELINE_ON_V1 = Releases(since="0.32")
"""More than one pipeline stage turns it off on the V1 runner; before, the queue is as deep as the pipeline."""


@dataclass(frozen=True)
class Asynchronous:
    """Whether scheduling is asynchronous, and why not."""

    on: bool
    reason: str = ""
    refuses: bool = False
    """vLLM does not start when it is asked for all the same."""


def model_runner(gpu: Accelerator, facts: ModelFacts | None, config: EngineConfig, engine: Version) -> Runner:
    """The model runner that a version takes; V2 needs Triton and so a GPU."""
    spec = speculation(config)
    if gpu.kind != "cuda" or not _V2_BY_ARCHITECTURE.has(engine):
        return "V1"
    if spec and spec.kind in _V1_METHODS and _V1_METHODS[spec.kind].has(engine) is not False:
        return "V1"
    if _V2_BY_DEFAULT.has(engine):
        return "V2"
    if facts is None or facts.architecture not in _V2_FIRST_MODELS:
        return "V1"
    at_load = config.quantization in _QUANTISED_AT_LOAD and facts.quantization_method is None
    plain = facts.quantization is None and config.quantization is None
    return "V2" if at_load or plain else "V1"


def async_scheduling(gpu: Accelerator, facts: ModelFacts | None, config: EngineConfig, engine: Version) -> Asynchronous:
    """What ``async_scheduling`` comes to."""
    if gpu.kind == "cpu":
        return Asynchronous(False, "the CPU backend always turns it off")
    asked, spec = config.async_scheduling, speculation(config)
    excluded = _excluded(gpu, facts, config, engine, spec)
    if asked:
        return Asynchronous(not excluded.reason, excluded.reason, excluded.refuses)
    if asked is False:
        return Asynchronous(False, "async_scheduling is off")
    if not ON_BY_DEFAULT.has(engine):
        return Asynchronous(False, "it is off by default before vLLM 0.14")
    if spec and spec.kind in _ASYNC_IF_ASKED and _ASYNC_METHODS[spec.kind].has(engine) is not True:
        return Asynchronous(False, f"it is off by default with speculative decoding by {spec.method}")
    return Asynchronous(not excluded.reason, excluded.reason)


def _excluded(
    gpu: Accelerator, facts: ModelFacts | None, config: EngineConfig, engine: Version, spec: Speculation | None
) -> Asynchronous:
    """Why it cannot be on; an empty reason when nothing excludes it."""
    runner = model_runner(gpu, facts, config, engine)
    stages = config.other_flags.get("pipeline_parallel_size") or 1
    by_default = bool(ON_BY_DEFAULT.has(engine))
    matters = runner == "V1" or bool(_METHOD_MATTERS_ON_V2.has(engine))
    if spec and not by_default:
        return Asynchronous(False, "vLLM before 0.14 refuses it with speculative decoding", refuses=True)
    if spec and matters and not _method_allows(spec, engine, asked=bool(config.async_scheduling)):
        return Asynchronous(False, f"it does not go with speculative decoding by {spec.method}", refuses=True)
    if spec and matters and not spec.padded:
        return Asynchronous(False, "it does not go with disable_padded_drafter_batch", refuses=True)
    if _executor(config) == "ray" and by_default and engine.release[:2] < (0, 33):
        return Asynchronous(False, "the ray executor does not support it", refuses=True)
    if isinstance(stages, int) and stages > 1:
        if not by_default:
            return Asynchronous(False, "vLLM before 0.14 refuses it with pipeline parallelism", refuses=True)
        if runner == "V1" and _PIPELINE_ON_V1.has(engine) and not config.async_scheduling:
            return Asynchronous(False, "the V1 model runner does not support it with pipeline parallelism")
    return Asynchronous(True)


def _method_allows(spec: Speculation, engine: Version, *, asked: bool) -> bool:
    """Whether a method goes with asynchronous scheduling; in a version that was not read, what was allowed before."""
    if asked and spec.kind in _ASYNC_IF_ASKED and _ASYNC_IF_ASKED[spec.kind].has(engine) is not False:
        return True
    if not spec.method:
        return True
    return spec.kind in _ASYNC_METHODS and _ASYNC_METHODS[spec.kind].has(engine) is True


def _executor(config: EngineConfig) -> str:
    return str(config.other_flags.get("distributed_executor_backend") or "")
