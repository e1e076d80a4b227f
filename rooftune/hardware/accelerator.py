"""What serves: an accelerator and its host, as typed values."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Price(BaseModel):
    """The price of one accelerator: an on-demand list price, or what the user pays."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    usd_per_hour: float
    offer: str = Field(description="cloud and machine type, e.g. 'AWS g4dn.xlarge us-east-1'")
    date: str = Field(description="date of the source, ISO; empty where the user gave the price")
    source: str

    @property
    def words(self) -> str:
        """Where it is from: 'AWS g4dn.xlarge us-east-1, 2026-09-17', or 'given with --price'."""
        return f"{self.offer}, {self.date}" if self.date else self.offer


class Accelerator(BaseModel):
    """One accelerator as the catalogue or a probe knows it. Dense rates, FP32 accumulate."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str = Field(description="catalogue name, e.g. 'T4', 'A100-80', 'cpu'")
    kind: Literal["cuda", "cpu"] = "cuda"
    compute_capability: tuple[int, int] | None = Field(description="(7, 5) for a T4; None for a CPU")
    memory_bytes: int = Field(description="memory that a CUDA program (torch) can see, not marketing GB")
    driver_memory_bytes: int | None = Field(
        default=None, description="memory that nvidia-smi prints; it holds some back"
    )
    bandwidth_bytes_per_s: float
    flops_per_s: dict[str, float] = Field(
        description="peak rate by type: 'fp32', 'fp16', 'bf16', 'int8', 'fp8', 'fp4'; absent = not supported"
    )
    power_watts: float | None = None
    multiprocessors: int | None = None
    interconnect_bytes_per_s: float | None = Field(
        default=None, description="per-GPU all-reduce link (NVLink or PCIe), one direction"
    )
    price: Price | None = None
    source: str = ""
    notes: str = ""


class Ceiling(BaseModel):
    """A measured ceiling of this machine."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: Literal["memory_copy", "matmul_fp32", "matmul_fp16", "matmul_bf16"]
    value: float
    unit: Literal["bytes/s", "FLOP/s"]
    how: str


class Capability(BaseModel):
    """Whether a feature can be used here, for one engine version, and why."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    id: str = Field(description="e.g. 'fp8_kv', 'marlin', 'cuda_graphs'")
    name: str
    available: bool
    reason: str


class Hardware(BaseModel):
    """What serves, with its host, its measured ceilings and what it can do. Content of hardware.json."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    accelerator: Accelerator
    count: int = 1
    simulated: bool = Field(description="True when the accelerator is named from the catalogue and not present")
    engine_version: str
    driver: str | None = None
    power_limit_watts: float | None = None
    max_sm_clock_mhz: float | None = None
    max_memory_clock_mhz: float | None = None
    host: dict[str, str | int | float] = Field(default_factory=dict)
    ceilings: list[Ceiling] = Field(default_factory=list)
    capabilities: list[Capability] = Field(default_factory=list)

    def can(self, capability: str) -> Capability:
        """The capability of that id. Raises KeyError for an unknown id."""
        for found in self.capabilities:
            if found.id == capability:
                return found
        raise KeyError(capability)
