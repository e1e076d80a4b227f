"""A configuration as a vLLM command line and as a start script."""

from __future__ import annotations

import json
import shlex

from rooftune.engines.config import EngineConfig, FlagValue

MODULE = "vllm.entrypoints.openai.api_server"


def arguments(config: EngineConfig) -> list[list[str]]:
    """The flags, one list of words each, in the order of ``EngineConfig``."""
    return [["--model", config.model], *(_flag(k, v) for k, v in config.flags().items())]


def command_line(
    config: EngineConfig, *, python: str = "python", host: str | None = None, port: int = 8000
) -> list[str]:
    """The whole command as words."""
    place = ["--host", host] if host else []
    words = [w for flag in arguments(config) for w in flag]
    return [python, "-m", MODULE, *words, *place, "--port", str(port)]


def shown(config: EngineConfig, port: int = 8000) -> str:
    """The command as a person reads it: one flag a line."""
    flags = [shlex.join(f) for f in [*arguments(config), ["--port", str(port)]]]
    return " \\\n  ".join([f"python -m {MODULE}", *flags])


def shell_script(config: EngineConfig, comments: list[str]) -> str:
    """A bash script that starts the server; PYTHON, HOST and PORT can be set from outside, further flags appended."""
    flags = "".join(f"  {shlex.join(f)} \\\n" for f in arguments(config))
    notes = "".join(f"# {line}\n" if line else "#\n" for text in comments for line in text.splitlines() or [""])
    return (
        f"#!/usr/bin/env bash\n{notes}set -euo pipefail\n\n"
        f'exec "${{PYTHON:-python}}" -m {MODULE} \\\n{flags}'
        '  --host "${HOST:-127.0.0.1}" \\\n  --port "${PORT:-8000}" \\\n  "$@"\n'
    )


def _flag(name: str, value: FlagValue) -> list[str]:
    dashed = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{dashed}" if value else f"--no-{dashed}"]
    if isinstance(value, dict):
        return [f"--{dashed}", json.dumps(value, separators=(",", ":"))]
    return [f"--{dashed}", f"{value:g}" if isinstance(value, float) else str(value)]
