"""Calibration files: constants of the step-time model fitted to one engine on one accelerator, to keep and to share.

Nothing here decides which file is used. The command line chooses one and passes it on; ``CalibrationFile`` (path and
hash) is what a run records.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from rooftune.engines.target import CalibrationFile
from rooftune.errors import InputError
from rooftune.files import replacing
from rooftune.hardware.accelerator import Accelerator


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
        """The constants for ``gpu``. Shares are converted if its ceilings differ from those in the file."""
        bandwidth = self.bandwidth_gb_per_s * 1e9 / gpu.bandwidth_bytes_per_s
        mine, theirs = _first_rate(self.teraflops), _first_rate({k: v / 1e12 for k, v in gpu.flops_per_s.items()})
        factors = {"memory": bandwidth, "pass_memory": bandwidth, "dequantise_memory": bandwidth}
        factors |= dict.fromkeys(("compute", "pass_compute"), mine / theirs)
        return {path: value * factors.get(path.rsplit(".", 1)[-1], 1.0) for path, value in self.constants.items()}


def _first_rate(rates: dict[str, float]) -> float:
    return next(rates[name] for name in ("fp16", "bf16", "fp32") if rates.get(name))


def load(path: Path) -> Calibration:
    """Read a file.

    Raises:
        InputError: it cannot be read or is not a calibration.
    """
    return _parsed(_content(path), path)


def reference(path: Path) -> CalibrationFile:
    """Path and hash of a calibration file, for the record of a run.

    Raises:
        InputError: it cannot be read or is not a calibration.
    """
    content = _content(path)
    _parsed(content, path)
    return CalibrationFile(path=str(path.absolute()), sha256=_sha256(content))


def opened(used: CalibrationFile | None) -> Calibration | None:
    """The calibration that a run records; None where it uses none.

    Raises:
        InputError: the file is missing, or has changed since it was recorded.
    """
    if used is None:
        return None
    path = Path(used.path)
    content = _content(path)
    if _sha256(content) != used.sha256:
        raise InputError(
            f"the calibration {path} has changed since this run began; restore its content, or start a new run."
        )
    return _parsed(content, path)


def newest(gpu: str, folder: Path) -> Path | None:
    """The newest calibration file in ``folder`` for the accelerator of that catalogue name.

    Raises:
        InputError: a newer file in the folder is not a calibration.
    """
    try:
        paths = sorted(folder.glob("*.yaml"), key=lambda p: p.stat().st_mtime, reverse=True)
    except OSError:
        return None
    return next((p for p in paths if load(p).gpu == gpu), None)


def check_accelerator(calibration: Calibration, gpu: Accelerator) -> None:
    """Raise InputError where the calibration is for another accelerator."""
    if calibration.gpu != gpu.name:
        raise InputError(
            f"the calibration is for {calibration.gpu}, not for {gpu.name}; leave --calibration out or name another."
        )


def save(calibration: Calibration, path: Path) -> None:
    """Write a file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    yaml = YAML()
    yaml.width = 4096
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.write(
            "# Constants of rooftune's step-time model, fitted by `rooftune calibrate`. "
            "To use them: --calibration FILE\n"
        )
        yaml.dump(calibration.model_dump(), file)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"the calibration {path} cannot be read ({error.strerror}); make one with rooftune calibrate."
        ) from None


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _parsed(content: bytes, path: Path) -> Calibration:
    try:
        return Calibration.model_validate(YAML(typ="safe").load(content.decode("utf-8")))
    except (ValidationError, YAMLError, UnicodeDecodeError) as error:
        lines = str(error).splitlines()
        reason = " ".join(lines[1:3]) or lines[0]
        raise InputError(
            f"{path} is not a rooftune calibration ({reason}); make one with rooftune calibrate."
        ) from None
