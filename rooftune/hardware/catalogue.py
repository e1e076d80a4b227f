"""The catalogue of accelerators: rates, bandwidth, memory and prices, each with its source."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import Any

from ruamel.yaml import YAML

from rooftune.hardware.accelerator import Accelerator, Price

GIB = 1024**3
MIB = 1024**2
RATES = ("fp32", "fp16", "bf16", "int8", "fp8", "fp4")


def accelerators() -> list[Accelerator]:
    """All GPUs of the catalogue, in its order."""
    return list(_catalogue().values())


def find(name: str) -> Accelerator | None:
    """The GPU of that name, or of that name in the driver; None when the catalogue has no such GPU.

    Case, spaces, dashes and underscores do not matter.
    """
    return _catalogue().get(plain(name)) or _aliases().get(plain(name))


def plain(name: str) -> str:
    """A name without case, spaces and dashes, and without the vendor in front."""
    squeezed = re.sub(r"[\s_-]+", "", name.lower())
    return re.sub(r"^(nvidia|tesla|geforce)+", "", squeezed)


@cache
def _data() -> dict[str, Any]:
    text = files("rooftune.hardware").joinpath("data/accelerators.yaml").read_text(encoding="utf-8")
    data: dict[str, Any] = YAML(typ="safe").load(text)
    return data


@cache
def _catalogue() -> dict[str, Accelerator]:
    return {plain(name): _accelerator(name, row, _data()["sources"]) for name, row in _data()["gpus"].items()}


@cache
def _aliases() -> dict[str, Accelerator]:
    found = {plain(also): name for name, row in _data()["gpus"].items() for also in row.get("also", [])}
    return {also: _catalogue()[plain(name)] for also, name in found.items()}


def _accelerator(name: str, row: dict[str, Any], sources: dict[str, str]) -> Accelerator:
    major, minor = row["cc"].split(".")
    return Accelerator(
        name=name,
        kind="cuda",
        compute_capability=(int(major), int(minor)),
        memory_bytes=int(row["memory"] * GIB),
        driver_memory_bytes=row["driver_mib"] * MIB if "driver_mib" in row else None,
        bandwidth_bytes_per_s=row["bandwidth"] * 1e9,
        flops_per_s={k: row[k] * 1e12 for k in RATES if k in row},
        power_watts=row["watts"],
        multiprocessors=row["sm"],
        interconnect_bytes_per_s=row["link"] * 1e9,
        price=_price(row.get("price"), sources),
        source=sources[row.get("source", "datasheet")],
        notes=row.get("notes", ""),
    )


def _price(row: list[Any] | None, sources: dict[str, str]) -> Price | None:
    if row is None:
        return None
    usd, offer, date, source = row
    return Price(usd_per_hour=usd, offer=offer, date=str(date), source=sources[source])
