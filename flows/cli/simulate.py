"""``rooftune simulate``: the emulated engine as a server."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import urllib.request
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from flows.cli.emulated import chosen_server, description
from flows.inputs import options
from flows.inputs.flat import flat_command
from flows.inputs.parameters import ServerOptions

if TYPE_CHECKING:
    from flows.inputs.targets import EmulatedServer
    from rooftune.vllm_rules.config import FlagValue

Port = Annotated[int, Option("--port", min=1, max=65535, help="Port to listen on.")]
Host = Annotated[str, Option("--host", help="Address to listen on.")]
ServedName = Annotated[
    str | None, Option("--served-model-name", help="Model name that requests use. Default: the model.")
]
TimeScale = Annotated[
    float, Option("--time-scale", min=1.0, max=100.0, help="Run the engine's clock this much faster.")
]
Noise = Annotated[float, Option("--noise", min=0.0, max=1.0, help="Relative noise of step times.")]
NoiseSeed = Annotated[int, Option("--seed", help="Seed of the noise.")]
RecordedAnswers = Annotated[
    str | None,
    Option(
        "--answers",
        metavar="FILE",
        help="Recorded answers to play, from an answers.parquet or a file of prompts with answers: the same prompt "
        "gets the same answer, and n-gram and suffix decoding draft from it.",
    ),
]
WAIT_S = 60.0
"""Longest wait for the server to answer before it is announced."""


@flat_command
def simulate(
    server: ServerOptions,
    port: Port = 8000,
    host: Host = "127.0.0.1",
    served_model_name: ServedName = None,
    time_scale: TimeScale = 1.0,
    noise: Noise = 0.01,
    seed: NoiseSeed = 0,
    answers: RecordedAnswers = None,
    acceptance: options.Acceptance = None,
    as_json: options.Json = False,
) -> int:
    """Serve the emulated engine over HTTP, with vLLM's API, metrics and log lines, until Ctrl-C.

    [bold]Examples[/bold]

      rooftune simulate --gpu T4 --model llama-2-7b --port 8000
      rooftune simulate --gpu L4 --model qwen2.5-7b --set max_num_seqs=64 --time-scale 10
      curl http://127.0.0.1:8000/metrics

    With --json one line is printed to standard output when the server is ready; the log goes to standard error.
    """
    from rooftune.engines.launch_spec import choose_port
    from rooftune.simulator.front.__main__ import main

    chosen = chosen_server(server)
    _check_start(chosen)
    choose_port(port, host)
    words = ["--gpu", chosen.gpu, "--model", chosen.model, "--engine-version", chosen.engine_version]
    words += ["--host", host, "--port", str(port)]
    words += ["--time-scale", f"{time_scale:g}", "--noise", f"{noise:g}", "--seed", str(seed)]
    words += ["--served-model-name", served_model_name] if served_model_name else []
    if chosen.calibration is not None:
        words += ["--calibration", chosen.calibration.path, "--calibration-sha256", chosen.calibration.sha256]
    words += ["--answers", answers] if answers else []
    words += _drafts(acceptance, chosen)
    words += [word for name, value in chosen.flags.items() for word in ("--set", f"{name}={_text(value)}")]
    if as_json:
        _announce(host, port, {**description(chosen), "model": served_model_name or chosen.model})
    return main(words)


def _drafts(acceptance: str | None, server: EmulatedServer) -> list[str]:
    """How drafts fare, as the engine's process takes it."""
    if acceptance is None:
        return []
    from flows.inputs.drafts import acceptance_of
    from rooftune.speculation.acceptance import step_drafts
    from rooftune.vllm_rules.speculation import speculation

    spec = speculation(server.config)
    found = step_drafts(acceptance_of(acceptance, server.config), spec.tokens if spec else 0)
    return ["--accepted", ",".join(map(str, found.accepted)), "--drafted", str(found.drafted)]


def _check_start(server: EmulatedServer) -> None:
    """Refuse a server that vLLM would not start.

    Raises:
        EngineError: the message has vLLM's words and a way out.
    """
    from rooftune.simulator.virtual.predict import start_of

    start_of(server.gpu, server.model, server.engine_version, server.flags).started()


def _announce(host: str, port: int, about: dict[str, Any]) -> None:
    """Print one JSON line as soon as the server answers."""
    url = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"

    def wait() -> None:
        deadline = time.monotonic() + WAIT_S
        while not _answers(url) and time.monotonic() < deadline:
            time.sleep(0.1)
        sys.stdout.write(json.dumps({"url": url, "pid": os.getpid(), **about}) + "\n")
        sys.stdout.flush()

    threading.Thread(target=wait, daemon=True).start()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=1) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


def _text(value: FlagValue) -> str:
    """A flag's value as ``--set`` reads it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value) if isinstance(value, dict) else str(value)
