"""Reading the logs of real servers: the effective configuration, and why a server did not start."""

from __future__ import annotations

from pathlib import Path

import pytest

from rooftune.engines import metrics
from rooftune.engines.failures import classify, death, last_exception, rules
from rooftune.engines.logs import read_effective

LOGS = Path(__file__).parent / "logs"


def text(name: str) -> str:
    return (LOGS / name).read_text(encoding="utf-8")


def test_vllm_0_32_on_the_cpu_in_eager_mode() -> None:
    models = {"data": [{"id": "/models/tiny-llama", "max_model_len": 4096}]}
    found = read_effective(text("vllm_0.32.0_cpu_eager.txt"), text("vllm_0.32.0_metrics.txt"), models, "0.32.0")
    assert found.model_dump(exclude={"raw", "warnings", "recommended"}) == {
        "engine_version": "0.32.0",
        "model": "/models/tiny-llama",
        "dtype": "bfloat16",
        "quantization": None,
        "linear_kernel": None,
        "attention_backend": "CPU_ATTN",
        "max_model_len": 4096,
        "max_num_seqs": None,
        "max_num_batched_tokens": 2048,
        "chunked_prefill": True,
        "prefix_caching": True,
        "async_scheduling": None,
        "enforce_eager": True,
        "cuda_graphs": False,
        "kv_cache_dtype": "auto",
        "kv_cache_tokens": 1048576,
        "kv_cache_gib": 1.0,
        "block_size": 128,
        "weights_gib": None,
        "gpu_memory_utilization": 0.92,
        "speculative": None,
    }
    assert found.raw["passed"]["enforce_eager"] is True
    assert found.raw["init_s"] == 2.83
    assert any("tcmalloc" in sentence for sentence in found.warnings)


def test_the_development_endpoint_reports_what_the_log_does_not() -> None:
    stated = {
        "vllm_config": {
            "scheduler_config": {"max_num_seqs": 128, "max_num_batched_tokens": 4096, "async_scheduling": False}
        }
    }
    found = read_effective(text("vllm_0.32.0_cpu_eager.txt"), None, None, None, stated)
    assert (found.max_num_seqs, found.max_num_batched_tokens, found.async_scheduling) == (128, 4096, False)
    assert found.engine_version == "0.32.0"


def test_speculative_decoding_is_named_and_its_cost_reported() -> None:
    log = text("vllm_0.32.0_cpu_eager.txt").replace(
        "speculative_config=None", "speculative_config=SpeculativeConfig(method='ngram', model=None, num_spec_tokens=3)"
    )
    log = "WARNING Async scheduling not supported with ngram-based speculative decoding and will be disabled.\n" + log
    found = read_effective(log)
    assert (found.speculative, found.async_scheduling) == ("ngram", False)
    assert "speculative decoding with ngram turns asynchronous scheduling off" in found.warnings


def test_vllm_0_32_compiled() -> None:
    found = read_effective(text("vllm_0.32.0_cpu_compiled.txt"))
    assert (found.enforce_eager, found.cuda_graphs, found.kv_cache_tokens) == (False, False, 1048576)


def test_vllm_0_15_on_a_t4() -> None:
    found = read_effective(text("vllm_0.15.1_t4_awq.txt"))
    assert found.engine_version == "0.15.1"
    assert (found.quantization, found.linear_kernel, found.attention_backend) == ("awq", "AWQ GEMM", "FLASHINFER")
    assert (found.max_model_len, found.max_num_batched_tokens, found.kv_cache_tokens) == (2048, 2048, 18608)
    assert (found.kv_cache_gib, found.weights_gib) == (9.09, 3.67)
    assert (found.chunked_prefill, found.prefix_caching, found.async_scheduling) == (True, True, True)
    assert (found.enforce_eager, found.cuda_graphs) == (True, False)
    assert found.warnings == ["quantization=awq forces the slow AWQ kernel; awq_marlin would run here"]


def test_an_engine_that_reports_nothing_leaves_everything_open() -> None:
    found = read_effective("", None, None, None)
    assert set(found.model_dump(exclude={"warnings", "raw", "recommended"}).values()) == {None}


@pytest.mark.parametrize(
    ("log", "kind", "words"),
    [
        ("bad_quant", "quantization", ["not quantized as awq"]),
        ("unknown_quant", "quantization", ["no quantization method bitsandbytes"]),
        ("too_long", "max_model_len", ["max_model_len=100000", "4096 positions"]),
        ("spec", "speculative", ["needs a draft model"]),
        ("unknown_flag", "flag", ["--swap-space"]),
        ("missing", "model", ["/models/nowhere is neither a folder"]),
        ("hub", "model", ["is not reachable"]),
        ("tp3", "tensor parallel", ["4 attention heads", "3 GPUs"]),
        ("budget", "budget", ["max_num_batched_tokens=32", "max_num_seqs=64"]),
        ("nochunk", "budget", ["max_num_batched_tokens=1024", "max_model_len=4096"]),
        ("kvspace", "memory taken", ["900.0 GiB", "8.35 of 9.71 GiB"]),
        ("port", "port", ["taken"]),
    ],
)
def test_why_a_real_vllm_did_not_start(log: str, kind: str, words: list[str]) -> None:
    found = classify(text(f"failed_{log}.txt"), 1)
    assert found is not None
    assert found.kind == kind
    assert all(word in str(found) for word in words), str(found)
    assert "\n" not in str(found)
    assert found.evidence


GPU_LINES = {
    "dtype": "ValueError: Bfloat16 is only supported on GPUs with compute capability of at least "
    "8.0. Your Tesla T4 GPU has compute "
    "capability 7.5. You can use float16 instead by explicitly setting the `dtype` flag "
    "in CLI, for example: --dtype=half.",
    "kv memory": "ValueError: To serve at least one request with the model's max seq len (131072), "
    "(16.00 GiB KV cache is needed, "
    "which is larger than the available KV cache memory (9.09 GiB). Based on the "
    "available memory, the estimated maximum model "
    "length is 74464. Try increasing `gpu_memory_utilization`",
    "memory taken": "ValueError: Free memory on device cuda:0 (3.1/14.56 GiB) on startup is less than "
    "desired GPU memory utilization "
    "(0.9, 13.1 GiB). Decrease GPU memory utilization or reduce GPU memory used by other processes.",
    "oom": "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 172.00 MiB. GPU 0 has "
    "a total capacity of 14.56 GiB",
    "attention": "ValueError: Selected backend AttentionBackendEnum.FLASH_ATTN is not valid for this configuration. "
    "Reason: ['compute capability not supported']",
    "driver": "RuntimeError: CUDA error: no kernel image is available for execution on the device",
}
WRAPPER = (
    "(EngineCore pid=9) ERROR 11-24 07:59:45 [core.py:1510] {}\n"
    "(APIServer pid=8) RuntimeError: Engine core initialization failed. See root cause "
    "above. Failed core proc(s): {{}}\n"
)


@pytest.mark.parametrize("kind", GPU_LINES)
def test_why_a_gpu_server_would_not_start(kind: str) -> None:
    """Texts of the sources of vLLM, which no machine without a GPU can print."""
    found = classify(WRAPPER.format(GPU_LINES[kind]), 1)
    assert found is not None
    assert found.kind == kind
    assert "{" not in str(found)


@pytest.mark.parametrize(
    ("line", "kind", "words"),
    [
        (
            "ERROR 11-24 07:59:45 [core.py:1510] ImportError: libcudart.so.13: cannot open shared object file",
            "install",
            "libcudart",
        ),
        ("api_server.py: error: the following arguments are required: --foo", "flag", "--foo"),
        (
            "/opt/python3.11: Error while finding module specification for 'vllm.x' "
            "(ModuleNotFoundError: No module named 'vllm')",
            "install",
            "no module vllm",
        ),
    ],
)
def test_why_an_environment_does_not_run_it(line: str, kind: str, words: str) -> None:
    found = classify(line + "\n", 1)
    assert found is not None
    assert found.kind == kind
    assert words in str(found)


def test_an_import_that_is_only_warned_of_is_not_the_reason() -> None:
    """vLLM logs at each start which optional packages it does not find, and continues."""
    log = "WARNING 11-24 07:59:40 [x.py:1] ImportError: No module named 'helion'\n" + WRAPPER.format("KeyError: 'rope'")
    assert "KeyError: 'rope'" in str(classify(log, 1))


def test_kernels_that_vllm_ships_apart_are_told_and_are_no_reason_to_fail() -> None:
    log = (
        "WARNING FlashInfer's precompiled kernels are missing or do not match "
        "flashinfer-python 0.7.0 (...). FlashInfer then "
        "downloads and compiles kernels at startup. Run `vllm download-kernels` in this "
        "Python environment to install them.\n"
    )
    assert any("vllm download-kernels" in sentence for sentence in read_effective(log).warnings)
    assert "KeyError" in str(classify(log + WRAPPER.format("KeyError: 'rope'"), 1))


def test_the_wrapper_is_never_the_reason() -> None:
    log = WRAPPER.format("MysteryError: the moon was in the wrong place")
    assert last_exception(log) == "MysteryError: the moon was in the wrong place"
    found = classify(log, 1)
    assert found is not None
    assert "the moon was in the wrong place" in str(found)
    assert found.kind == "died"


def test_an_end_without_words_is_told_as_such() -> None:
    assert classify("", 0) is None
    assert classify("INFO all is well", None) is None
    assert "SIGKILL" in str(classify("", 137))
    assert "signal 11" in str(classify("", 139))
    assert "exit code 3" in str(classify("", 3))


def test_a_death_under_load_is_not_blamed_on_the_start() -> None:
    log = "ERROR something [Errno 98] early\nINFO: Application startup complete.\n"
    assert str(death(log, 1)).startswith("the engine ended with exit code 1 under load")
    found = death(log + "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.\n", 1)
    assert found.kind == "oom"
    assert "died under load" in str(found)


def test_a_core_that_was_killed_is_reported_although_vllm_ends_with_code_0() -> None:
    """Log of vLLM 0.32.0 whose core process got SIGKILL, as the kernel does when memory runs out."""
    log = (
        "INFO: Application startup complete.\n(APIServer pid=8) ERROR 11-24 20:29:30 [async_llm.py:906] "
        "vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue. See "
        "stack trace (above) for the root cause.\n"
    )
    found = death(log, 0)
    assert "one of its processes died without an error message" in str(found)
    assert "EngineDeadError" in found.evidence[0]
    assert "KeyError: 'x'" in str(death(log + "(EngineCore pid=9) ERROR 11-24 20:29:30 [core.py:1] KeyError: 'x'\n", 0))


def test_every_rule_can_be_filled() -> None:
    for rule in rules():
        groups = [int(c) for c in __import__("re").findall(r"\{(\d)", rule.reason + rule.remedy)]
        assert max(groups, default=0) <= rule.pattern.groups, rule.id
        assert not rule.remedy.endswith("."), rule.id


def test_metrics_of_a_real_server() -> None:
    found = metrics.parse(text("vllm_0.32.0_metrics.txt"))
    assert found["generation_tokens_total"] == 8.0
    assert found["prompt_tokens_total"] == 3.0
    assert found["request_success_total"] == 1.0
    assert found["ttft_count"] == 1.0
    assert found["running"] == 0.0
    assert "spec_draft_tokens_total" not in found
    assert metrics.info(text("vllm_0.32.0_metrics.txt"))["num_gpu_blocks"] == "8192"


def test_metrics_of_two_engines_are_summed_and_shares_averaged() -> None:
    page = (
        'vllm:num_requests_running{engine="0",model_name="a} b"} 3.0\nvllm:num_requests_running{engine="1"} 4.0\n'
        'vllm:kv_cache_usage_perc{engine="0"} 0.2\nvllm:kv_cache_usage_perc{engine="1"} 0.6\n'
        'vllm:cache_config_info{block_size="16",note="a\\"b"} 1.0\nnot a sample\n'
    )
    found = metrics.parse(page)
    assert found["running"] == 7.0
    assert found["kv_usage"] == pytest.approx(0.4)
    assert metrics.info(page) == {"block_size": "16", "note": 'a"b'}
    assert metrics.info("nothing") == {}
    assert metrics.parse("") == {}
