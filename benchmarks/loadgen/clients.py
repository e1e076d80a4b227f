"""The clients of the benchmark: how to start each one with the stub, and how to read its results."""

from __future__ import annotations

import glob
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
ROOT = Path(__file__).parents[2]
VLLM = ROOT / ".venv-vllm" / "bin" / "python"
PEERS = ROOT / ".venv-peers"
VLLM_BENCH = (
    "from vllm.utils.argparse_utils import FlexibleArgumentParser as P; "
    "from vllm.benchmarks.serve import add_cli_args, main; p = P(); add_cli_args(p); main(p.parse_args())"
)
"""`vllm bench serve` by its module: the `vllm` script of the CPU package does not start."""
TIMEOUT_S = 150


@dataclass(frozen=True)
class Seen:
    """What a client reports about one run, in seconds. Empty means that it does not report the value."""

    ttft: Floats
    itl: Floats
    e2el: Floats
    completed: int
    cpu_s: float
    lag_p99_ms: float | None = None
    more: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ClientRun:
    """One run: where to send, at which rate, for how long."""

    port: int
    rate: float
    seconds: float
    core: int
    tokenizer: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def requests(self) -> int:
        return max(1, int(self.rate * self.seconds))


def _timed(command: list[str], core: int, **environment: str) -> tuple[float, str]:
    """Run a command on one core; return the CPU seconds of it and its children, and its last output."""
    quiet = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "DO_NOT_TRACK": "1", "VLLM_NO_USAGE_STATS": "1"}
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, cwd=ROOT,
            env={**os.environ, **quiet, **environment}, preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )  # fmt: skip
        until = time.monotonic() + TIMEOUT_S
        while True:
            pid, status, spent = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > until:
                process.kill()
            time.sleep(0.05)
        process.returncode = status
        output.seek(0)
        words = output.read().decode(errors="replace").strip().splitlines()
    if status:
        raise RuntimeError(words[-1][:200] if words else f"it ended with status {status}")
    return spent.ru_utime + spent.ru_stime, "\n".join(words[-5:])


def ours(case: ClientRun, scratch: Path) -> Seen:
    """`run_load` with one client process, parent and sampling thread on the same core."""
    import pyarrow.parquet as pq

    command = [
        sys.executable,
        "-m",
        "benchmarks.loadgen.ours",
        str(case.port),
        str(case.rate),
        str(case.seconds),
        str(scratch),
    ]
    cpu, _ = _timed(command, case.core)
    table = pq.ParquetFile(scratch / "requests.parquet").read()
    load = json.loads((scratch / "load.json").read_text())
    good = np.asarray(table["status"].to_pylist()) == "completed"
    chunks = [np.asarray(c, dtype=np.float64) for c, ok in zip(table["chunk_s"].to_pylist(), good, strict=True) if ok]
    about = {"loop_lag_p99_ms": load["loop_lag_p99_ms"], "gc_pause_max_ms": load["gc_pause_max_ms"]}
    return _seen(chunks, int(good.sum()), cpu, load["send_lag_p99_ms"], about)


def bare(case: ClientRun, scratch: Path) -> Seen:
    """The bare uvloop protocol."""
    out = scratch / "bare.json"
    command = [
        sys.executable,
        "-m",
        "benchmarks.loadgen.bare",
        str(case.port),
        str(case.rate),
        str(case.seconds),
        str(out),
    ]
    cpu, _ = _timed(command, case.core)
    found = json.loads(out.read_text())["requests"]
    # The first read of an answer is its head, which the stub sends before the first token.
    chunks = [np.asarray(r[-128:]) - r[0] for r in found]
    return _seen(chunks, len(found), cpu)


def _seen(
    chunks: list[Floats], completed: int, cpu: float, lag: float | None = None, more: dict[str, Any] | None = None
) -> Seen:
    """Compute figures from the times of chunks after the send."""
    some = [c for c in chunks if len(c)]
    itl = np.concatenate([np.diff(c) for c in some]) if some else np.empty(0)
    first, last = np.array([c[0] for c in some]), np.array([c[-1] for c in some])
    return Seen(first, itl, last, completed, cpu, lag, more or {})


def vllm(case: ClientRun, scratch: Path) -> Seen:
    """`vllm bench serve` of `.venv-vllm`."""
    command = [str(VLLM), "-c", VLLM_BENCH, "--backend", "openai", "--base-url", case.url, "--endpoint", "/v1/completions",
               "--model", "stub", "--tokenizer", str(case.tokenizer), "--dataset-name", "random", "--random-input-len", "8",
               "--random-output-len", "128", "--num-prompts", str(case.requests), "--request-rate", str(case.rate),
               "--burstiness", "1000", "--ignore-eos", "--disable-tqdm", "--save-result", "--save-detailed", "--result-dir",
               str(scratch), "--result-filename", "vllm.json"]  # fmt: skip
    cpu, _ = _timed(command, case.core)
    found = json.loads((scratch / "vllm.json").read_text())
    itls = [np.asarray(i, dtype=np.float64) for i in found["itls"]]
    ttft = np.asarray(found["ttfts"], dtype=np.float64)
    e2el = ttft + np.array([i.sum() for i in itls])
    return Seen(ttft, np.concatenate(itls), e2el, found["completed"], cpu)


def _as_cached(tokenizer: Path, scratch: Path) -> Path:
    """The tokenizer in the layout of a hub cache, because without a network aiperf accepts no path."""
    model = scratch / "hub" / "models--local--stub"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text("0" * 40)
    shutil.copytree(tokenizer, model / "snapshots" / ("0" * 40), ignore=shutil.ignore_patterns("*.safetensors"))
    return scratch / "hub"


def aiperf(case: ClientRun, scratch: Path) -> Seen:
    """aiperf of `.venv-peers/aiperf`."""
    command = [str(PEERS / "aiperf" / "bin" / "aiperf"), "profile", "--model", "stub", "--url", case.url, "--endpoint-type",
               "completions", "--streaming", "--request-rate", str(case.rate), "--request-rate-mode", "constant",
               "--request-count", str(case.requests), "--synthetic-input-tokens-mean", "8", "--output-tokens-mean", "128",
               "--tokenizer", "local/stub", "--ui", "none", "--artifact-dir", str(scratch)]  # fmt: skip
    cpu, _ = _timed(command, case.core, HF_HUB_CACHE=str(_as_cached(case.tokenizer, scratch)))
    records = next(iter(glob.glob(f"{scratch}/**/profile_export.jsonl", recursive=True)))
    lines = [json.loads(line) for line in Path(records).read_text().splitlines()]
    rows = [line["metrics"] for line in lines if not line.get("error")]

    def of(name: str) -> Floats:
        return np.array([r[name]["value"] for r in rows if name in r], dtype=np.float64) / 1000

    return Seen(of("time_to_first_token"), of("inter_token_latency"), of("request_latency"), len(rows), cpu)


def guidellm(case: ClientRun, scratch: Path) -> Seen:
    """guidellm of `.venv-peers/guidellm`."""
    out = scratch / "guidellm.json"
    command = [str(PEERS / "guidellm" / "bin" / "guidellm"), "run", "--backend",
               f"kind=openai_http,target={case.url},model=stub,request_format=/v1/completions", "--profile",
               f"kind=constant,rate={case.rate}", "--constraint", f"kind=max_requests,count={case.requests}", "--tokenizer",
               f"kind=hf_auto,model={case.tokenizer}", "--data", "kind=synthetic_text,prompt_tokens=8,output_tokens=128",
               "--output", f"kind=json,path={out}", "--disable-console"]  # fmt: skip
    cpu, _ = _timed(command, case.core)
    done = json.loads(out.read_text())["benchmarks"][0]["requests"]["successful"]

    def of(name: str, factor: float) -> Floats:
        return np.array([r[name] for r in done if r.get(name) is not None], dtype=np.float64) * factor

    return Seen(
        of("time_to_first_token_ms", 1e-3),
        of("inter_token_latency_ms", 1e-3),
        of("request_latency", 1.0),
        len(done),
        cpu,
    )


CLIENTS = {"rooftune": ours, "bare protocol": bare, "vllm bench serve": vllm, "aiperf": aiperf, "guidellm": guidellm}
NEEDS = {
    "vllm bench serve": VLLM,
    "aiperf": PEERS / "aiperf" / "bin" / "aiperf",
    "guidellm": PEERS / "guidellm" / "bin" / "guidellm",
}
LADDERS = {
    "rooftune": (40, 500, 1000, 1050, 1100, 1150, 1200, 1250, 1300),
    "bare protocol": (40, 500, 1000, 1050, 1100, 1150, 1200, 1250, 1300),
    "vllm bench serve": (8, 200, 280, 320, 340, 360, 380, 400),
    "aiperf": (8, 100, 150, 180, 210),
    "guidellm": (8, 60, 80, 100, 120),
}
"""Requests per second in rising order, 128 chunks each. The first rate shows the cost of the start."""
