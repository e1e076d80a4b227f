"""Options that several commands share, with the words that explain them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

WorkloadName = Annotated[
    str,
    typer.Argument(metavar="WORKLOAD", help="Name of a file in workloads/ (chat-medium), or a path to a YAML file."),
]
RunPath = Annotated[
    str,
    typer.Argument(
        metavar="RUN", help="Run folder (artifacts/chat-medium/20260101-120000-ab12), or chat-medium/latest, or latest."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON value on standard output.")]
Gpu = Annotated[
    str | None,
    typer.Option(
        "--gpu", help="Accelerator: T4, L4, A10G, A100-80, L40S, H100 ... (case, spaces, dashes ignored); or cpu."
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model", help="llama-2-7b, llama-3.1-8b, qwen2.5-7b ...; a folder or file with config.json; a hub id."
    ),
]
EngineVersion = Annotated[
    str | None, typer.Option("--engine-version", help="vLLM version, for example 0.15.1 or 0.32.0.")
]
Flags = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="FLAG=VALUE", help="A vLLM flag, with underscores: --set max_num_seqs=8. May be repeated."
    ),
]
Calibration = Annotated[
    str | None,
    typer.Option(
        "--calibration",
        metavar="FILE",
        envvar="ROOFTUNE_CALIBRATION",
        help="Constants from rooftune calibrate; none = as shipped. [default: your newest file for that accelerator]",
    ),
]
Engine = Annotated[
    str,
    typer.Option(
        "--engine", help="simulated (no GPU needed), vllm (a real process), endpoint (a URL someone else runs)."
    ),
]
Url = Annotated[
    str | None, typer.Option("--url", help="Server of --engine endpoint, for example http://127.0.0.1:8000.")
]
VllmPython = Annotated[
    str | None,
    typer.Option("--vllm-python", help="Interpreter that has vLLM; default: .venv-vllm, made by `make vllm`."),
]
TimeScale = Annotated[
    float | None, typer.Option("--time-scale", help="Simulated engine: its clock runs this much faster. [default: 25]")
]
Seed = Annotated[
    int | None, typer.Option("--seed", help="Seed of the workload; the same seed sends the same requests.")
]
Duration = Annotated[
    float | None, typer.Option("--duration", help="Measured window in seconds, instead of the workload's.")
]
Rate = Annotated[float | None, typer.Option("--rate", help="Requests per second, instead of the workload's.")]
Warmup = Annotated[float | None, typer.Option("--warmup", help="Warm-up in seconds, instead of the workload's.")]
Artifacts = Annotated[Path, typer.Option("--artifacts", help="Folder that runs are written to.")]
Playbook = Annotated[
    Path | None,
    typer.Option("--playbook", help="YAML file that adds to or replaces candidates of the built-in playbook."),
]
Own = Annotated[
    list[str] | None,
    typer.Option(
        "--candidate",
        metavar="NAME=FLAG=VALUE,...",
        help="A configuration of your own to try: --candidate small=max_num_seqs=4. May be repeated.",
    ),
]
Budget = Annotated[
    str | None,
    typer.Option(
        "--budget", help="Real time for all trials: 10m, 90s. [default: 340s simulated, 15m endpoint, 1h vllm]"
    ),
]
ClientProcesses = Annotated[
    int | None, typer.Option("--client-processes", min=1, help="Client processes. [default: as the rate needs]")
]
ReadyTimeout = Annotated[
    float | None, typer.Option("--ready-timeout", min=1, help="Longest wait for a server to serve, in seconds.")
]
Resume = Annotated[
    str | None, typer.Option("--resume", metavar="RUN", help="Go on with this run; what it has measured is kept.")
]

ARTIFACTS = Path("artifacts")
