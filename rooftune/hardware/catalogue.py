"""The catalogue of accelerators: rates, bandwidth, memory and prices, each with its source."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib.resources import files
from typing import NamedTuple

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


@dataclass(frozen=True)
class _Row:
    """One GPU of the data file, whose first lines explain the keys."""

    cc: str
    memory: float
    bandwidth: float
    watts: float
    sm: int
    link: float
    driver_mib: int | None = None
    fp32: float | None = None
    fp16: float | None = None
    bf16: float | None = None
    int8: float | None = None
    fp8: float | None = None
    fp4: float | None = None
    price: tuple[float, str, date, str] | None = None
    source: str = "datasheet"
    notes: str = ""
    also: tuple[str, ...] = ()


class _Data(NamedTuple):
    sources: dict[str, str]
    rows: dict[str, _Row]


@cache
def _data() -> _Data:
    text = files("rooftune.hardware").joinpath("data/accelerators.yaml").read_text(encoding="utf-8")
    data = YAML(typ="safe").load(text)
    return _Data(data["sources"], {name: _Row(**row) for name, row in data["gpus"].items()})


@cache
def _catalogue() -> dict[str, Accelerator]:
    return {plain(name): _accelerator(name, row) for name, row in _data().rows.items()}


@cache
def _aliases() -> dict[str, Accelerator]:
    return {plain(also): _catalogue()[plain(name)] for name, row in _data().rows.items() for also in row.also}


def _accelerator(name: str, row: _Row) -> Accelerator:
    major, minor = row.cc.split(".")
    return Accelerator(
        name=name,
        kind="cuda",
        compute_capability=(int(major), int(minor)),
        memory_bytes=int(row.memory * GIB),
        driver_memory_bytes=row.driver_mib * MIB if row.driver_mib is not None else None,
        bandwidth_bytes_per_s=row.bandwidth * 1e9,
        flops_per_s={k: rate * 1e12 for k in RATES if (rate := getattr(row, k)) is not None},
        power_watts=row.watts,
        multiprocessors=row.sm,
        interconnect_bytes_per_s=row.link * 1e9,
        price=_price(row),
        source=_data().sources[row.source],
        notes=row.notes,
    )


def _price(row: _Row) -> Price | None:
    if row.price is None:
        return None
    usd, offer, day, source = row.price
    return Price(usd_per_hour=usd, offer=offer, date=str(day), source=_data().sources[source])
