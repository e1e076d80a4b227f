"""Which simulated server a measurement compares the real one with: the server's own twin, or a stand-in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import BaseModel, ConfigDict, Field

from rooftune.capacity.reference import Reference
from rooftune.engines.server import EffectiveConfig
from rooftune.engines.target import CalibrationFile, Target
from rooftune.errors import RooftuneError
from rooftune.hardware.accelerator import Price
from rooftune.hardware.named import accelerator
from rooftune.simulator.calibration.files import opened
from rooftune.simulator.virtual.predict import EmulatedEngine, engine_of, too_long
from rooftune.vllm_rules.config import FlagValue
from rooftune.workloads.draw import draw
from rooftune.workloads.spec import Workload

STAND_IN_VERSION = "0.32.0"
"""vLLM version of a stand-in whose server does not report one."""
STAND_IN_GPUS = ("L4", "A100-80", "H200")
"""Accelerators of a stand-in; the first on which the model and the workload fit is taken."""
STAND_IN_MODEL = "llama-3.1-8b"
REPORTED = ("max_model_len", "max_num_seqs", "max_num_batched_tokens")
"""Limits that a server may report and that its stand-in then has too."""


class ReferenceServer(BaseModel):
    """The simulated server whose response gives a measurement its shape. Only its shape matters, not its speed."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    gpu: str
    model: str
    engine_version: str
    flags: dict[str, FlagValue] = Field(default_factory=dict)
    calibration: CalibrationFile | None = None
    stand_in: bool = Field(default=False, description="the server's own GPU or model is not known")

    @property
    def words(self) -> str:
        """What it is, in a few words."""
        kind = "a stand-in, " if self.stand_in else ""
        return f"{kind}simulated {self.gpu} with {self.model}, vLLM {self.engine_version}"

    @property
    def price(self) -> Price | None:
        """Price of the server's accelerator; None where it is not known."""
        return None if self.stand_in else accelerator(self.gpu).price

    def engine(self) -> EmulatedEngine:
        """The emulated engine.

        Raises:
            InputError: an unknown GPU or model.
            EngineError: vLLM would refuse these flags on this GPU.
        """
        return engine_of(
            self.gpu, self.model, self.engine_version, self.flags, calibration=opened(self.calibration)
        )  # fmt: skip

    def reference(self, workload: Workload) -> Reference:
        """The reference for a workload."""
        return Reference(self.engine(), workload)


def reference_server(target: Target, flags: Mapping[str, FlagValue], gpu: str) -> ReferenceServer:
    """The twin of a server whose GPU, model and flags are known."""
    return ReferenceServer(
        gpu=gpu,
        model=target.model,
        engine_version=target.engine_version,
        flags=dict(flags),
        calibration=target.calibration,
    )


def usable(server: ReferenceServer, workload: Workload) -> str:
    """Why the workload cannot be simulated on this server; empty where it can."""
    try:
        engine = server.engine()
    except RooftuneError as error:
        return str(error)
    if too_long(draw(workload), engine.limits.max_model_len).any():
        return f"some requests are longer than max_model_len={engine.limits.max_model_len}"
    return ""


def stand_in(effective: EffectiveConfig, model: str | None, gpu: str | None, workload: Workload) -> ReferenceServer:
    """A simulated server in the place of one about which little is known.

    Args:
        effective: what the server reports about itself.
        model: name of its model, if known.
        gpu: its accelerator, if known.

    Raises:
        RooftuneError: the workload's requests are too long for every candidate.
    """
    refusal = ""
    for found in _candidates(effective, model, gpu):
        why = usable(found, workload)
        if not why:
            return found
        refusal = why
    raise RooftuneError(
        f"no simulated server can stand in for this one ({refusal.rstrip('.')}); name its accelerator and model with "
        "--gpu and --model."
    )


def _candidates(effective: EffectiveConfig, model: str | None, gpu: str | None) -> Iterator[ReferenceServer]:
    limits: dict[str, FlagValue] = {
        name: value for name in REPORTED if (value := getattr(effective, name)) is not None
    }  # fmt: skip
    version = effective.engine_version or STAND_IN_VERSION
    for flags in (limits, {}) if limits else ({},):
        for name in (model, STAND_IN_MODEL):
            if not name:
                continue
            for card in (gpu,) if gpu else STAND_IN_GPUS:
                known = gpu is not None and name == model
                for release in dict.fromkeys((version, STAND_IN_VERSION)):
                    yield ReferenceServer(
                        gpu=card, model=name, engine_version=release, flags=dict(flags), stand_in=not known
                    )
