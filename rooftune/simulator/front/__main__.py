"""``python -m rooftune.simulator.front``: the simulated engine as a separate process."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import sys
import time
from pathlib import Path

from rooftune.engines.target import CalibrationFile
from rooftune.errors import RooftuneError
from rooftune.hardware.named import accelerator
from rooftune.models.catalogue import model_facts
from rooftune.simulator.calibration.files import Calibration, opened, reference
from rooftune.simulator.engine.core import EngineCore, Noise
from rooftune.simulator.front import log_lines
from rooftune.simulator.front.played import PlayedAnswers, played_answers
from rooftune.simulator.front.protocol import HttpProtocol
from rooftune.simulator.front.server import EngineFront
from rooftune.speculation.acceptance import ASSUMED, AcceptanceLike, StepDrafts
from rooftune.vllm_rules.config import EngineConfig, FlagValue

FAULT = "ROOFTUNE_SIM_FAULT"
"""Environment variable for fault tests: die_at_start, hang_at_start, oom_at_start, die_after_requests:N."""


def build(
    gpu: str,
    model: str,
    engine_version: str,
    flags: dict[str, FlagValue],
    noise: Noise,
    calibration: Calibration | None = None,
    acceptance: AcceptanceLike = ASSUMED,
    *,
    plays_answers: bool = False,
) -> EngineCore:
    """The engine core for names as a user gives them."""
    quantization = flags.get("quantization")
    facts = model_facts(model, quantization=str(quantization) if quantization else None)
    config = EngineConfig(model=model).with_change(flags)
    return EngineCore(
        accelerator(gpu), facts, config, engine_version, noise, acceptance, calibration, plays_answers=plays_answers
    )


async def serve(
    core: EngineCore,
    *,
    model: str,
    host: str = "127.0.0.1",
    port: int = 8000,
    time_scale: float = 1.0,
    played: PlayedAnswers | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    server = EngineFront(core, model, time_scale, played)
    listening = await loop.create_server(lambda: HttpProtocol(server.handle), host, port, backlog=4096)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    tasks = [asyncio.create_task(server.run()), asyncio.create_task(server.report())]
    fault, _, count = os.environ.get(FAULT, "").partition(":")
    if fault == "die_after_requests":
        tasks.append(asyncio.create_task(_die_after(server, int(count))))
    log_lines.startup(core, core.config, model)
    await asyncio.wait([asyncio.create_task(stop.wait()), *tasks], return_when=asyncio.FIRST_COMPLETED)
    failed = [t for t in tasks if t.done() and t.exception()]
    for task in tasks:
        task.cancel()
    listening.close()
    if failed:
        failed[0].result()


async def _die_after(server: EngineFront, requests: int) -> None:
    """Kill this process once it has answered this many requests, the warm-up request included."""
    while sum(server.metrics.success.values()) < requests:
        await asyncio.sleep(0.002)
    os._exit(1)


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code as vLLM's would be."""
    args = _arguments(argv)
    log_lines.banner(args.gpu, args.engine_version, args.time_scale)
    fault = os.environ.get(FAULT, "")
    if fault == "die_at_start":
        log_lines.error(
            "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}"
        )
        return 1
    if fault == "oom_at_start":
        log_lines.error(
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 172.00 MiB. "
            "GPU 0 has a total capacity of 14.56 GiB"
        )
        return 1
    if fault == "hang_at_start":
        time.sleep(3600)
    try:
        flags = _flags(args)
        noise = Noise(args.noise, args.drift, seed=args.seed)
        vocabulary = model_facts(args.model).vocab_size
        played = played_answers(args.answers, vocabulary) if args.answers is not None else None
        core = build(
            args.gpu, args.model, args.engine_version, flags, noise, opened(_calibration(args)), _acceptance(args),
            plays_answers=played is not None,
        )  # fmt: skip
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((args.host, args.port))
        name = args.served_model_name or args.model
        try:
            import uvloop

            asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
        except ImportError:
            pass
        asyncio.run(serve(core, model=name, host=args.host, port=args.port, time_scale=args.time_scale, played=played))
    except OSError as error:
        log_lines.error(f"OSError: [Errno {error.errno}] {os.strerror(error.errno or 0)}")
        return 1
    except RooftuneError as error:
        log_lines.error(f"ValueError: {error}")
        log_lines.error(
            "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}"
        )
        return 2 if error.exit_code == 2 else 1
    return 0


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="rooftune simulate", description="vLLM emulated on a named GPU, over HTTP")
    parser.add_argument("--gpu", default="T4")
    parser.add_argument("--model", default="llama-2-7b")
    parser.add_argument("--served-model-name")
    parser.add_argument("--engine-version", default="0.15.1")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--time-scale", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--noise", type=float, default=0.01)
    parser.add_argument("--drift", type=float, default=0.0)
    parser.add_argument("--calibration", type=Path, metavar="FILE", help="constants from rooftune calibrate")
    parser.add_argument("--calibration-sha256", metavar="HEX", help="hash that the file must have")
    parser.add_argument(
        "--answers",
        type=Path,
        metavar="FILE",
        help="recorded answers to play: answers.parquet, or prompts that have answers",
    )
    parser.add_argument("--accepted", metavar="SHARES", help="share of the steps that accept the 1st, 2nd, ... token")
    parser.add_argument("--drafted", type=float, metavar="TOKENS", help="mean drafted tokens per step")
    parser.add_argument("--set", action="append", default=[], metavar="FLAG=VALUE")
    return parser.parse_args(argv)


def _calibration(args: argparse.Namespace) -> CalibrationFile | None:
    if args.calibration is None:
        return None
    if args.calibration_sha256 is None:
        return reference(args.calibration)
    return CalibrationFile(path=str(args.calibration), sha256=args.calibration_sha256)


def _acceptance(args: argparse.Namespace) -> AcceptanceLike:
    if args.accepted is None:
        return ASSUMED
    shares = tuple(float(share) for share in args.accepted.split(","))
    return StepDrafts(shares, float(len(shares)) if args.drafted is None else args.drafted)


def _flags(args: argparse.Namespace) -> dict[str, FlagValue]:
    from rooftune.vllm_rules.flags import parse_set

    return parse_set(args.set, args.engine_version)


if __name__ == "__main__":
    sys.exit(main())
