"""Log lines like vLLM's, so that one reader understands both. The first line says that this is not vLLM."""

from __future__ import annotations

import datetime as dt
import sys

from rooftune.simulator.engine.core import EngineCore
from rooftune.vllm_rules.config import EngineConfig
from rooftune.vllm_rules.effects import unmodelled
from rooftune.vllm_rules.log_texts import EAGER_DISABLES_COMPILE, PRINTS_ASYNC

KERNELS = {
    "marlin": "MarlinLinearKernel",
    "machete": "MacheteLinearKernel",
    "exllama": "ExllamaLinearKernel",
    "awq_gemm": "AWQGemmLinearKernel",
    "fp8": "CutlassFP8LinearKernel",
}


def info(text: str) -> None:
    _line("INFO", text)


def warn(text: str) -> None:
    _line("WARNING", text)


def error(text: str) -> None:
    _line("ERROR", text)


def _line(level: str, text: str) -> None:
    print(f"{level} {dt.datetime.now():%m-%d %H:%M:%S} [rooftune-simulated] {text}", file=sys.stderr, flush=True)


def banner(gpu: str, version: str, time_scale: float) -> None:
    info(f"rooftune simulated engine: no GPU is used; {gpu} and vLLM {version} are emulated, clock x{time_scale:g}")
    info(f"vLLM API server version {version}")


def startup(core: EngineCore, config: EngineConfig, model: str) -> None:
    """What vLLM prints while it starts, for what was resolved."""
    r = core.resolved
    shown = ", ".join(f"'{k}': {v!r}" for k, v in {"model": model, **config.flags()}.items())
    info(f"non-default args: {{{shown}}}")
    if r.awq_kernel_forced:
        info(
            "Detected that the model can run with awq_marlin, however you specified quantization=awq explicitly, so "
            "forcing awq. Use quantization=awq_marlin for faster inference"
        )
    if r.chunked_prefill:
        info(f"Chunked prefill is enabled with max_num_batched_tokens={r.max_num_batched_tokens}.")
    if r.async_scheduling and PRINTS_ASYNC.has(r.version):
        info("Asynchronous scheduling is enabled.")
    if r.speculative_method and not r.async_scheduling:
        warn(
            f"Async scheduling not supported with {r.speculative_method}-based speculative decoding "
            "and will be disabled."
        )
    if not r.cuda_graphs:
        eager = "disabling torch.compile and CUDAGraphs. This is equivalent to setting -cc.mode=none"
        newer = EAGER_DISABLES_COMPILE.has(r.version)
        old = "overriding optimization level to -O0"
        warn(f"Enforce eager set, {f'{eager} -cc.cudagraph_mode=none' if newer else old}")
        info("Cudagraph is disabled under eager mode")
    sizes = f", compilation_config={{'cudagraph_capture_sizes': {list(r.capture_sizes)}}}" if r.cuda_graphs else ""
    info(
        f"Initializing a V1 LLM engine (v{r.version}) with config: model='{model}', dtype=torch.{r.dtype}, "
        f"max_seq_len={r.max_model_len}, quantization={r.quantization}, enforce_eager={not r.cuda_graphs}, "
        f"kv_cache_dtype={config.kv_cache_dtype or 'auto'}, enable_prefix_caching={r.prefix_caching}, "
        f"enable_chunked_prefill={r.chunked_prefill}, max_num_seqs={r.max_num_seqs}{sizes}"
    )
    backend = r.attention_backend
    info(f"Using {backend} attention backend out of potential backends: ['{backend}']")
    if r.kernel in KERNELS:
        info(f"Using {KERNELS[r.kernel]} for {(r.quantization or 'none').upper()}LinearMethod")
    memory(core)
    left_out = unmodelled(config, str(r.version), server=True)
    if left_out:
        warn(f"The simulated engine does not model: {', '.join(map(str, left_out))}")
    info("Application startup complete.")


def memory(core: EngineCore) -> None:
    """What vLLM prints about memory and the KV cache."""
    from rooftune.vllm_rules.defaults import GIB

    held, length = core.memory, core.resolved.max_model_len
    info(f"Model loading took {held.weights_bytes / GIB:.2f} GiB memory and 0.010000 seconds")
    info(f"Available KV cache memory: {held.kv_cache_bytes / GIB:.2f} GiB")
    info(f"GPU KV cache size: {held.kv_cache_tokens:,} tokens")
    info(f"Maximum concurrency for {length:,} tokens per request: {held.max_concurrency:.2f}x")
    info("init engine (profile, create kv cache, warmup model) took 0.01 seconds")


def statistics(prompt: float, generation: float, running: int, waiting: int, usage: float, hit_rate: float) -> None:
    """The ten-second line."""
    info(
        f"Engine 000: Avg prompt throughput: {prompt:.1f} tokens/s, "
        f"Avg generation throughput: {generation:.1f} tokens/s, "
        f"Running: {running} reqs, Waiting: {waiting} reqs, GPU KV cache usage: {usage * 100:.1f}%, "
        f"Prefix cache hit rate: {hit_rate * 100:.1f}%"
    )
