"""Environment variables of a measured server that belong to the configuration, not to the machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

CARRIED = ("VLLM_", "NCCL_", "OMP_", "CUDA_")
"""Prefixes of variables that change how an engine runs."""
OF_THE_MACHINE = (
    "CUDA_HOME",
    "CUDA_PATH",
    "CUDA_VISIBLE_DEVICES",
    "NCCL_SOCKET_IFNAME",
    "VLLM_CACHE_ROOT",
    "VLLM_CONFIG_ROOT",
    "VLLM_HOST_IP",
    "VLLM_LOGGING_CONFIG_PATH",
    "VLLM_PORT",
)
"""Paths, devices and addresses of the machine that measured."""
OF_THE_MEASUREMENT = ("VLLM_SERVER_DEV_MODE", "VLLM_NO_USAGE_STATS")
"""Set by rooftune: the first opens endpoints that a deployment must not have, the second is the user's choice."""


@dataclass(frozen=True)
class Environment:
    """The variables to set, and the names of those that were set but are left out."""

    values: dict[str, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    @property
    def comments(self) -> list[str]:
        """What a reader must know of the variables that are left out."""
        if not self.left_out:
            return []
        return [f"Set while measuring, and left out here because it describes the machine: {', '.join(self.left_out)}."]


def environment_of(recorded: Mapping[str, str]) -> Environment:
    """The variables that a deployment needs, from those that ``server.json`` records."""
    carried = {k: v for k, v in recorded.items() if k.startswith(CARRIED) and k not in OF_THE_MEASUREMENT}
    return Environment(
        values={k: v for k, v in sorted(carried.items()) if k not in OF_THE_MACHINE},
        left_out=sorted(k for k in carried if k in OF_THE_MACHINE),
    )
