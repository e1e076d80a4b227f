"""Renders a configuration as a vLLM command line and as a start script."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping

from rooftune.vllm_rules.config import EngineConfig, FlagValue
from rooftune.vllm_rules.flag_entries import registry

MODULE = "vllm.entrypoints.openai.api_server"


def arguments(config: EngineConfig) -> list[list[str]]:
    """One list of words per flag, in the order of ``EngineConfig``."""
    return [["--model", config.model], *(_flag(k, v) for k, v in config.flags().items())]


def command_line(
    config: EngineConfig, *, python: str = "python", host: str | None = None, port: int | None = 8000
) -> list[str]:
    """The whole command as words. Without ``host`` or ``port``, vLLM listens on all addresses or on port 8000."""
    place = ["--host", host] if host else []
    place += ["--port", str(port)] if port else []
    return [python, "-m", MODULE, *(w for flag in arguments(config) for w in flag), *place]


def shown(config: EngineConfig, port: int | None = 8000) -> str:
    """The command for a reader, with one flag per line."""
    place = [["--port", str(port)]] if port else []
    flags = [shlex.join(f) for f in [*arguments(config), *place]]
    return " \\\n  ".join([f"python -m {MODULE}", *flags])


def shell_script(
    config: EngineConfig,
    comments: list[str],
    *,
    engine_version: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """A bash script that starts the server in the foreground.

    The environment variables ``VLLM_PYTHON``, ``HOST`` and ``PORT`` choose interpreter and address; further
    arguments are appended, so a flag given to the script wins. ``comments`` become the header. Variables of
    ``environment`` are set unless the caller has set them.
    """
    about = [f"Flags for vLLM {engine_version}."] if engine_version else []
    lines = [line for text in [*comments, *about] for line in text.splitlines() or [""]]
    header = "".join(f"# {line}".rstrip() + "\n" for line in lines)
    exports = "".join(f"[[ -v {k} ]] || export {k}={shlex.quote(v)}\n" for k, v in (environment or {}).items())
    flags = "".join(f"  {shlex.join(f)} \\\n" for f in arguments(config))
    return (
        f"#!/usr/bin/env bash\n{header}"
        "# Set VLLM_PYTHON, HOST and PORT to override the defaults; arguments of this script are appended as flags.\n"
        f"set -euo pipefail\n{exports}\n"
        f'exec "${{VLLM_PYTHON:-python}}" -m {MODULE} \\\n{flags}'
        '  --host "${HOST:-127.0.0.1}" \\\n  --port "${PORT:-8000}" \\\n  "$@"\n'
    )


def _flag(name: str, value: FlagValue) -> list[str]:
    dashed = name.replace("_", "-")
    if name in registry() and registry()[name].type == "list":
        return [f"--{dashed}", *str(value).replace(",", " ").split()]
    if isinstance(value, bool):
        return [f"--{dashed}" if value else f"--no-{dashed}"]
    if isinstance(value, dict):
        return [f"--{dashed}", json.dumps(value, separators=(",", ":"))]
    return [f"--{dashed}", f"{value:.12g}" if isinstance(value, float) else str(value)]
