"""Ceilings of this machine, measured in a moment: a memory copy and matrix products."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from rooftune.hardware.accelerator import Ceiling
from rooftune.hardware.host import cores, last_level_cache_bytes, memory_bytes

COPY_SECONDS = 0.3
MATMUL_SECONDS = 0.3
MATMUL_SIZE = 1536
TORCH_TIMEOUT_S = 90.0


def cpu_ceilings(vllm_python: str | None = None) -> list[Ceiling]:
    """Memory copy and FP32 product with numpy on all cores, in about 2 s.

    An interpreter that has torch adds its BF16 product.
    """
    busy = _busy()
    found = [c.model_copy(update={"how": c.how + busy}) for c in (memory_copy(), matmul_fp32())]
    return found + [c for c in torch_ceilings(vllm_python, cuda=False) if c.name == "matmul_bf16"]


def _busy() -> str:
    """A note for when other programs use the machine."""
    import psutil

    load = psutil.getloadavg()[0]
    return f"; other programs ran (load {load:.1f}), the true ceiling may be higher" if load > cores() / 2 else ""


def memory_copy(seconds: float = COPY_SECONDS, threads: int | None = None, size: int | None = None) -> Ceiling:
    """Bytes read plus bytes written per second of a copy between two arrays, all cores at once.

    Args:
        size: bytes of each array; by default twice the last-level cache, at most 512 MiB and a sixteenth of memory.
    """
    import numpy as np

    workers = threads or cores()
    wanted = size or min(2 * last_level_cache_bytes(), 2**29, memory_bytes() // 16)
    words = max(wanted // 8 // workers, 1)
    parts = [(np.zeros(words), np.ones(words)) for _ in range(workers)]
    with ThreadPoolExecutor(workers) as pool:
        best = _best(lambda: list(pool.map(lambda p: np.copyto(p[1], p[0]), parts)), seconds)
    moved = 2 * 8 * words * workers
    cache = last_level_cache_bytes()
    fits = f"; much of the arrays may stay in the {cache / 2**20:.0f} MiB cache, so memory itself can be slower"
    return Ceiling(
        name="memory_copy",
        value=moved / best,
        unit="bytes/s",
        how=f"numpy copy of {moved / 2 / 2**20:.0f} MiB on {workers} threads, read and write counted, best of "
        f"{seconds:g} s" + (fits if moved < 2 * cache else ""),
    )


def matmul_fp32(seconds: float = MATMUL_SECONDS, size: int = MATMUL_SIZE) -> Ceiling:
    """FLOP/s of an FP32 product of two square matrices with numpy's BLAS and its threads."""
    import numpy as np

    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((size, size), dtype=np.float32) for _ in range(2))
    out = np.empty_like(a)
    best = _best(lambda: np.matmul(a, b, out=out), seconds)
    how = f"numpy matmul of {size}x{size} matrices, BLAS with its default threads, best of {seconds:g} s"
    return Ceiling(name="matmul_fp32", value=2.0 * size**3 / best, unit="FLOP/s", how=how)


def _best(work: Callable[[], object], seconds: float) -> float:
    """Shortest time of one call in at least two, after one call to warm up."""
    work()
    best, until = float("inf"), time.perf_counter() + seconds
    for n in range(1000):
        if n >= 2 and time.perf_counter() > until:
            break
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best


def torch_ceilings(vllm_python: str | None, *, cuda: bool) -> list[Ceiling]:
    """Ceilings measured by the torch of another interpreter, on the first GPU or on the CPU; empty when it cannot."""
    if not vllm_python:
        return []
    try:
        done = subprocess.run(
            [vllm_python, "-c", TORCH_SCRIPT, "cuda" if cuda else "cpu"],
            capture_output=True,
            text=True,
            timeout=TORCH_TIMEOUT_S,
            check=False,
        )
        rows = json.loads(done.stdout.strip().splitlines()[-1])
        return [Ceiling(**row) for row in rows]
    except (OSError, subprocess.TimeoutExpired, ValueError, IndexError):
        return []


TORCH_SCRIPT = """
import json, sys, time
import torch
device = sys.argv[1]
cuda = device == "cuda"
if cuda and not torch.cuda.is_available():
    sys.exit(1)

def best(work, seconds, repeat):
    for _ in range(2):
        work()
    shortest, until = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < until or shortest == float("inf"):
        if cuda:
            torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(repeat):
            work()
        if cuda:
            torch.cuda.synchronize()
        shortest = min(shortest, (time.perf_counter() - start) / repeat)
    return shortest

rows = []
by = f"torch {torch.__version__} on {torch.cuda.get_device_name(0) if cuda else 'the CPU'}"
if cuda:
    size = min(2**30, torch.cuda.mem_get_info()[0] // 4)
    a = torch.empty(size, dtype=torch.uint8, device=device)
    b = torch.empty_like(a)
    seconds = best(lambda: b.copy_(a), 0.5, 5)
    rows.append(dict(name="memory_copy", value=2 * size / seconds, unit="bytes/s",
                     how=f"{by}: copy of {size / 2**20:.0f} MiB, read and write counted, best of 0.5 s"))
    del a, b
n = 8192 if cuda else 1536
kinds = {"matmul_fp16": torch.float16, "matmul_bf16": torch.bfloat16} if cuda else {"matmul_bf16": torch.bfloat16}
if cuda and torch.cuda.get_device_capability(0) < (8, 0):
    kinds.pop("matmul_bf16")
for name, kind in kinds.items():
    a = torch.randn(n, n, device=device).to(kind)
    b = torch.randn(n, n, device=device).to(kind)
    seconds = best(lambda: a @ b, 0.5, 3)
    how = f"{by}: product of {n}x{n} matrices, best of 0.5 s"
    rows.append(dict(name=name, value=2 * n**3 / seconds, unit="FLOP/s", how=how))
print(json.dumps(rows))
"""
