"""Accelerators by the names that users give: a GPU of the catalogue, or the processor of this machine."""

from __future__ import annotations

from rooftune.errors import InputError, nearest
from rooftune.hardware import nvml
from rooftune.hardware.accelerator import Accelerator
from rooftune.hardware.catalogue import accelerators, find, plain
from rooftune.hardware.processor import cpu


def accelerator(name: str) -> Accelerator:
    """The GPU of that name, or of that name in the driver; case, spaces, dashes and underscores do not matter.

    'cpu' is the processor of this machine with assumed rates; ``rooftune.hardware.probe`` measures them.

    Raises:
        InputError: no such GPU; the message names the nearest and all others.
    """
    if plain(name) == "cpu":
        return cpu()
    found = find(name)
    if found is None:
        names = [a.name for a in accelerators()]
        begin = [n for n in names if plain(n).startswith(plain(name))] if plain(name) else []
        near = f" (did you mean {' or '.join(map(repr, begin))}?)" if begin else nearest(name, names)
        raise InputError(f"unknown GPU {name!r}{near}; the catalogue has {', '.join(names)}.")
    return found


def name_or_here(gpu: str | None, *, here: bool) -> str | None:
    """The name that was given, else that of this machine's accelerator if it serves; None where neither is known."""
    if gpu is not None or not here:
        return gpu
    found = nvml.gpus()
    return nvml.matched(found[0]).name if found else "cpu"
