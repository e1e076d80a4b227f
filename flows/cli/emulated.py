"""The emulated server of ``predict``, ``steptime`` and ``simulate``: from options, and in their output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flows.cli import terminal

if TYPE_CHECKING:
    from flows.inputs.parameters import ServerOptions
    from flows.inputs.targets import EmulatedServer


def chosen_server(asked: ServerOptions, more_flags: list[str] | None = None) -> EmulatedServer:
    """The server that options describe; a calibration that is used is named on standard error."""
    from flows.inputs.calibrations import sentence
    from flows.inputs.targets import emulated_server

    server = emulated_server(asked, more_flags)
    if server.calibration is not None:
        terminal.note(sentence(server.calibration, asked.calibration))
    return server


def description(server: EmulatedServer) -> dict[str, Any]:
    """The server, for ``--json``."""
    return {
        "gpu": server.gpu,
        "model": server.model,
        "engine_version": server.engine_version,
        "flags": server.flags,
        "simulated": True,
        "calibration": server.calibration.model_dump() if server.calibration else None,
    }


def heading(what: str, server: EmulatedServer) -> str:
    """Two lines above a table."""
    flags = " ".join(f"{k}={v}" for k, v in server.flags.items()) or "none"
    where = f"{what} on a simulated {server.gpu}, {server.model}, vLLM {server.engine_version}"
    return f"{where}\nflags: {flags}\n"
