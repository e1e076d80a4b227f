"""The catalogue of accelerators: rates, bandwidth, memory and prices, each with its source."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import Any

from ruamel.yaml import YAML

from rooftune.errors import InputError, nearest
from rooftune.hardware.accelerator import Accelerator, Price

GIB = 1024**3
DATASHEET = "NVIDIA datasheet of the product"


def accelerators() -> list[Accelerator]:
    """All GPUs of the catalogue, in its order."""
    return list(_catalogue().values())


def accelerator(name: str) -> Accelerator:
    """The GPU of that name; case, spaces, dashes and underscores do not matter.

    Raises:
        InputError: no such GPU; the message names the nearest and all others.
    """
    found = _catalogue().get(plain(name))
    if found is None:
        names = [a.name for a in accelerators()]
        raise InputError(f"unknown GPU {name!r}{nearest(name, names)}; the catalogue has {', '.join(names)}.")
    return found


def plain(name: str) -> str:
    """A name without case, spaces and dashes, and without the vendor in front."""
    squeezed = re.sub(r"[\s_-]+", "", name.lower())
    return re.sub(r"^(nvidia|tesla|geforce)+", "", squeezed)


@cache
def _catalogue() -> dict[str, Accelerator]:
    text = files("rooftune.hardware").joinpath("data/accelerators.yaml").read_text(encoding="utf-8")
    rows: dict[str, dict[str, Any]] = YAML(typ="safe").load(text)
    return {plain(name): _accelerator(name, row) for name, row in rows.items()}


def _accelerator(name: str, row: dict[str, Any]) -> Accelerator:
    major, minor = row["cc"].split(".")
    rates = {k: row[k] * 1e12 for k in ("fp32", "fp16", "bf16", "int8", "fp8", "fp4") if k in row}
    price = row.get("price")
    return Accelerator(
        name=name,
        kind="cuda",
        compute_capability=(int(major), int(minor)),
        memory_bytes=int(row["memory"] * GIB),
        bandwidth_bytes_per_s=row["bandwidth"] * 1e9,
        flops_per_s=rates,
        power_watts=row["watts"],
        multiprocessors=row["sm"],
        interconnect_bytes_per_s=row["link"] * 1e9,
        price=Price(usd_per_hour=price[0], offer=price[1], date=str(price[2]), source="public price list")
        if price
        else None,
        source=row.get("source", DATASHEET),
        notes=row.get("notes", ""),
    )
