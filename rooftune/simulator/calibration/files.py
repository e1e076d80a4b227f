"""Calibration files: constants of the step-time model fitted to one engine on one accelerator, to keep and to share.

Which one is in force: the file that ``$ROOFTUNE_CALIBRATION`` names (``none`` = none), else the newest for that
accelerator in ``$ROOFTUNE_HOME/calibrations`` (``.rooftune/calibrations`` by default).
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from rooftune.errors import InputError
from rooftune.hardware.accelerator import Accelerator

VARIABLE = "ROOFTUNE_CALIBRATION"
NONE = "none"


class Calibration(BaseModel):
    """Content of a calibration file."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    format: int = Field(default=1, description="of this file", ge=1, le=1)
    gpu: str = Field(description="catalogue name of the accelerator, or 'cpu'")
    accelerator_notes: str = Field(default="", description="e.g. the processor's name")
    bandwidth_gb_per_s: float = Field(description="ceiling that the shares below refer to")
    teraflops: dict[str, float] = Field(description="ceilings by data type that the shares below refer to")
    engine: str = Field(description="what was measured, e.g. 'vLLM 0.32.0'")
    model: str
    flags: dict[str, Any] = Field(default_factory=dict)
    kernel: str = Field(description="kernel family of the linear layers")
    attention: str = Field(description="attention backend")
    made_at: str = Field(description="ISO date and time")
    constants: dict[str, float] = Field(
        description="by path, as in kernels.yaml: 'linear.marlin.memory', 'host.exposed_ms'"
    )
    front_ms: float = Field(
        default=0.0, description="a request's way through client, HTTP and tokenizer; not simulated"
    )
    points: int = Field(description="measured points that were fitted to")
    held_back: int
    error_before: float = Field(description="median relative error on the points held back, with the shipped constants")
    error_after: float

    def constants_on(self, gpu: Accelerator) -> dict[str, float]:
        """The constants for ``gpu``: shares are converted where its ceilings are taken to be others than in the
        file."""
        bandwidth = self.bandwidth_gb_per_s * 1e9 / gpu.bandwidth_bytes_per_s
        mine, theirs = _first_rate(self.teraflops), _first_rate({k: v / 1e12 for k, v in gpu.flops_per_s.items()})
        factors = {"memory": bandwidth, "pass_memory": bandwidth, "dequantise_memory": bandwidth}
        factors |= dict.fromkeys(("compute", "pass_compute"), mine / theirs)
        return {path: value * factors.get(path.rsplit(".", 1)[-1], 1.0) for path, value in self.constants.items()}


def _first_rate(rates: dict[str, float]) -> float:
    return next(rates[name] for name in ("fp16", "bf16", "fp32") if rates.get(name))


def folder() -> Path:
    """Where calibrations are kept by default."""
    return Path(os.environ.get("ROOFTUNE_HOME") or ".rooftune") / "calibrations"


def load(path: Path) -> Calibration:
    """Read a file.

    Raises:
        InputError: it cannot be read or is no calibration.
    """
    try:
        return _read(path, path.stat().st_mtime_ns)
    except OSError as error:
        raise InputError(
            f"the calibration {path} cannot be read ({error.strerror}); make one with rooftune calibrate."
        ) from None


@lru_cache
def _read(path: Path, _changed: int) -> Calibration:
    try:
        return Calibration.model_validate(YAML(typ="safe").load(path.read_text(encoding="utf-8")))
    except (ValidationError, YAMLError, UnicodeDecodeError) as error:
        first = str(error).splitlines()
        raise InputError(
            f"{path} is no calibration of rooftune ({' '.join(first[1:3]) or first[0]}); make one with rooftune calibrate."
        ) from None


def save(calibration: Calibration, path: Path) -> None:
    """Write a file, replacing it whole."""
    from rooftune.files import replacing

    path.parent.mkdir(parents=True, exist_ok=True)
    yaml = YAML()
    yaml.width = 4096
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.write(
            "# Constants of rooftune's step-time model, fitted by `rooftune calibrate`. To use it: --calibration FILE.\n"
        )
        yaml.dump(calibration.model_dump(), file)


def in_force(gpu: Accelerator) -> Calibration | None:
    """The calibration that counts for this accelerator.

    Raises:
        InputError: the file that was named cannot be read, or is of another accelerator.
    """
    named = os.environ.get(VARIABLE, "")
    if named.lower() == NONE:
        return None
    if named:
        found = load(Path(named).expanduser())
        if found.gpu != gpu.name:
            raise InputError(
                f"the calibration {named} is of {found.gpu} and not of {gpu.name}; leave --calibration out, or name another."
            )
        return found
    return _newest(gpu)


def _newest(gpu: Accelerator) -> Calibration | None:
    try:
        paths = sorted(folder().glob("*.yaml"), key=lambda p: p.stat().st_mtime, reverse=True)
    except OSError:
        return None
    found = (load(p) for p in paths)
    return next((c for c in found if c.gpu == gpu.name), None)
