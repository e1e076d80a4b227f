"""Real vLLM on this machine's processor: calibrated on a short sweep, then three other configurations predicted.

    python -m benchmarks.fidelity.vllm [--running URL URL URL URL]

The first server is used for the calibration. The three others differ in one flag and in their load, and nothing is
fitted to them. The model is a small Llama with random weights, made on the spot. --running names servers that were
started beforehand with the flags of ``CONFIGURATIONS``, so that nothing else runs during the measurement.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import numpy as np
import numpy.typing as npt

from rooftune.engines.interpreter import installed, vllm_python
from rooftune.engines.launch import connect, start, stop
from rooftune.engines.server import ServerInfo
from rooftune.engines.target import Target
from rooftune.engines.tiny_model import SMALL, make_tiny_model
from rooftune.errors import RooftuneError
from rooftune.hardware.probe import present
from rooftune.models.catalogue import model_facts
from rooftune.runfolder import TrialFolder
from rooftune.simulator.calibration.fit import Calibrated, ServedTrial, calibrate
from rooftune.simulator.calibration.measure import SweepClient, grid_for
from rooftune.simulator.calibration.measure import measure as measure_grid
from rooftune.simulator.engine.core import limits
from rooftune.simulator.fastpath.run import run_fast
from rooftune.simulator.runs import ClientSettings
from rooftune.simulator.steptime.model import StepTime
from rooftune.vllm_rules.config import EngineConfig
from rooftune.workloads.request_plan import RequestPlan

Ints = npt.NDArray[np.int64]
WITHIN = 0.15
BASE = {"enforce_eager": True, "max_model_len": 2048, "max_num_seqs": 16}
MODEL = Path(tempfile.gettempdir()) / "rooftune-small-llama"
LONG_S = 1e6


@dataclass(frozen=True)
class ServerCase:
    """One configuration with its load: a closed loop of requests with prompts and answers of mixed lengths."""

    flags: dict[str, Any]
    concurrency: int
    requests: int
    prompts: tuple[int, int]
    outputs: tuple[int, int]

    @property
    def name(self) -> str:
        return ", ".join(f"{k}={v}" for k, v in self.flags.items() if BASE.get(k) != v) or "calibration"


CONFIGURATIONS = (
    ServerCase(BASE, 16, 0, (0, 0), (0, 0)),
    ServerCase({**BASE, "max_num_seqs": 4}, 12, 60, (64, 320), (32, 96)),
    ServerCase({**BASE, "max_num_batched_tokens": 256}, 12, 72, (256, 768), (32, 96)),
    ServerCase({**BASE, "max_num_seqs": 32}, 32, 160, (64, 320), (32, 96)),
)


def measure(running: Sequence[str] = ()) -> list[str]:
    """Print the tables; return the goals that are missed."""
    print("\nReal vLLM on this machine's processor\n")
    try:
        python = vllm_python()
    except RooftuneError as error:
        print(f"not measured: {error}")
        return []
    make_tiny_model(MODEL, python, SMALL)
    return asyncio.run(_measure(python, running))


async def _measure(python: str, running: Sequence[str]) -> list[str]:
    version = installed(python).version.split("+")[0]
    with tempfile.TemporaryDirectory(prefix="rooftune-") as scratch:
        servers: list[ServerInfo] = []
        try:
            for i, case in enumerate(CONFIGURATIONS):
                servers.append(await _server(case, version, Path(scratch) / str(i), running[i] if running else None))
            found = await _calibrated(servers[0], version)
            return await _compared(found, servers[1:], version)
        finally:
            for server in servers:
                await stop(server)


async def _server(case: ServerCase, version: str, folder: Path, url: str | None) -> ServerInfo:
    target = Target(engine="endpoint" if url else "vllm", model=str(MODEL), engine_version=version, url=url)
    if url:
        return await connect(target)
    return await start(target, EngineConfig(model=str(MODEL)).with_change(case.flags), TrialFolder(folder))


async def _calibrated(server: ServerInfo, version: str) -> Calibrated:
    served = _served(CONFIGURATIONS[0], version)
    tokens = server.effective.kv_cache_tokens or 65536
    grid = grid_for(int(BASE["max_num_seqs"]), int(BASE["max_model_len"]), tokens)
    observed = await measure_grid(server.url, server.model, served.facts.vocab_size, grid, tokens)
    found = calibrate(served, observed)
    c = found.calibration
    print(
        f"vLLM {version}, {served.gpu.notes}, Llama of {served.facts.parameters / 1e6:.0f} million parameters, "
        f"{c.points} points of a sweep:"
    )
    print(
        f"median error of a step on the {c.held_back} held back: {c.error_before:.1%} as shipped, "
        f"{c.error_after:.1%} calibrated.\n"
    )
    return found


async def _compared(found: Calibrated, servers: Sequence[ServerInfo], version: str) -> list[str]:
    print(
        "| configuration | load | throughput tok/s, measured / simulated | error "
        "| TPOT ms, measured / simulated | error |"
    )
    print("|---|---|---|---:|---|---:|")
    short = []
    for case, server in zip(CONFIGURATIONS[1:], servers, strict=True):
        lengths = _lengths(case)
        measured = await _load(server, case, lengths)
        simulated = _simulated(found, case, lengths, version, server.effective.kv_cache_tokens)
        errors = [s / m - 1 for s, m in zip(simulated, measured, strict=True)]
        print(
            f"| {case.name} | {case.requests} requests, {case.concurrency} at once, "
            f"{case.prompts[0]}-{case.prompts[1]} + {case.outputs[0]}-{case.outputs[1]} tokens "
            f"| {measured.tokens_per_s:.0f} / {simulated.tokens_per_s:.0f} | {errors[0]:+.1%} "
            f"| {measured.tpot_ms:.1f} / {simulated.tpot_ms:.1f} | {errors[1]:+.1%} |"
        )
        for what, error in zip(("throughput", "TPOT"), errors, strict=True):
            if abs(error) > WITHIN:
                short.append(f"real vLLM, {case.name}: {what} {error:+.1%}, more than {WITHIN:.0%}")
    return short


def _served(case: ServerCase, version: str) -> ServedTrial:
    config = EngineConfig(model=str(MODEL)).with_change(case.flags)
    return ServedTrial(present(), model_facts(str(MODEL)), config, version)


class MixedLengths(NamedTuple):
    """Tokens of each request."""

    prompts: Ints
    outputs: Ints


class Service(NamedTuple):
    """What a server reaches under a load."""

    tokens_per_s: float
    tpot_ms: float
    """Mean over the requests."""


def _lengths(case: ServerCase) -> MixedLengths:
    draw = np.random.Generator(np.random.PCG64(11))
    return MixedLengths(*(draw.integers(low, high + 1, case.requests) for low, high in (case.prompts, case.outputs)))


async def _load(server: ServerInfo, case: ServerCase, lengths: MixedLengths) -> Service:
    """A closed loop on a real server."""
    queue = list(zip(lengths.prompts.tolist(), lengths.outputs.tolist(), strict=True))[::-1]
    tpots: list[float] = []
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(server.url, connector=connector) as session:
        client = SweepClient(session, server.model, server.vocab_size or 4096, random.Random(5))
        await client.batch(2, 64, 16)  # warms up

        async def keep_busy() -> None:
            while queue:
                prompt, output = queue.pop()
                stream = await client.answer(prompt, output)
                tpots.append((stream.seen[-1].at_s - stream.seen[0].at_s) / (output - 1))

        began = time.perf_counter()
        await asyncio.gather(*(keep_busy() for _ in range(case.concurrency)))
        seconds = time.perf_counter() - began
    return Service(float(lengths.outputs.sum()) / seconds, 1000 * float(np.mean(tpots)))


def _simulated(
    found: Calibrated, case: ServerCase, lengths: MixedLengths, version: str, kv_cache_tokens: int | None
) -> Service:
    served = _served(case, version)
    resolved = served.resolved()
    step = StepTime(served.gpu, served.facts, resolved, calibration=found.calibration)
    bounds = limits(resolved, kv_cache_tokens or 65536, served.config)
    run = run_fast(_plan(lengths), step, bounds, ClientSettings(connections=case.concurrency, end_s=LONG_S))
    seconds = float(np.nanmax(run.last_s))
    tpot = (run.last_s - run.first_s) / (run.generated - 1)
    return Service(float(lengths.outputs.sum()) / seconds, 1000 * float(np.mean(tpot)))


def _plan(lengths: MixedLengths) -> RequestPlan:
    n = len(lengths.prompts)

    def whole(value: int) -> Any:
        return np.full(n, value, np.int32)

    return RequestPlan(
        arrival_s=np.zeros(n),
        prompt_tokens=lengths.prompts.astype(np.int32),
        output_tokens=lengths.outputs.astype(np.int32),
        prefix_id=whole(-1),
        prefix_tokens=whole(0),
        prompt_seed=np.arange(n, dtype=np.int64),
        conversation=whole(-1),
        turn=whole(0),
        think_s=np.zeros(n),
        part=np.zeros(n, np.int16),
        concurrency=None,
        seed=0,
    )


def main(arguments: list[str] | None = None) -> int:
    """Print the tables; return 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--running", nargs=len(CONFIGURATIONS), default=(), metavar="URL")
    short = measure(parser.parse_args(arguments).running)
    for line in short:
        print(f"MISSED: {line}", file=sys.stderr)
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
