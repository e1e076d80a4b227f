"""The constants of the step-time model: from ``data/kernels.yaml``, overridden by generation, GPU and calibration."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from ruamel.yaml import YAML

from rooftune.errors import InputError
from rooftune.hardware.accelerator import Accelerator
from rooftune.simulator.calibration.files import Calibration, check_accelerator

ROOMS = ("device", "linear", "attention", "host", "path")
Table = dict[str, Any]
"""Content of ``kernels.yaml``: general constants, those of generations (``class``) and of single GPUs (``gpu``)."""


@dataclass(frozen=True)
class Constants:
    """Efficiencies and times of one accelerator."""

    device: dict[str, float]
    linear: dict[str, dict[str, float]]
    attention: dict[str, dict[str, float]]
    host: dict[str, float]
    path: dict[str, float]

    def replaced(self, values: Mapping[str, float]) -> Constants:
        """A copy with some constants replaced: {'attention.triton.memory': 0.6, 'host.graph_step_ms': 0.5, …}.

        Raises:
            InputError: there is no such constant.
        """
        made = copy.deepcopy(self)
        for path, value in values.items():
            room, *middle, name = path.split(".")
            place: Any = getattr(made, room, None) if room in ROOMS else None
            for key in middle:
                place = place.get(key) if isinstance(place, dict) else None
            if not isinstance(place, dict) or not isinstance(place.get(name), (int, float)):
                raise InputError(f"the step-time model has no constant {path!r}; docs/simulator.md lists them.")
            place[name] = float(value)
        return made

    def value(self, path: str) -> float:
        """The constant of that path."""
        room, *middle = path.split(".")
        place: Any = getattr(self, room)
        for key in middle:
            place = place[key]
        return float(place)


def of_runner(name: str, runner: str) -> str:
    """The name of a constant of the host that the V2 model runner, which prepares steps on the GPU, has apart."""
    return f"v2_{name}" if runner == "V2" else name


def generation(gpu: Accelerator) -> str:
    """The class of GPUs that share constants: a generation, data centre and graphics cards apart where they
    differ."""
    if gpu.kind == "cpu" or gpu.compute_capability is None:
        return "cpu"
    major, minor = gpu.compute_capability
    if major == 8:
        return {0: "ampere_hbm", 6: "ampere", 9: "ada"}.get(minor, "ampere")
    names = {7: "turing" if minor >= 5 else "volta", 9: "hopper", 10: "blackwell_hbm", 12: "blackwell"}
    return names.get(major, "blackwell" if major > 12 else "ampere")


@cache
def table() -> Table:
    """The table as it is shipped. Do not change it: copy it."""
    text = files("rooftune.simulator.steptime").joinpath("data/kernels.yaml").read_text(encoding="utf-8")
    value: Table = YAML(typ="safe").load(text)
    return value


def constants_for(gpu: Accelerator, of: Table | None = None, *, calibration: Calibration | None = None) -> Constants:
    """Constants of a GPU: the general ones, then those of its generation, then its own, then those of a calibration.

    Args:
        of: this table instead of the shipped one.
        calibration: its constants replace those of the table.

    Raises:
        InputError: the calibration is for another accelerator.
    """
    found = _constants(gpu.name, generation(gpu)) if of is None else _layered(of, gpu.name, generation(gpu))
    if calibration is None:
        return found
    check_accelerator(calibration, gpu)
    return found.replaced(calibration.constants_on(gpu))


@cache
def _constants(name: str, kind: str) -> Constants:
    return _layered(table(), name, kind)


def _layered(of: Table, name: str, kind: str) -> Constants:
    rooms: dict[str, Any] = {room: copy.deepcopy(of[room]) for room in ROOMS}
    for layer in (of["class"].get(kind), of["gpu"].get(name)):
        for room, entries in (layer or {}).items():
            if room in ROOMS:
                _lay(rooms[room], entries)
    return Constants(**{room: _numbers(entries) for room, entries in rooms.items()})


def _lay(below: dict[str, Any], above: dict[str, Any]) -> None:
    for key, value in above.items():
        if isinstance(value, dict):
            _lay(below[key], value)
        else:
            below[key] = value


def _numbers(entries: dict[str, Any]) -> dict[str, Any]:
    """Without the words (sources)."""
    return {k: _numbers(v) if isinstance(v, dict) else v for k, v in entries.items() if not isinstance(v, str)}
