"""`rooftune load` and `vllm bench serve` on one server, with the same arrivals and lengths.

The benchmark starts an engine and lets both clients send the schedule of the workload (`vllm bench serve` replays it
as a timed trace). Each runs `--rounds` times, in the order ours, theirs, theirs, ours and so on. It prints the
medians with their ranges.

    python -m benchmarks.fidelity.agreement --engine simulated
    python -m benchmarks.fidelity.agreement --engine vllm

Both need `make vllm`, which installs `vllm bench serve` and the tokenizer that it requires.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from rooftune.engines.interpreter import installed, vllm_python
from rooftune.engines.launch import running
from rooftune.engines.target import Target
from rooftune.engines.tiny_model import SMALL, make_tiny_model
from rooftune.runfolder import TrialFolder
from rooftune.vllm_rules.config import EngineConfig
from rooftune.vllm_rules.flags import parse_set
from rooftune.workloads.draw import draw
from rooftune.workloads.load import load_workload

METRICS = (
    ("completed", "requests completed", 0),
    ("total_output_tokens", "output tokens", 0),
    ("request_throughput", "requests/s", 3),
    ("output_throughput", "output tokens/s", 1),
    ("mean_ttft_ms", "TTFT mean, ms", 2),
    ("median_ttft_ms", "TTFT p50, ms", 2),
    ("p99_ttft_ms", "TTFT p99, ms", 2),
    ("mean_tpot_ms", "TPOT mean, ms", 2),
    ("median_tpot_ms", "TPOT p50, ms", 2),
    ("p99_tpot_ms", "TPOT p99, ms", 2),
    ("median_itl_ms", "ITL p50, ms", 2),
    ("p99_itl_ms", "ITL p99, ms", 2),
    ("median_e2el_ms", "E2EL p50, ms", 1),
    ("p99_e2el_ms", "E2EL p99, ms", 1),
)
BENCH = (
    "from vllm.utils.argparse_utils import FlexibleArgumentParser as P; "
    "from vllm.benchmarks.serve import add_cli_args, main; p = P(); add_cli_args(p); main(p.parse_args())"
)
"""`vllm bench serve` by module, because the `vllm` script of the CPU package does not start."""
CHUNK = 16


def main() -> None:
    """Entry point."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--engine", choices=("simulated", "vllm"), default="simulated")
    p.add_argument("--workload", default="chat-low")
    p.add_argument("--duration", type=float, default=60.0, help="seconds of each load")
    p.add_argument("--rounds", type=int, default=2, help="loads of each client")
    p.add_argument("--vllm-python", default=None)
    asked = p.parse_args()
    with tempfile.TemporaryDirectory(prefix="rooftune-") as scratch:
        asyncio.run(compare(asked, Path(scratch)))


async def compare(asked: argparse.Namespace, scratch: Path) -> None:
    """Start the engine, load it with both clients in turn, print the table."""
    python = vllm_python(asked.vllm_python)
    model = make_tiny_model(scratch / "model", python, SMALL)
    target, config = case(asked.engine, model, python)
    async with running(target, config, TrialFolder(scratch / "server")) as server:
        found: dict[str, list[dict[str, Any]]] = {"ours": [], "theirs": []}
        for number in range(asked.rounds):
            trace = written_trace(asked.workload, asked.duration, number, scratch / f"trace-{number}.jsonl")
            for client in ("ours", "theirs") if number % 2 == 0 else ("theirs", "ours"):
                if client == "ours":
                    result = await asyncio.to_thread(ours, server.url, asked, number)
                else:
                    result = await asyncio.to_thread(theirs, server.url, server.model, model, python, trace)
                found[client].append(result)
                print(f"{client} {number}: {result.get('output_throughput', 0):.1f} tokens/s", file=sys.stderr)
        about = f"{asked.engine} engine, vLLM {server.effective.engine_version}, {asked.workload}, {asked.duration:g} s"
    print(f"{about}, {asked.rounds} loads of each client, `vllm bench serve` of {installed(python).version}\n")
    print(
        "| metric | `rooftune load` | range | `vllm bench serve` | range | ours / theirs |\n|---|---|---|---|---|---|"
    )
    for name, words, digits in METRICS:
        print(row(words, [r[name] for r in found["ours"]], [r[name] for r in found["theirs"]], digits))


class LoadedServer(NamedTuple):
    """The server that both clients load."""

    target: Target
    config: EngineConfig


def case(engine: str, model: Path, python: str) -> LoadedServer:
    """Target and configuration. The prefix cache is off, so that loading the same prompts again costs the same."""
    if engine == "simulated":
        flags = parse_set(["quantization=awq", "enforce_eager=true", "max_model_len=2048", "dtype=half"], "0.15.1")
        target = Target(engine="simulated", gpu="T4", model="llama-2-7b", engine_version="0.15.1", flags=flags)
    else:
        flags = parse_set(["enforce_eager=true", "max_num_seqs=64", "max_model_len=2048"], "0.32.0")
        version = installed(python).version
        target = Target(engine="vllm", model=str(model), engine_version=version, vllm_python=python, flags=flags)
    return LoadedServer(target, EngineConfig(model=target.model, enable_prefix_caching=False).with_change(flags))


def written_trace(workload: str, duration_s: float, seed: int, path: Path) -> Path:
    """The workload's schedule as `vllm bench serve --dataset-name timed_trace` reads it; every prompt is different."""
    spec = load_workload(workload).model_copy(update={"duration_s": duration_s, "warmup_s": 0.0, "seed": seed})
    plan, chunk = draw(spec), 0
    with path.open("w", encoding="utf-8") as file:
        for i in range(len(plan)):
            n = int(plan.prompt_tokens[i])
            ids = list(range(chunk, chunk := chunk + -(-n // CHUNK)))
            about = {"timestamp": float(plan.arrival_s[i]), "input_length": n, "hash_ids": ids}
            file.write(json.dumps({**about, "output_length": int(plan.output_tokens[i])}) + "\n")
    return path


def ours(url: str, asked: argparse.Namespace, seed: int) -> dict[str, Any]:
    """One `rooftune load`."""
    words = [asked.workload, "--url", url, "--duration", f"{asked.duration:g}", "--warmup", "0", "--seed", str(seed)]
    rooftune = Path(sys.executable).with_name("rooftune")
    done = subprocess.run([str(rooftune), "load", *words, "--json"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"rooftune load failed: {done.stderr.strip()}")
    found: dict[str, Any] = json.loads(done.stdout)
    return {**found, "completed": found["census"]["completed"]}


def theirs(url: str, name: str, tokenizer: Path, python: str, trace: Path) -> dict[str, Any]:
    """One `vllm bench serve`."""
    result = trace.with_suffix(".result.json")
    count = len(trace.read_text(encoding="utf-8").splitlines())
    words = ["--backend", "openai", "--base-url", url, "--endpoint", "/v1/completions", "--model", name]
    words += ["--tokenizer", str(tokenizer), "--dataset-name", "timed_trace", "--dataset-path", str(trace)]
    words += ["--num-prompts", str(count), "--percentile-metrics", "ttft,tpot,itl,e2el", "--extra-body"]
    words += ['{"temperature": 0}', "--disable-tqdm", "--save-result", "--result-filename", str(result)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    done = subprocess.run(
        [python, "-c", BENCH, *words], capture_output=True, text=True, check=False, env=environment, cwd=trace.parent
    )
    if done.returncode:
        raise SystemExit(f"vllm bench serve failed: {done.stderr.strip()[-2000:]}")
    found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return found


def row(words: str, a: list[float], b: list[float], digits: int) -> str:
    """One line of the table."""

    def cells(values: list[float]) -> list[str]:
        low, high = min(values), max(values)
        return [f"{statistics.median(values):,.{digits}f}", f"{low:,.{digits}f} to {high:,.{digits}f}"]

    ratio = statistics.median(a) / statistics.median(b) if statistics.median(b) else float("nan")
    return f"| {words} | {' | '.join([*cells(a), *cells(b)])} | {ratio:.3f} |"


if __name__ == "__main__":
    main()
