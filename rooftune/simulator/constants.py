"""The constants of the step-time model: from ``data/kernels.yaml``, overridden by GPU and by a calibration."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from ruamel.yaml import YAML


@dataclass(frozen=True)
class Constants:
    """Efficiencies and times of one accelerator."""

    linear: dict[str, dict[str, float]]
    attention: dict[str, dict[str, float]]
    host: dict[str, float]

    def replaced(self, values: dict[str, float]) -> Constants:
        """A copy with some constants replaced: {'attention.triton.memory': 0.6, 'host.graph_step_ms': 0.5, …}."""
        made = copy.deepcopy(self)
        for path, value in values.items():
            room, *middle, name = path.split(".")
            place: dict[str, Any] = getattr(made, room)
            for key in middle:
                place = place[key]
            place[name] = value
        return made


@cache
def _table() -> dict[str, Any]:
    text = files("rooftune.simulator").joinpath("data/kernels.yaml").read_text(encoding="utf-8")
    value: dict[str, Any] = YAML(typ="safe").load(text)
    return value


@cache
def constants_for(gpu: str) -> Constants:
    """Constants of a GPU: the general ones with its own on top."""
    table = copy.deepcopy(_table())
    own = table["gpu"].get(gpu) or {}
    for room in ("linear", "attention"):
        for name, entry in table[room].items():
            entry.pop("source", None)
            entry.update({k: v for k, v in (own.get(name) or {}).items() if k != "source"})
    host = {**table["host"], **(own.get("host") or {})}
    host.pop("source", None)
    return Constants(table["linear"], table["attention"], host)
