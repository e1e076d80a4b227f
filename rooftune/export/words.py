"""The command line of an exported server as words, and the escapes of the files that contain it."""

from __future__ import annotations

from rooftune.engines.command_line import arguments
from rooftune.vllm_rules.config import EngineConfig

SERVE = ["vllm", "serve"]
"""The command in vLLM's images. It is written out because the entrypoint of the image has changed between releases."""


def flag_words(config: EngineConfig, *without: str) -> list[str]:
    """The flags as words, without the model and the flags named in ``without`` (with underscores)."""
    left_out = {word for name in without for word in _names(name)}
    return [word for flag in arguments(config)[1:] if flag[0] not in left_out for word in flag]


def _names(flag: str) -> tuple[str, str]:
    """A flag as it is set and as it is unset."""
    dashed = flag.replace("_", "-")
    return f"--{dashed}", f"--no-{dashed}"


def serve_words(config: EngineConfig, port: int) -> list[str]:
    """Everything after ``vllm serve`` in a container: the model, the flags and the address."""
    return [config.model, *flag_words(config), "--host", "0.0.0.0", "--port", str(port)]


def without_expansion(text: str) -> str:
    """A text in which Compose and Kubernetes expand no variable: both read '$$' as '$'."""
    return text.replace("$", "$$")
