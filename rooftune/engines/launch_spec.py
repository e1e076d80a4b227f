"""What it takes to launch a server process: its command, its environment, and a free port."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path

from rooftune.engines.command_line import command_line
from rooftune.engines.interpreter import installed, vllm_python
from rooftune.engines.target import Target
from rooftune.errors import InputError
from rooftune.speculation.acceptance import StepDrafts
from rooftune.vllm_rules.config import EngineConfig, FlagValue

PASSED_ON = ("VLLM_", "HF_", "CUDA_", "NCCL_", "OMP_", "LD_PRELOAD", "ROOFTUNE_SIM_")
"""Prefixes of the user's environment variables that change an engine. They are passed on and recorded."""
SECRET = ("KEY", "TOKEN", "SECRET", "PASSWORD")


def server_command(target: Target, config: EngineConfig, *, host: str, port: int) -> list[str]:
    """The command of one server.

    Raises:
        InputError: vLLM was not found.
    """
    if target.engine == "simulated":
        return _simulated(target, config, host, port)
    return command_line(config, python=vllm_python(target.vllm_python), host=host, port=port)


def served_name(config: EngineConfig) -> str:
    """The model name that requests must send."""
    return config.served_model_name or config.model


def server_environment(target: Target, config: EngineConfig) -> dict[str, str]:
    """Variables that rooftune adds to the user's environment. It overrides nothing that the user has set.

    They concern vLLM only: its interpreter's ``bin`` comes first in PATH (FlashInfer calls ``ninja``), usage
    statistics are off, the development endpoints are on (``/server_info`` reports the effective configuration), the
    hub is off for a local folder, and the CPU build gets a KV cache of 1 GiB, because its default takes most of the
    host's memory.
    """
    if target.engine != "vllm":
        return {}
    python = vllm_python(target.vllm_python)
    wanted = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "VLLM_SERVER_DEV_MODE": "1"}
    if Path(config.model).is_dir():
        wanted["HF_HUB_OFFLINE"] = "1"
    if installed(python).cpu:
        wanted["VLLM_CPU_KVCACHE_SPACE"] = "1"
    set_now = {k: v for k, v in wanted.items() if k not in os.environ}
    return {**set_now, "PATH": f"{Path(python).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}


def recorded_environment(set_by_us: dict[str, str]) -> dict[str, str]:
    """The variables for ``server.json``: ours, and the user's that change an engine, without secrets and PATH."""
    passed = {k: v for k, v in os.environ.items() if k.startswith(PASSED_ON)}
    merged = {**passed, **{k: v for k, v in set_by_us.items() if k != "PATH"}}
    return {k: v for k, v in sorted(merged.items()) if not any(word in k for word in SECRET)}


def choose_port(wanted: int | None, host: str) -> int:
    """Return ``wanted`` if it is free, or any free port if it is None.

    Raises:
        InputError: the wanted port is taken or not permitted.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, wanted or 0))
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise InputError(
                f"port {wanted} on {host} cannot be used ({reason}); choose another port or omit it."
            ) from None
        return int(probe.getsockname()[1])


def _simulated(target: Target, config: EngineConfig, host: str, port: int) -> list[str]:
    words = [sys.executable, "-m", "rooftune.simulator.front", "--host", host, "--port", str(port)]
    words += ["--gpu", target.gpu or "T4", "--model", target.model, "--served-model-name", served_name(config)]
    words += ["--engine-version", target.engine_version, "--time-scale", f"{target.time_scale:g}"]
    if target.calibration is not None:
        words += ["--calibration", target.calibration.path, "--calibration-sha256", target.calibration.sha256]
    words += ["--answers", target.answers] if target.answers else []
    drafts = target.known_drafts.of(config.flags())
    if isinstance(drafts, StepDrafts):
        words += ["--accepted", ",".join(map(str, drafts.accepted)), "--drafted", str(drafts.drafted)]
    for name, value in config.flags().items():
        if name not in ("served_model_name", "tokenizer"):
            words += ["--set", f"{name}={_text(value)}"]
    return words


def _text(value: FlagValue) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, separators=(",", ":")) if isinstance(value, dict) else f"{value}"
