"""Chooses the calibration of the step-time model, once, for everything that a command predicts or simulates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from flows.inputs.home import home

if TYPE_CHECKING:
    from rooftune.engines.target import CalibrationFile

NONE = "none"
"""Instead of a file name: constants as shipped."""


def folder() -> Path:
    """Where ``rooftune calibrate`` writes files, and where the default comes from."""
    return home() / "calibrations"


def chosen(named: str | None, gpu: str) -> CalibrationFile | None:
    """The calibration to use for an accelerator, or None for the constants as shipped.

    Args:
        named: a file, or ``none``; None = the newest file for that accelerator in :func:`folder`, if there is one.
        gpu: catalogue name, or ``cpu``.

    Raises:
        InputError: the file cannot be read, is not a calibration, or is for another accelerator.
    """
    from rooftune.errors import InputError
    from rooftune.simulator.calibration.files import load, newest, reference

    if named is None:
        path = newest(gpu, folder())
        return reference(path) if path else None
    if named.lower() == NONE:
        return None
    path = Path(named).expanduser()
    found = load(path)
    if found.gpu != gpu:
        raise InputError(f"the calibration {path} is for {found.gpu}, not for {gpu}; name another, or none.")
    return reference(path)


def sentence(used: CalibrationFile | None, named: str | None) -> str:
    """Which calibration is used, in one line; empty without one."""
    if used is None:
        return ""
    default = ", your newest file for this accelerator; --calibration none leaves it out" if named is None else ""
    return f"Step times are calibrated with {used.path} (sha256 {used.sha256[:12]}){default}."
